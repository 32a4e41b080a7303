"""Kernel modules: which ones, in which order, and depmod's indexes for them.

Modules are chosen by name or by a pattern of their path below `kernel/`;
whatever a chosen module depends on comes along. Source: depmod(8),
modules.dep(5).
"""

from __future__ import annotations

import fnmatch
import lzma
import posixpath
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bulkhead.build import steps
from bulkhead.build.complete.scratch import materialise
from bulkhead.build.tools import Tools
from bulkhead.build.tree import Tree, file, file_from
from bulkhead.lib import suggest
from bulkhead.model.errors import UserError

INDEXES = (
    "modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.softdep",
    "modules.builtin.bin", "modules.builtin.alias.bin", "modules.builtin.modinfo",
)  # fmt: skip
DEVICE_NAMES = "modules.devname"
STATIC_NODES = "usr/lib/tmpfiles.d/static-nodes.conf"


class Modules(msgspec.Struct, frozen=True, kw_only=True):
    """The modules of one kernel, as depmod describes them."""

    release: str
    """As `uname -r` says it."""
    depends: dict[str, tuple[str, ...]]
    """Path below `usr/lib/modules/RELEASE` → paths it needs, in the order of loading."""
    aliases: tuple[tuple[str, str], ...]
    """Pattern of a modalias → module name."""

    def find(self, wanted: str) -> list[str]:
        """Return the paths that a module name or a path pattern means.

        Raises:
            UserError: none.
        """
        name = wanted.replace("-", "_")
        by_name = [path for path in self.depends if module_name(path) == name]
        pattern = f"kernel/{wanted}"
        found = by_name or [
            p
            for p in self.depends
            if fnmatch.fnmatch(_plain(p), pattern) or _plain(p) == f"{pattern}.ko"
        ]
        if not found:
            known = {module_name(path) for path in self.depends}
            raise UserError(
                f"kernel {self.release} has no module {wanted!r}",
                hint=suggest.hint(name, known) or "it may be built in; then it need not be named",
            )
        return sorted(found)

    def load_order(self, wanted: Iterable[str]) -> list[str]:
        """Return paths of the wanted modules and their dependencies, dependencies first."""
        ordered: dict[str, None] = {}
        for item in wanted:
            for path in self.find(item):
                for needed in (*self.depends[path], path):
                    ordered.setdefault(needed)
        return list(ordered)


def module_name(path: str) -> str:
    """Return the kernel's name of the module in this file."""
    return posixpath.basename(path).split(".")[0].replace("-", "_")


def _plain(path: str) -> str:
    return path.removesuffix(".xz").removesuffix(".zst")


def describe(tree: Tree, *, tools: Tools) -> Modules:
    """Run depmod over all modules of the kernel package's tree."""
    base = _base(tree)
    with tempfile.TemporaryDirectory(prefix="bulkhead-depmod-") as name:
        root = Path(name)
        materialise(tree, list(tree.below(base)), root)
        release = posixpath.basename(base)
        tools.run(["depmod", "-b", str(root), "-m", "/usr/lib/modules", release], writes=[root])
        folder = root / base
        depends = _read_depends((folder / "modules.dep").read_text())
        aliases = _read_aliases((folder / "modules.alias").read_text())
    return Modules(release=release, depends=depends, aliases=aliases)


def _base(tree: Tree) -> str:
    bases = {"/".join(p.split("/")[:4]) for p in tree if p.startswith("usr/lib/modules/")}
    bases = {b for b in bases if b.count("/") == 3}
    if len(bases) != 1:
        raise UserError(f"an image has one kernel; the packages have {len(bases)}")
    return bases.pop()


def _read_depends(text: str) -> dict[str, tuple[str, ...]]:
    result = {}
    for line in text.splitlines():
        path, _, needed = line.partition(":")
        # depmod lists the last one to be loaded first.
        result[path] = tuple(reversed(needed.split()))
    return result


def _read_aliases(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] == "alias":
            found.append((fields[1], fields[2]))
    return tuple(found)


def place(
    tree: Tree,
    kernel: Tree,
    modules: Modules,
    wanted: Sequence[str],
    *,
    key: str,
    tools: Tools,
    cache: Path,
) -> None:
    """Put the wanted modules, what they need, and fresh indexes into the tree.

    Modules are unpacked: the root is compressed as a whole, and unpacking xz
    for each module cost a third of the boot. Their signatures stay valid.

    Args:
        tree: where they go.
        kernel: the kernel package's files.
        modules: what is known of them.
        wanted: names and patterns.
        key: hash of `kernel` and `modules`.
        tools: with depmod.
        cache: the cache directory.
    """
    base = f"usr/lib/modules/{modules.release}"
    order = modules.load_order(wanted)

    def fill(folder: Path) -> None:
        inputs = ("modules.builtin", "modules.builtin.modinfo", "modules.order")
        materialise(kernel, [f"{base}/{name}" for name in inputs], folder)
        for path in order:
            target = folder / base / _plain(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_unpacked(kernel, modules, path))
        release = modules.release
        tools.run(["depmod", "-b", str(folder), "-m", "/usr/lib/modules", release], writes=[folder])

    made = steps.cached(cache, "modules", steps.key(key, order, tools.key), fill)
    origin = kernel[f"{base}/{order[0]}"].origin if order else "kernel"
    for name in [*map(_plain, order), *INDEXES]:
        if (made / base / name).exists():
            tree.put(f"{base}/{name}", file_from(made / base / name, origin=origin))
    nodes = static_nodes((made / base / DEVICE_NAMES).read_text())
    tree.put(STATIC_NODES, file(nodes))


def static_nodes(names: str) -> str:
    """Return the lines of tmpfiles.d for device nodes that load their module when they are opened.

    What `kmod static-nodes` would say at each boot.

    Args:
        names: the text of `modules.devname`: module, name below /dev, type and numbers.
    """
    lines = []
    for line in names.splitlines():
        fields = line.split()
        if len(fields) != 3 or line.startswith("#"):
            continue
        name, numbers = fields[1:]
        if folder := posixpath.dirname(name):
            lines.append(f"d /dev/{folder} 0755 - - -")
        # Only at boot, and never over a node that the kernel has made.
        lines.append(f"{numbers[0]}! /dev/{name} 0600 - - - {numbers[1:]}")
    return "".join(f"{line}\n" for line in lines)


def _unpacked(kernel: Tree, modules: Modules, path: str) -> bytes:
    raw = kernel[f"usr/lib/modules/{modules.release}/{path}"].read()
    return lzma.decompress(raw) if path.endswith(".xz") else raw


def uncompressed(kernel: Tree, modules: Modules, paths: Iterable[str]) -> list[tuple[str, bytes]]:
    """Return (module name, bytes of the .ko) for each path; signatures stay valid."""
    return [(module_name(path), _unpacked(kernel, modules, path)) for path in paths]
