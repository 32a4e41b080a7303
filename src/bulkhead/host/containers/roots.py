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
from pathlib import Path

from bulkhead.host.containers import kernel, users
from bulkhead.host.containers.records import Layers
from bulkhead.model.errors import HostError


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
    if not layers.lower or Path(layers.upper).parent != Path(layers.work).parent:
        raise HostError("is not a whole snapshot", where=layers.upper)


def make(target: Path, layers: Layers, *, pin: Path, first: int, machine: Path | None) -> None:
    """Mount a container's root.

    Args:
        target: a directory that is made for it.
        layers: the snapshot, checked.
        pin: the container's user namespace.
        first: the machine's number of its root.
        machine: the machine's mount namespace; None if it is the caller's.

    Raises:
        HostError: the kernel refused.
    """

    def child() -> None:
        kernel.enter(machine, kernel.NEW_MOUNTS)
        target.mkdir(mode=0o700, exist_ok=True)
        # Nobody but the machine's root and the container's comes near the files of its image.
        os.chown(target.parent, 0, first)
        target.parent.chmod(0o710)
        _own(Path(layers.upper), first)
        owner = os.open(pin, os.O_RDONLY | os.O_CLOEXEC)
        back = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        root = _overlay(layers, owner, staging=target)
        kernel.enter(back, kernel.NEW_MOUNTS)
        kernel.attach(root, target)

    kernel.in_child(child, f"cannot mount the container's root at {target}")


def exists(target: Path) -> bool:
    """Tell whether a root is mounted."""
    try:
        return target.stat().st_dev != target.parent.stat().st_dev
    except OSError:
        return False


def _overlay(layers: Layers, owner: int, *, staging: Path) -> int:
    """Return an overlay whose layers look as `owner` maps them.

    The process is in a mount namespace of its own afterwards. Its mounts end
    with it; the overlay keeps its own of each.
    """
    kernel.unshare(kernel.NEW_MOUNTS)
    kernel.keep_mounts_private()
    kernel.scratch(staging)
    options = [("source", "overlay")]
    for number, layer in enumerate(layers.lower):
        place = staging / str(number)
        place.mkdir()
        tree = kernel.read_only_tree(Path(layer), owner=owner)
        kernel.attach(tree, place)
        os.close(tree)
        # One layer at a time, as mount(2) takes no more than a page of options.
        options.append(("lowerdir+", str(place)))
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
