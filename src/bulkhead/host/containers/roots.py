"""Root file systems of containers that have users of their own.

An image's files belong to users 0 and up, the container's root is another
number on the machine. Rather than copying files to change their owner, the
layers are mounted so that they look as if somebody had (mount_setattr(2),
"ID-mapped mounts"): that costs the same for any image. Above them is an
overlay whose upper directory is that of containerd's snapshot.

containerd 1.7 has no word for this in a snapshot's mounts, so its shim does
not make the overlay at each start. It is made here, together with the
container's namespaces, and stays as long as they do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead.host.containers import kernel, users
from bulkhead.host.containers.records import Layers
from bulkhead.model.errors import HostError

_OPTIONS = ("index=off",)


def check(layers: Layers, snapshots: Path) -> None:
    """Refuse anything but directories of snapshots.

    A record is written by a program without privileges and read by one with:
    it may name nothing else.

    Raises:
        HostError: it does.
    """
    wanted = re.compile(re.escape(f"{snapshots}/") + r"[0-9]{1,19}/(fs|work)")
    directories = [(path, "fs") for path in (*layers.lower, layers.upper)]
    for path, kind in (*directories, (layers.work, "work")):
        match = wanted.fullmatch(path)
        if match is None or match[1] != kind:
            raise HostError("is no directory of a snapshot", where=path)
    # Others, `lowerdir+=` among them, could name directories too.
    for option in layers.options:
        if option not in _OPTIONS:
            raise HostError("is no option that containerd gives its overlays", where=option)
    if not layers.lower or Path(layers.upper).parent != Path(layers.work).parent:
        raise HostError("is not a whole snapshot", where=layers.upper)


def make(target: Path, layers: Layers, *, owner: int, first: int, staging: Path) -> None:
    """Mount a container's root.

    Args:
        target: a directory that is made for it.
        layers: the snapshot, checked.
        owner: descriptor of the container's user namespace.
        first: the machine's number of its root.
        staging: a directory to mount on, unseen by others.

    Raises:
        HostError: the kernel refused.
    """
    try:
        target.mkdir(mode=0o700, exist_ok=True)
        # Nobody but the machine's root and the container's comes near the files of its image.
        target.parent.chmod(0o710)
        os.chown(target.parent, 0, first)
        _own(Path(layers.upper), first)
        with _mapped(layers, owner, staging) as lower:
            root = _overlay(layers, lower)
        try:
            kernel.attach(root, target)
        finally:
            os.close(root)
    except OSError as error:
        raise HostError(
            f"cannot mount the container's root: {kernel.reason(error)}", where=str(target)
        ) from error


def image(layers: Layers) -> int:
    """Return the image's files, as they are and read-only: a mount that is not attached anywhere.

    Raises:
        HostError: the kernel refused.
    """
    try:
        if len(layers.lower) == 1:
            return kernel.read_only_tree(Path(layers.lower[0]))
        # An overlay without an upper directory is read-only.
        return kernel.overlay(
            [("source", "overlay"), *(("lowerdir+", path) for path in layers.lower)]
        )
    except OSError as error:
        raise HostError(f"cannot mount the image: {kernel.reason(error)}") from error


@contextmanager
def _mapped(layers: Layers, owner: int, staging: Path) -> Iterator[list[Path]]:
    """Mount layers so that they look as `owner` maps them, while the block lasts.

    An overlay keeps its own of each mount that it is made of.
    """
    kernel.scratch(staging)
    try:
        places = []
        for number, layer in enumerate(layers.lower):
            place = staging / str(number)
            place.mkdir()
            tree = kernel.read_only_tree(Path(layer), owner=owner)
            try:
                kernel.attach(tree, place)
            finally:
                os.close(tree)
            places.append(place)
        yield places
    finally:
        kernel.unmount(staging)


def _overlay(layers: Layers, lower: list[Path]) -> int:
    options = [("source", "overlay")]
    # One layer at a time, as mount(2) takes no more than a page of options.
    options += [("lowerdir+", str(place)) for place in lower]
    options += [("upperdir", layers.upper), ("workdir", layers.work)]
    for option in layers.options:
        key, _, value = option.partition("=")
        options.append((key, value))
    return kernel.overlay(options)


def _own(upper: Path, first: int) -> None:
    """Give the top directory, which the snapshotter has made, to the container's users."""
    descriptor = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if max(found.st_uid, found.st_gid) < users.COUNT:
            os.fchown(descriptor, first + found.st_uid, first + found.st_gid)
    finally:
        os.close(descriptor)
