"""Namespaces that stay without a process: made, and pinned by a bind mount.

A pin must be visible to containerd, but this program lives in a mount
namespace of its own from which no mount leads back (systemd makes it a slave
of the machine's). So a short-lived child enters the machine's mount namespace
for that one mount.

A container's user namespace owns its network namespace: what root may do
there needs the owner (user_namespaces(7)), and nobody else gets it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead.host.containers import kernel
from bulkhead.model.errors import HostError

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1


def make(pin: Path, *, machine: Path | None) -> None:
    """Make a network namespace of the machine's users, with its loopback up, and pin it at `pin`.

    Args:
        pin: a path in the machine's mount namespace.
        machine: that namespace; None if it is the caller's.

    Raises:
        HostError: the kernel refused.
    """

    def child() -> None:
        _new_network()
        kernel.enter(machine, kernel.NEW_MOUNTS)
        _pin(Path("/proc/self/ns/net"), pin)

    kernel.in_child(child, f"cannot pin a network namespace at {pin}")


def make_with_users(
    pin: Path, users: Path, *, first: int, count: int, machine: Path | None
) -> None:
    """Make a user namespace and a network namespace that belongs to it; pin both.

    Args:
        pin: the network's, a path in the machine's mount namespace.
        users: the user namespace's pin.
        first: the machine's number of the namespace's user and group 0.
        count: how many numbers it has.
        machine: the machine's mount namespace; None if it is the caller's.

    Raises:
        HostError: the kernel refused.
    """
    with _holder(first, count) as pid:

        def child() -> None:
            kernel.enter(machine, kernel.NEW_MOUNTS)
            _pin(Path(f"/proc/{pid}/ns/user"), users)
            _pin(Path(f"/proc/{pid}/ns/net"), pin)

        kernel.in_child(child, f"cannot pin namespaces at {pin} and {users}")


def exists(pin: Path) -> bool:
    """Tell whether a namespace is pinned there; an interrupted `make` may leave a mere file."""
    try:
        return pin.stat().st_dev != pin.parent.stat().st_dev
    except FileNotFoundError:
        return False


@contextmanager
def _holder(first: int, count: int) -> Iterator[int]:
    """Run a process in the new namespaces for as long as the block lasts; yield its number."""
    mine, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        mine.close()
        _hold(its)
    its.close()
    try:
        with mine:
            _step(mine, "cannot make a user namespace")
            # A process cannot write more than one number into its own map: that takes privilege
            # in the namespace above.
            for kind in ("uid", "gid"):
                Path(f"/proc/{pid}/{kind}_map").write_text(f"0 {first} {count}\n", encoding="ascii")
            mine.sendall(b"\n")
            _step(mine, "cannot make a network namespace in a user namespace")
            yield pid
    except OSError as error:
        raise HostError(f"cannot give out users from {first} on: {error.strerror}") from error
    finally:
        os.waitpid(pid, 0)  # it ends when its socket is closed


def _hold(its: socket.socket) -> None:
    """Be the process in the new namespaces. Never returns."""
    steps: tuple[Callable[[], None], ...] = (lambda: kernel.unshare(kernel.NEW_USERS), _new_network)
    try:
        for step in steps:
            try:
                step()
                its.sendall(b"\n")
            except OSError as error:
                its.sendall(f"{error.strerror}\n".encode())
                break
            if not its.recv(1):
                break
    finally:
        os._exit(0)


def _step(mine: socket.socket, what: str) -> None:
    said = mine.recv(1024).decode(errors="replace")
    if said != "\n":
        raise HostError(f"{what}: {said.strip() or 'its process ended'}")


def _pin(namespace: Path, pin: Path) -> None:
    pin.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    pin.touch(mode=0o444)
    kernel.bind(namespace, pin)


def _new_network() -> None:
    kernel.unshare(kernel.NEW_NETWORK)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))
