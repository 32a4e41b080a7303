"""New named volumes: with what the image has at that place, and its owner and mode, as with Docker.

    python3 -I -m bulkhead.host.containers.filling    serve volumes.sock

So a program that does not run as root finds a directory it can write to. A
volume appears whole under its name, or not at all.

What is copied is an image's to say, and giving files to their owners takes privilege. So a program
of its own does it, that reaches nothing but volumes and the image, which it
is given as a descriptor: it can mount nothing and has no network.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from bulkhead.host.containers import kernel, records, requests
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Record
from bulkhead.host.containers.requests import Reply
from bulkhead.model.errors import HostError

# The place is not there, is no directory, or its links go in circles.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def fill(record: Record, image: int | None, *, directory: Path) -> None:
    """Make the named volumes that do not exist yet.

    Args:
        record: the container that asks for them.
        image: its image's root; None: the volumes stay empty.
        directory: where volumes are.

    Raises:
        HostError: it could not be done, the disk is full, …
    """
    for volume in records.new_volumes(record, directory):
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            _make(directory / volume.source, image, volume.target)
        except OSError as error:
            raise HostError(
                f"cannot make a volume: {error.strerror}", where=volume.source
            ) from error


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


# --- the program -------------------------------------------------------------


def main() -> int:
    """Serve until nobody asks."""
    places = Places()

    def answer(name: str, descriptors: Sequence[int]) -> Reply:
        image = descriptors[0] if descriptors else None
        fill(records.require(places.records, name), image, directory=places.volumes)
        return Reply()

    return requests.run({"fill": answer})


if __name__ == "__main__":
    raise SystemExit(main())
