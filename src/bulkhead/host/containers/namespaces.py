"""Network namespaces that stay without a process: made, pinned by a bind mount, removed.

A pin must be visible to containerd, but this program lives in a mount
namespace of its own from which no mount leads back (systemd makes it a slave
of the machine's). So a short-lived child enters the machine's mount namespace
for that one mount.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from bulkhead.model.errors import HostError

_MS_BIND = 4096
_MNT_DETACH = 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000


def make(pin: Path, *, machine: Path | None) -> None:
    """Make a network namespace, with its loopback up, and pin it at `pin`.

    Args:
        pin: a path in the machine's mount namespace.
        machine: that namespace; None if it is the caller's.

    Raises:
        HostError: the kernel refused.
    """

    def child() -> None:
        _checked(_libc().unshare(_CLONE_NEWNET))
        _loopback_up()
        _enter(machine)
        pin.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        pin.touch(mode=0o444)
        _mount(b"/proc/self/ns/net", os.fsencode(pin))

    _in_child(child, f"cannot pin a network namespace at {pin}")


def exists(pin: Path) -> bool:
    """Tell whether a namespace is pinned there; an interrupted `make` may leave a mere file."""
    try:
        return pin.stat().st_dev != pin.parent.stat().st_dev
    except FileNotFoundError:
        return False


def remove(pin: Path, *, machine: Path | None) -> None:
    """Remove a pin; it need not exist. The namespace ends with its last process.

    Raises:
        HostError: the kernel refused.
    """

    def child() -> None:
        _enter(machine)
        _libc().umount2(os.fsencode(pin), _MNT_DETACH)
        pin.unlink(missing_ok=True)

    _in_child(child, f"cannot remove the network namespace at {pin}")


def _in_child(work: Callable[[], None], what: str) -> None:
    # The child never returns into the caller's code, whatever happens in it.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except OSError as error:
            os.write(writer, f"{error.strerror}".encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        reason = pipe.read(1024).decode(errors="replace")
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise HostError(f"{what}: {reason or os.waitstatus_to_exitcode(status)}")


def _enter(machine: Path | None) -> None:
    if machine is None:
        return
    descriptor = os.open(machine, os.O_RDONLY | os.O_CLOEXEC)
    _checked(_libc().setns(descriptor, _CLONE_NEWNS))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def _mount(source: bytes, target: bytes) -> None:
    _checked(_libc().mount(source, target, None, _MS_BIND, None))


def _checked(result: int) -> None:
    # os.unshare and os.setns came with Python 3.12; tests of this run on 3.11 too.
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
