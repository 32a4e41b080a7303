"""Makes the trees of a variant: the root, the agent tree inside it, the kernel's files.

This is the order in which an image comes into being; each step is in a module
of its own (`select`, `complete/*`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bulkhead.build import groups, lazyload, steps
from bulkhead.build.complete import (
    accounts,
    bytecode,
    files,
    linker,
    modules,
    settings,
    units,
)
from bulkhead.build.debian.deb import Package
from bulkhead.build.groups import Chosen
from bulkhead.build.select import Selection, merged
from bulkhead.build.tools import Tools
from bulkhead.build.tree import Kind, Tree, file_from
from bulkhead.build.variants import Resolved
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.progress import Progress
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import UserError

AGENT_ROOT = "usr/lib/bulkhead/agent"
PRELOADED = "usr/lib/bulkhead/images"
# The parts of this package that run on a node (see ARCHITECTURE.md, "Who may import whom").
AGENT_PARTS = ("model", "lib", "render", "host")


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """The kernel's own files and what is known of its modules."""

    image: Path
    tree: Tree
    modules: modules.Modules
    key: str
    """Hash of all of it."""


def kernel(packages: Mapping[str, Package], *, tools: Tools, cache: Path) -> Kernel:
    """Find the kernel in the packages of the set `kernel` and describe its modules.

    Raises:
        UserError: there is no kernel in them, or more than one.
    """
    tree = Tree()
    images = []
    for package in packages.values():
        for original, entry in package.tree.items():
            path = merged(original)
            if path.startswith("boot/vmlinuz-") and entry.source is not None:
                images.append(entry.source)
            elif path.startswith("usr/lib/modules/") and entry.kind is Kind.FILE:
                tree.put(path, entry)
    if len(images) != 1:
        raise UserError(f"an image has one kernel; the packages have {len(images)}")
    # Unpacked packages are in directories that are named after their SHA-256.
    key = steps.key(sorted({e.source.parent.name for _, e in tree.items() if e.source}), tools.key)

    def fill(folder: Path) -> None:
        described = modules.describe(tree, tools=tools)
        (folder / "modules").write_bytes(msgspec.msgpack.encode(described))

    stored = steps.cached(cache, "kernel", key, fill) / "modules"
    described = msgspec.msgpack.decode(stored.read_bytes(), type=modules.Modules)
    return Kernel(image=images[0], tree=tree, modules=described, key=key)


def root(
    resolved: Resolved,
    packages: Mapping[str, Package],
    *,
    arch: Architecture,
    kernel: Kernel,
    agent: Tree,
    chosen: Chosen,
    version: str,
    files_from_elsewhere: Mapping[str, Path],
    preload: Mapping[str, Path],
    tools: Tools,
    cache: Path,
    progress: Progress,
) -> Tree:
    """Make the root of a variant.

    Args:
        resolved: the variant.
        packages: those of the set `host`, by name.
        arch: the architecture.
        kernel: whose modules go in.
        agent: the agent tree, which is placed at `AGENT_ROOT`.
        chosen: the settings, of which the defaults are in `/etc` from the start.
        version: of the image.
        files_from_elsewhere: the variant's single files, by path.
        preload: archives of container images, by the file name that they get.
        tools: with ldconfig and depmod.
        cache: the cache directory.
        progress: gets what people should know.

    Raises:
        UserError: the variant asks for something that is not there; see the
            single steps.
    """
    variant = resolved.variant
    selection = Selection(arch, variant.rules)
    selection.add(packages, _names(variant.packages.host))
    selection.close(variant.dlopen)
    tree = selection.tree
    lazyload.place(tree, variant.lazyload, arch=arch, progress=progress)
    for folder in variant.rootfs:
        files.overlay(tree, Path(folder))
    for item in variant.files:
        source = files_from_elsewhere[item.path]
        tree.put(item.path, file_from(source, mode=int(item.mode, 8), origin=item.url))
    for name, archive in preload.items():
        tree.put(f"{PRELOADED}/{name}", file_from(archive, origin="container images"))
    files.write_skeleton(tree)
    files.merge_sbin(tree)
    _join_certificates(tree)
    settings.write(tree, chosen.defaults, chosen.services)
    wanted = variant.kernel
    # The initrd's modules too: whoever asks for one that is loaded already must find it.
    names = (*wanted.initrd_modules, *wanted.storage_modules, *wanted.modules)
    modules.place(
        tree, kernel.tree, kernel.modules, names, key=kernel.key, tools=tools, cache=cache
    )
    for path, entry in agent.items():
        tree.put(f"{AGENT_ROOT}/{path}" if path else AGENT_ROOT, entry)
    accounts.write(tree)
    units.drop_dangling_links(tree)
    units.write(tree, enable=variant.units.enable, mask=variant.units.mask)
    files.write_machine_id(tree)
    files.write_os_release(
        tree, name=f"bulkhead-{resolved.name}", variant=resolved.name, version=version
    )
    linker.write_cache(tree, tools=tools, triplet=arch.triplet)
    return tree


def _join_certificates(tree: Tree) -> None:
    folder = "usr/share/ca-certificates"
    found = {path: tree[path] for path in tree.below(folder) if path.endswith(".crt")}
    if found:
        files.write_ca_bundle(tree, found)
        tree.remove(folder)


def agent(
    resolved: Resolved,
    packages: Mapping[str, Package],
    *,
    arch: Architecture,
    chosen: Chosen,
    tools: Tools,
    cache: Path,
) -> Tree:
    """Make the agent tree: CPython, its libraries, and the parts of Bulkhead that run on a node.

    What they know of the variant's settings, `chosen`, is in it too.
    """
    variant = resolved.variant
    selection = Selection(arch, variant.rules)
    selection.add(packages, _names(variant.packages.agent))
    selection.close(())
    tree = selection.tree
    _add_own_code(tree)
    groups.place(tree, chosen)
    bytecode.compile_tree(tree, tools=tools, cache=cache)
    files.write_skeleton(tree)
    for path in ("boot", "efi", "home", "mnt", "root", "srv"):
        tree.remove(path)
    linker.write_cache(tree, tools=tools, triplet=arch.triplet)
    return tree


def _add_own_code(tree: Tree) -> None:
    source = repository_root() / "src" / "bulkhead"
    target = "usr/lib/python3/dist-packages/bulkhead"
    for part in AGENT_PARTS:
        for path in sorted((source / part).rglob("*.py")):
            tree.put(f"{target}/{path.relative_to(source).as_posix()}", file_from(path))
    tree.put(f"{target}/__init__.py", file_from(source / "__init__.py"))


def _names(specifiers: Sequence[str]) -> set[str]:
    """Return package names without the `=version` and `/suite` of a variant."""
    return {item.partition("=")[0].partition("/")[0] for item in specifiers}
