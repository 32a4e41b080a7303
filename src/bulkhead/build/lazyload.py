"""Libraries that are loaded when they are first called, not when a program starts.

In the root, such a library's name belongs to a small one of ours, made from
`native/lazyload`: it has the same functions with the same versions, and each
loads the real library, which is at `real_path`, at the first call. For the
decision see docs/decisions/0012-lazy-libcrypto.md.

`native/lazyload/NAME.map` is the list of a library's functions, as a linker's
version script. Libraries get new functions by updates. Where the list is not
right for the library in the root, or was not compiled for the architecture,
that library stays as it is: an update never waits for us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bulkhead.build import elf, elf_exports
from bulkhead.build.elf_exports import Export
from bulkhead.build.tree import Tree, file_from
from bulkhead.lib import suggest
from bulkhead.lib.atomicfile import write
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.progress import Progress
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import UserError

FOLDER = "usr/lib/bulkhead/lazyload"
_FUNCTION = re.compile(r"^\t(\w+);$", re.MULTILINE)


def names() -> list[str]:
    """Return the libraries that can be loaded late."""
    return sorted(path.stem for path in _sources().glob("*.map"))


def script_path(name: str) -> Path:
    """Return where the list of a library's functions is."""
    return _sources() / f"{name}.map"


def real_path(name: str) -> str:
    """Return where the library itself is on a node."""
    return f"/{FOLDER}/{name}"


def _sources() -> Path:
    return repository_root() / "native" / "lazyload"


def place(tree: Tree, wanted: Sequence[str], *, arch: Architecture, progress: Progress) -> None:
    """Let the libraries `wanted` of a root be loaded late.

    One that the root does not have is none; neither is one whose functions we
    cannot stand for, of which `progress` tells.

    Raises:
        UserError: there is no list of this library's functions.
    """
    for name in wanted:
        if name not in names():
            raise UserError(
                f"{name!r} cannot be loaded late: there is no list of its functions",
                hint=suggest.hint(name, names()),
            )
        compiled = _sources() / f"{name}.{arch.debian}"
        path = tree.resolve(f"usr/lib/{arch.triplet}/{name}")
        real = None if path is None else tree[path]
        if path is None or real is None or real.source is None or not compiled.is_file():
            continue
        if difference := _difference(elf_exports.read(real.source), elf_exports.read(compiled)):
            progress.notice(
                f"{name} is loaded at every start of a program, which costs time and memory: it has other"
                f" functions than native/lazyload ({difference}); to compile it again, run: python -m"
                f" bulkhead.build.native {real.source}"
            )
            continue
        tree.put(f"{FOLDER}/{name}", real)
        tree.put(path, file_from(compiled, mode=real.mode))


def _difference(real: frozenset[Export], ours: frozenset[Export]) -> str:
    """Return the symbols that only one of two libraries has, a few of them; empty if none."""
    shown = [f"+{export}" for export in sorted(real - ours)]
    shown += [f"-{export}" for export in sorted(ours - real)]
    more = f", … {len(shown) - 3} more" if len(shown) > 3 else ""
    return ", ".join(shown[:3]) + more


def write_script(library: Path) -> None:
    """Write the list of the functions of `library`, from which native/lazyload is compiled.

    Raises:
        UserError: it is no shared library, or it exports something that no jump can stand for.
    """
    described = elf.read(library)
    if described is None or described.soname is None:
        raise UserError("not a shared library", where=str(library))
    exports = elf_exports.read(library)
    odd = [e for e in sorted(exports) if not (e.function and e.default and e.version)]
    if odd:
        raise UserError(
            "cannot be loaded late: it exports data, old versions, or functions without a version:"
            f" {', '.join(map(str, odd[:5]))}",
            where=str(library),
        )
    write(script_path(described.soname), version_script(exports))


def version_script(exports: Iterable[Export]) -> str:
    """Return a linker's version script (ld(1), "VERSION Command") for functions."""
    by_version: dict[str, list[str]] = {}
    for export in sorted(exports):
        by_version.setdefault(export.version, []).append(export.name)
    text = ""
    before = ""
    for version in sorted(by_version, key=_number):
        text += f"{version} {{\nglobal:\n"
        text += "".join(f"\t{name};\n" for name in by_version[version])
        text += "local:\n\t*;\n};\n" if not before else f"}} {before};\n"
        before = version
    return text


def _number(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def functions(script: str) -> list[str]:
    """Return the names in a version script that `version_script` made."""
    return _FUNCTION.findall(script)
