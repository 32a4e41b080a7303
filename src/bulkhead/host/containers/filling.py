"""New named volumes: with what the image has at that place, and its owner and mode, as with Docker.

So a program that does not run as root finds a directory it can write to. A
volume appears whole under its name, or not at all.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from bulkhead.host.containers import kernel
from bulkhead.host.containers.records import Layers
from bulkhead.model.containers import Volume, is_name

# The place is not there, is no directory, or its links go in circles.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def fill(
    volumes: Sequence[Volume],
    layers: Layers | None,
    *,
    directory: Path,
    staging: Path,
    machine: Path | None,
) -> None:
    """Make the named volumes that do not exist yet.

    Args:
        volumes: what a container asks for.
        layers: its snapshot, checked; None: the volumes stay empty.
        directory: where volumes are.
        staging: a directory to mount on, unseen by others.
        machine: the machine's mount namespace; None if it is the caller's.

    Raises:
        HostError: it could not be done, the disk is full, …
    """
    named = [volume for volume in volumes if is_name(volume.source)]
    if not named:
        return

    def child() -> None:
        kernel.enter(machine, kernel.NEW_MOUNTS)
        missing = [volume for volume in named if not (directory / volume.source).is_dir()]
        if not missing:
            return
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        image = _image(layers, staging) if layers else None
        for volume in missing:
            _make(directory / volume.source, image, volume.target)

    kernel.in_child(child, "cannot make a volume")


def _image(layers: Layers, staging: Path) -> int:
    """Return the image's root as a directory that cannot be written to."""
    kernel.unshare(kernel.NEW_MOUNTS)
    kernel.keep_mounts_private()
    if len(layers.lower) == 1:
        tree = kernel.read_only_tree(Path(layers.lower[0]))
    else:
        # An overlay without an upper directory is read-only.
        lower = [("lowerdir+", path) for path in layers.lower]
        tree = kernel.overlay([("source", "overlay"), *lower])
    kernel.attach(tree, staging)
    return os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _make(volume: Path, image: int | None, target: str) -> None:
    new = volume.parent / f".{volume.name}.new"
    shutil.rmtree(new, ignore_errors=True)  # half of it is left from an interrupted attempt
    new.mkdir(mode=0o755)
    try:
        source = None if image is None else _find(image, target)
        if source is not None:
            copy(Path(f"/proc/self/fd/{source}"), new)
            os.sync()
        new.rename(volume)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _find(image: int, target: str) -> int | None:
    try:
        return kernel.open_directory_inside(image, target)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def copy(source: Path, target: Path) -> None:
    """Copy what is in a directory: directories, files and links. The source does not change."""
    _same(source.stat(), target)
    for entry, path in _entries(source, target):
        kind = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(kind.st_mode):
            path.mkdir(mode=0o700)
        elif stat.S_ISLNK(kind.st_mode):
            path.symlink_to(os.readlink(entry.path))
        elif stat.S_ISREG(kind.st_mode):
            shutil.copyfile(entry.path, path, follow_symlinks=False)
        else:
            continue
        _same(kind, path)


def _entries(source: Path, target: Path) -> Iterator[tuple[os.DirEntry[str], Path]]:
    """Yield what is below a directory, parents first, and where it goes to."""
    waiting = [(os.fspath(source), target)]
    while waiting:
        here, there = waiting.pop()
        with os.scandir(here) as entries:
            for entry in entries:
                yield entry, there / entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, there / entry.name))


def _same(like: os.stat_result, path: Path) -> None:
    """Give a path the owner, mode and time of another. A set-user-ID is nothing on /var (nosuid)."""
    os.chown(path, like.st_uid, like.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(like.st_mode):
        path.chmod(stat.S_IMODE(like.st_mode))
        os.utime(path, ns=(like.st_atime_ns, like.st_mtime_ns))
