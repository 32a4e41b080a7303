"""System calls about namespaces, mounts and files that Python has no function for.

The programs that use them are single-threaded: a process with threads can enter no namespace.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

NEW_MOUNTS, NEW_USERS, NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000

SYS_CHROOT = 18

_MS_BIND = 4096
_MNT_DETACH = 2
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x100, 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_DESCRIPTOR = 4
_READ_ONLY, _NODEV, _IDMAP = 1, 4, 0x00100000
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SYS_OPENAT2 = 437  # the same number on every architecture; libc has no function for it
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_SET_STRING, _CREATE = 1, 6
_CAPABILITY_VERSION = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    """`cap_user_header_t` of capget(2)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    """`cap_user_data_t` of capget(2): a half of each set."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class _MountAttr(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def unshare(kinds: int) -> None:
    """Move this process into new namespaces: `NEW_…`, one or several."""
    _call("unshare", kinds)


def enter(namespace: int, kind: int) -> None:
    """Move this process into a namespace, given by a descriptor."""
    _call("setns", namespace, kind)


def forget(capability: int) -> None:
    """Give up a capability, for good unless this process is root."""
    header = _CapabilityHeader(version=_CAPABILITY_VERSION, pid=0)
    sets = (_CapabilitySets * 2)()
    _call("capget", ctypes.byref(header), ctypes.byref(sets))
    which, keep = sets[capability // 32], ~(1 << capability % 32) & 0xFFFFFFFF
    # The ambient set, which a new program would get, follows (capabilities(7)).
    which.effective &= keep
    which.permitted &= keep
    which.inheritable &= keep
    _call("capset", ctypes.byref(header), ctypes.byref(sets))


def bind(source: Path, target: Path) -> None:
    """Show a file or directory at another place, too."""
    _call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(_MS_BIND), None)


def scratch(target: Path) -> None:
    """Mount a small tmpfs."""
    _call("mount", b"scratch", os.fsencode(target), b"tmpfs", ctypes.c_ulong(0), b"size=1m")


def unmount(target: Path) -> None:
    """Take a mount away, also while it is in use; it need not be there."""
    with suppress(OSError):
        _call("umount2", os.fsencode(target), _MNT_DETACH)


def tree(source: Path, *, whole: bool = True) -> int:
    """Return another mount of a directory, which is not attached anywhere yet.

    If the directory's own is shared, what is mounted below one of them appears below the other.

    Args:
        source: the directory; the last part may not be a link.
        whole: with everything that is mounted below it.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_SYMLINK_NOFOLLOW
    if whole:
        flags |= _AT_RECURSIVE
    return _call("open_tree", _AT_FDCWD, os.fsencode(source), ctypes.c_uint(flags))


def read_only_tree(source: Path, *, owner: int | None = None) -> int:
    """Return a mount of a directory that is not mounted anywhere yet.

    Args:
        source: the directory; the last part may not be a link.
        owner: descriptor of a user namespace: what belongs to user N looks as
            if it belonged to the number that the namespace's N is outside of it.
    """
    mount = tree(source, whole=False)
    attributes = _MountAttr(attr_set=_READ_ONLY | _NODEV)
    if owner is not None:
        attributes = _MountAttr(attr_set=_READ_ONLY | _NODEV | _IDMAP, userns_fd=owner)
    try:
        _call(
            "mount_setattr", mount, b"", ctypes.c_uint(_AT_EMPTY_PATH),
            ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)),
        )  # fmt: skip
    except OSError:
        os.close(mount)
        raise
    return mount


def open_directory_inside(root: int, path: str) -> int:
    """Open a directory as if `root` were the root: no link and no `..` leads out of it."""
    how = _OpenHow(
        flags=os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,
        resolve=_RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS,
    )
    return _call(
        "syscall", ctypes.c_long(_SYS_OPENAT2), root, os.fsencode(path),
        ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)),
    )  # fmt: skip


def overlay(options: Sequence[tuple[str, str]]) -> int:
    """Return an overlay that is not mounted anywhere yet.

    Raises:
        OSError: with what the kernel says about it, which is more than a number.
    """
    context = _call("fsopen", b"overlay", _FSOPEN_CLOEXEC)
    try:
        for key, value in options:
            _call("fsconfig", context, _SET_STRING, key.encode(), os.fsencode(value), 0)
        _call("fsconfig", context, _CREATE, None, None, 0)
        return _call("fsmount", context, _FSMOUNT_CLOEXEC, _NODEV)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}{_said(context)}") from error
    finally:
        os.close(context)


def _said(context: int) -> str:
    with suppress(OSError):  # ENODATA: nothing
        return f" ({os.read(context, 1024).decode(errors='replace').strip()})"
    return ""


def attach(tree: int, target: Path) -> None:
    """Put a mount that is not mounted anywhere yet at its place."""
    _call(
        "move_mount", tree, b"", _AT_FDCWD, os.fsencode(target),
        ctypes.c_uint(_MOVE_FROM_DESCRIPTOR),
    )  # fmt: skip


def reason(error: OSError) -> str:
    """Return what to tell people of a refusal."""
    return f"{error.strerror}: {error.filename}" if error.filename else f"{error.strerror}"


def _call(name: str, *arguments: object) -> int:
    # os.unshare and os.setns came with Python 3.12; tests of this run on 3.11 too.
    ctypes.set_errno(0)
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    result = int(function(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
