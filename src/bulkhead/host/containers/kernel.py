"""System calls about namespaces and mounts that Python has no function for.

The two programs that use them are single-threaded; what must not change the
caller happens in a child (`in_child`).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bulkhead.model.errors import HostError

NEW_MOUNTS, NEW_USERS, NEW_NETWORK = 0x00020000, 0x10000000, 0x40000000

_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = -100, 0x100, 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_DESCRIPTOR = 4
_READ_ONLY, _NODEV, _IDMAP = 1, 4, 0x00100000
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_SYS_OPENAT2 = 437  # the same number on every architecture; libc has no function for it
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
_SET_STRING, _CREATE = 1, 6


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


def enter(namespace: Path | int | None, kind: int) -> None:
    """Move this process into a namespace, given by its file or a descriptor; None: stay."""
    if namespace is None:
        return
    if isinstance(namespace, int):
        _call("setns", namespace, kind)
        return
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", descriptor, kind)
    finally:
        os.close(descriptor)


def bind(source: Path, target: Path) -> None:
    """Show a file or directory at another place, too."""
    _call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(_MS_BIND), None)


def scratch(target: Path) -> None:
    """Mount a small tmpfs."""
    _call("mount", b"scratch", os.fsencode(target), b"tmpfs", ctypes.c_ulong(0), b"size=1m")


def keep_mounts_private() -> None:
    """Let no mount made from now on be seen in the namespace that this one was copied from."""
    _call("mount", b"", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)


def unmount(target: Path) -> None:
    """Take a mount away, also while it is in use; it need not be there."""
    with suppress(OSError):
        _call("umount2", os.fsencode(target), _MNT_DETACH)


def read_only_tree(source: Path, *, owner: int | None = None) -> int:
    """Return a mount of a directory that is not mounted anywhere yet.

    Args:
        source: the directory; the last part may not be a link.
        owner: descriptor of a user namespace: what belongs to user N looks as
            if it belonged to the number that the namespace's N is outside of it.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_SYMLINK_NOFOLLOW
    tree = _call("open_tree", _AT_FDCWD, os.fsencode(source), ctypes.c_uint(flags))
    attributes = _MountAttr(attr_set=_READ_ONLY | _NODEV)
    if owner is not None:
        attributes = _MountAttr(attr_set=_READ_ONLY | _NODEV | _IDMAP, userns_fd=owner)
    try:
        _call(
            "mount_setattr", tree, b"", ctypes.c_uint(_AT_EMPTY_PATH),
            ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)),
        )  # fmt: skip
    except OSError:
        os.close(tree)
        raise
    return tree


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


def in_child(work: Callable[[], None], what: str) -> None:
    """Do something in a child, which may change its namespaces as it likes.

    Raises:
        HostError: it failed; `what` says what could not be done.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        # The child never returns into the caller's code, whatever happens in it.
        code = 1
        try:
            work()
            code = 0
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            os.write(writer, f"{error.strerror}{where}".encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        reason = pipe.read(2048).decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise HostError(f"{what}: {reason or os.waitstatus_to_exitcode(status)}")


def _call(name: str, *arguments: object) -> int:
    # os.unshare and os.setns came with Python 3.12; tests of this run on 3.11 too.
    ctypes.set_errno(0)
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    result = int(function(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
