"""New namespaces for containers.

    python3 -I -m bulkhead.host.containers.namespaces    serve namespaces.sock

Each container's network namespace belongs to a user namespace: what root may do
there needs the owner (user_namespaces(7)). A process in it has every right over
both namespaces and none over the machine, so that is where a socket is opened by which the
network can be set up.

Giving a user namespace its numbers takes privilege over users, so a program of its
own does it: it can mount nothing, sees no file but the records, and keeps
nothing. Namespaces leave it as descriptors, to the sandbox program alone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bulkhead.host.containers import kernel, netlink, records, requests, users
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.requests import Reply
from bulkhead.model.errors import HostError


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """Descriptors of new namespaces. Who has got them closes them."""

    users: int
    network: int
    control: int
    """A netlink socket that was opened in the network namespace."""


def make(first: int | None) -> Made:
    """Make a user namespace and a network namespace that belongs to it.

    Args:
        first: the machine's number of the namespace's user and group 0, of `users.COUNT`. None: it
            has none at all, but the machine's users have what rights they have everywhere.

    Raises:
        HostError: the kernel refused.
    """
    mine, its = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        mine.close()
        _be_inside(its)
    its.close()
    try:
        with mine:
            _step(mine, "cannot make a user namespace")
            # A process cannot write more than one number into its own map: that takes privilege
            # in the namespace above.
            for kind in ("uid", "gid") if first is not None else ():
                table = Path(f"/proc/{pid}/{kind}_map")
                table.write_text(f"0 {first} {users.COUNT}\n", encoding="ascii")
            mine.sendall(b"\n")
            made = _step(mine, "cannot make a network namespace in a user namespace", descriptors=3)
    except OSError as error:
        raise HostError(f"cannot give out users from {first} on: {error.strerror}") from error
    finally:
        os.waitpid(pid, 0)  # it ends when its socket is closed
    return Made(users=made[0], network=made[1], control=made[2])


def _be_inside(its: socket.socket) -> None:
    """Be the process in the new namespaces. Never returns."""
    steps: tuple[Callable[[], list[int]], ...] = (_new_users, _new_network)
    try:
        for step in steps:
            try:
                socket.send_fds(its, [b"\n"], step())
            except OSError as error:
                its.sendall(f"{error.strerror}\n".encode())
                break
            if not its.recv(1):
                break
    finally:
        os._exit(0)


def _new_users() -> list[int]:
    kernel.unshare(kernel.NEW_USERS)
    return []


def _new_network() -> list[int]:
    kernel.unshare(kernel.NEW_NETWORK)
    kinds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("user", "net")]
    return [*kinds, netlink.open_here().detach()]


def _step(mine: socket.socket, what: str, *, descriptors: int = 0) -> list[int]:
    said, found, _, _ = socket.recv_fds(mine, 1024, max(descriptors, 1))
    if said != b"\n" or len(found) != descriptors:
        reason = said.decode(errors="replace").strip()
        raise HostError(f"{what}: {reason or 'its process ended'}")
    return found


# --- the program -------------------------------------------------------------


def for_container(places: Places, name: str) -> Made:
    """Make what a container's record says.

    Raises:
        UserError: there is no such container.
        HostError: the kernel refused, or the record is wrong.
    """
    first = records.require(places.records, name).users
    # A record is written by a program without privileges: it may name nothing else.
    if first is not None and not users.is_first(first):
        raise HostError("its users are not those of a container", where=name)
    return make(first)


def main() -> int:
    """Serve until nobody asks."""

    def answer(name: str, _: Sequence[int]) -> Reply:
        made = for_container(Places(), name)
        return Reply(descriptors=(made.users, made.network, made.control))

    return requests.run({"make": answer})


if __name__ == "__main__":
    raise SystemExit(main())
