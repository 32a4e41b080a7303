"""Python compiled for a read-only image.

Bytecode of packages is checked against the source's mtime, which a
reproducible image rewrites; so sources are compiled anew with
`unchecked-hash` (PEP 552): dm-verity already proves that the bytes are ours.
Only bytecode goes into the image (`x.pyc` in the place of `x.py`): it is
smaller, and a traceback still names file and line.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bulkhead.build import steps
from bulkhead.build.complete.scratch import materialise
from bulkhead.build.tools import Tools
from bulkhead.build.tree import Kind, Tree, file_from

PROGRAM = """
import importlib._bootstrap_external as external, marshal, pathlib, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    name = "/" + str(path.relative_to(root))
    code = compile(path.read_bytes(), name, "exec", dont_inherit=True, optimize=2)
    data = external._code_to_hash_pyc(code, b"\\0" * 8, checked=False)
    path.with_suffix(".pyc").write_bytes(data)
"""


def compile_tree(tree: Tree, *, tools: Tools, cache: Path) -> None:
    """Replace every Python module of the tree by its bytecode.

    Assertions and docstrings are left out (`optimize=2`); programs that need
    either at run time do not belong on a node.
    """
    sources = [p for p, e in tree.items() if e.kind is Kind.FILE and p.endswith(".py")]
    hashes = [(path, hashlib.sha256(tree[path].read()).hexdigest()) for path in sources]

    def fill(folder: Path) -> None:
        materialise(tree, sources, folder)
        tools.run(["python3", "-I", "-S", "-c", PROGRAM, str(folder)], writes=[folder])
        for path in sources:
            (folder / path).unlink()

    compiled = steps.cached(cache, "bytecode", steps.key(hashes, tools.key), fill)
    for path in sources:
        origin = tree[path].origin
        tree.remove(path)
        target = f"{path[:-3]}.pyc"
        tree.put(target, file_from(compiled / target, origin=origin))
    for path in [p for p in tree if p.endswith("/__pycache__")]:
        tree.remove(path)
