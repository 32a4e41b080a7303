"""The layers of a snapshot, and reading small files out of them without mounting anything.

The layers belong to the image: every name in them may be a trap. No symbolic
link is followed, and a device in place of a file (overlayfs's mark for
"deleted") ends the search.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from bulkhead.host.containers.messages import Mount
from bulkhead.host.containers.records import Layers
from bulkhead.model.errors import HostError

_DIRECTORIES = ("lowerdir", "upperdir", "workdir")


def layers(mounts: Sequence[Mount]) -> list[Path]:
    """Return the directories of a snapshot, topmost first."""
    found: list[Path] = []
    for mount in mounts:
        if mount.type == "bind":
            found.append(Path(mount.source))
        for option in mount.options:
            key, _, value = option.partition("=")
            if key == "upperdir":
                found.insert(0, Path(value))
            elif key == "lowerdir":
                found += [Path(part) for part in value.split(":")]
    return found


def overlay(mounts: Sequence[Mount]) -> Layers:
    """Return what a writable snapshot is made of.

    Raises:
        HostError: it is no overlay of layers.
    """
    pairs = [option.partition("=")[::2] for mount in mounts for option in mount.options]
    named = {key: value for key, value in pairs if key in _DIRECTORIES}
    if [mount.type for mount in mounts] != ["overlay"] or len(named) != len(_DIRECTORIES):
        raise HostError("containerd's snapshot is not an overlay of layers")
    return Layers(
        lower=tuple(named["lowerdir"].split(":")),
        upper=named["upperdir"],
        work=named["workdir"],
        options=tuple(
            f"{key}={value}" for key, value in pairs if key not in _DIRECTORIES and value
        ),
    )


def read(roots: Sequence[Path], path: str, *, limit: int) -> str:
    """Return the topmost file at `path`, at most `limit` bytes of it; "" if there is none."""
    for root in roots:
        try:
            descriptor = _open(root, path)
        except FileNotFoundError:
            continue
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            return file.read(limit).decode(errors="replace")
    return ""


def _open(root: Path, path: str) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    *directories, name = path.split("/")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in directories:
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
        return os.open(name, flags, dir_fd=here)
    finally:
        os.close(here)
