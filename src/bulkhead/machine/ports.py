"""Loopback ports of the workstation that lead into a machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from bulkhead.machine.spec import Forward

LOOPBACK = "127.0.0.1"


def choose(
    guest_ports: Iterable[int], *, remembered: Iterable[Forward] = ()
) -> tuple[Forward, ...]:
    """Return a free port of the workstation for each port of the guest.

    A machine keeps the ports that it had, as long as they are free, so that
    addresses which people noted down stay true.
    """
    before = {forward.guest_port: forward.host_port for forward in remembered}
    taken: list[socket.socket] = []
    try:
        forwards = []
        for guest_port in guest_ports:
            holder = bind(before.get(guest_port, 0)) or bind(0)
            assert holder is not None
            # Held until all are chosen, so that none is given out twice.
            taken.append(holder)
            forwards.append(Forward(host_port=holder.getsockname()[1], guest_port=guest_port))
        return tuple(forwards)
    finally:
        for holder in taken:
            holder.close()


def bind(port: int) -> socket.socket | None:
    """Hold a loopback port, any free one for 0; return None if it is taken."""
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        holder.bind((LOOPBACK, port))
    except OSError:
        holder.close()
        if port == 0:
            raise
        return None
    return holder
