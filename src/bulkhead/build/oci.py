"""Container images from Debian packages, by the code that builds the OS.

`image/containers/NAME/image.toml` says what is in an image, `image.lock`
beside it which packages exactly. No package script runs, no container engine
or registry is needed, and the same lock gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bulkhead.build import oci_archive, packages, steps, tomlfile
from bulkhead.build.complete import files, linker
from bulkhead.build.debian import deb, download, lockfile
from bulkhead.build.debian.locking import Request
from bulkhead.build.select import Selection
from bulkhead.build.tools import Tools, tools
from bulkhead.build.tree import Tree, directory, file
from bulkhead.lib import suggest
from bulkhead.lib.dirs import absolute, repository_root
from bulkhead.lib.progress import Progress
from bulkhead.model import reference
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import UserError
from bulkhead.model.lock import Lock
from bulkhead.model.variant import Rule

FORMAT = 1
"""Part of every key: count it up when the same packages become another image."""

_USELESS = ("boot", "efi", "home", "mnt", "media", "srv", "opt", "root")


class Definition(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"
):
    """`image.toml`."""

    name: str
    tag: str = "latest"
    description: str = ""
    packages: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    rootfs: str | None = None
    """Directory beside the file; its content is laid over the packages' files."""
    rules: dict[str, Rule] = {}
    users: dict[str, int] = {}
    """Name: number, of user and group alike. There is always root."""
    config: oci_archive.Config = oci_archive.Config()


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """An image that was made."""

    path: Path
    """The archive, for `bulkhead import`."""
    name: str
    """Its full name."""
    digest: str
    size: int
    """Bytes of the archive."""


class _Moved(Exception):
    """Packages had left the mirror; `lock` has others in their place."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock
        super().__init__()


def names() -> list[str]:
    """Return the names of Bulkhead's own images."""
    return sorted(path.parent.name for path in _home().glob("*/image.toml"))


def find(name: str) -> Path:
    """Return the directory of an image: one of Bulkhead's own, or a path.

    Raises:
        UserError: there is none.
    """
    for path in (_home() / name, Path(name)):
        if (path / "image.toml").is_file():
            return absolute(path)
    raise UserError(f"there is no container image {name!r}", hint=suggest.hint(name, names()))


def read(folder: Path) -> Definition:
    """Read an image's definition.

    Raises:
        UserError: it cannot be read, or has an unknown key or a wrong value.
    """
    return tomlfile.read(folder / "image.toml", Definition)


def overlay_of(folder: Path, definition: Definition) -> Path | None:
    """Return the directory that is laid over the packages' files, or None.

    Raises:
        UserError: it is not there.
    """
    if definition.rootfs is None:
        return None
    overlay = folder / definition.rootfs
    if not overlay.is_dir():
        raise UserError(
            f"rootfs {definition.rootfs!r} is no directory", where=str(folder / "image.toml")
        )
    return overlay


def fingerprint(folder: Path) -> str:
    """Return the hash of an image's definition, with its lock and the files laid over it.

    Raises:
        UserError: as `read` and `overlay_of`.
    """
    own = steps.folder_fingerprint(folder)
    overlay = overlay_of(folder, read(folder))
    if overlay is None or overlay.resolve().is_relative_to(folder.resolve()):
        return own
    return steps.key(own, steps.folder_fingerprint(overlay))


def request(definition: Definition, arch: Architecture) -> Request:
    """Return what an image asks the package resolver for."""
    return Request(
        architecture=arch.debian, packages=definition.packages, exclude=definition.exclude
    )


def lock_path(folder: Path) -> Path:
    """Return where an image's lock is."""
    return folder / "image.lock"


def build(
    name: str,
    *,
    arch: Architecture,
    cache: Path,
    progress: Progress,
    locked: bool = False,
    epoch: int | None = None,
) -> Built:
    """Make an image, or find the one that was made from the same inputs.

    Args:
        name: one of Bulkhead's own, or the path of a directory with an image.toml.
        arch: what it is for.
        cache: the cache directory; the archive stays there.
        progress: where to show progress.
        locked: fail rather than use other packages than the lock's.
        epoch: time of all files, in seconds since 1970; the lock's date by default.

    Raises:
        UserError: the definition is wrong, or (with `locked`) its lock does not fit.
        RemoteError: packages cannot be downloaded.
    """
    folder = find(name)
    definition = read(folder)
    wanted = request(definition, arch)
    lock = packages.current_lock(
        lock_path(folder), wanted, locked=locked, hint=f"run: bulkhead lock --container {name}",
        cache=cache, progress=progress,
    )  # fmt: skip
    toolset = tools("image", cache=cache, progress=progress, locked=locked)
    full = reference.normalize(f"{definition.name}:{definition.tag}")
    overlay = overlay_of(folder, definition)
    moment = packages.date(lock) if epoch is None else epoch

    def make(out: Path) -> None:
        used, debs = download.fetch_or_resolve(
            lock, wanted, cache=cache, progress=progress, locked=locked
        )
        if used != lock:
            raise _Moved(used)
        found = packages.unpack(lock, debs, cache=cache, progress=progress)
        with progress.task(f"making the container image {reference.familiar(full)}"):
            tree = make_tree(definition, found, arch=arch, overlay=overlay, tools=toolset)
            digest = oci_archive.write(
                tree, out / "image.tar", name=full, config=definition.config,
                architecture=arch.oci, epoch=moment, tools=toolset,
            )  # fmt: skip
            (out / "digest").write_text(digest)

    inputs = steps.key(
        FORMAT, definition, lock, toolset.key,
        steps.folder_fingerprint(overlay) if overlay else None, moment,
    )  # fmt: skip
    try:
        made = steps.cached(cache, "container-image", inputs, make)
    except _Moved as moved:
        # What is stored under a lock's hash is made from that lock and no other.
        lockfile.write_lock(lock_path(folder), moved.lock)
        return build(name, arch=arch, cache=cache, progress=progress, locked=locked, epoch=epoch)
    path = made / "image.tar"
    return Built(
        path=path, name=full, digest=(made / "digest").read_text(), size=path.stat().st_size
    )


def make_tree(
    definition: Definition,
    found: dict[str, deb.Package],
    *,
    arch: Architecture,
    overlay: Path | None,
    tools: Tools,
) -> Tree:
    """Return the image's root, made of the packages that were `found`.

    Raises:
        UserError: a rule keeps nothing, a library is missing, or a package has
            scripts that no rule accounts for.
    """
    selection = Selection(arch, definition.rules)
    selection.add(found, {item.partition("=")[0] for item in definition.packages})
    selection.close(())
    tree = selection.tree
    files.write_skeleton(tree)
    for path in _USELESS:
        if path in tree and not any(True for _ in tree.below(path)):
            tree.remove(path)
    tree.put("tmp", directory(mode=0o1777))
    linker.write_cache(tree, tools=tools, triplet=arch.triplet)
    users = {"root": 0, **definition.users}
    lines = [(name, number, "/" if number else "/root") for name, number in users.items()]
    tree.put(
        "etc/passwd",
        file("".join(f"{n}:x:{i}:{i}::{home}:/usr/sbin/nologin\n" for n, i, home in lines)),
    )
    tree.put("etc/group", file("".join(f"{name}:x:{number}:\n" for name, number, _ in lines)))
    if overlay is not None:
        files.overlay(tree, overlay)
    return tree


def _home() -> Path:
    return repository_root() / "image" / "containers"
