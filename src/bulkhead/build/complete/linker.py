"""The dynamic linker's cache, made by the tool tree's own ldconfig."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bulkhead.build.complete.scratch import materialise
from bulkhead.build.tools import Tools
from bulkhead.build.tree import Tree, file


def write_cache(tree: Tree, *, tools: Tools, triplet: str) -> None:
    """Put `etc/ld.so.cache` into the tree, for the libraries in it."""
    conf = f"/usr/lib/{triplet}\n/usr/lib\n"
    tree.put("etc/ld.so.conf", file(conf))
    with tempfile.TemporaryDirectory(prefix="bulkhead-ldconfig-") as name:
        root = Path(name) / "root"
        wanted = [p for p in tree if p.startswith(("usr/lib/", "lib", "etc/ld.so")) and ".so" in p]
        materialise(tree, [*wanted, "lib", "lib64"], root)
        tools.run(
            ["ldconfig", "-X", "-r", str(root), "-f", "/etc/ld.so.conf", "-C", "/etc/ld.so.cache"],
            writes=[Path(name)],
        )
        # The auxiliary cache would hold inode numbers and times; it is not taken.
        cache = (root / "etc/ld.so.cache").read_bytes()
    tree.put("etc/ld.so.cache", file(cache))
