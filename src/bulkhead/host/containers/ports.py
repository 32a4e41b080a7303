"""Which ports of the machine a container can have."""

from __future__ import annotations

from collections.abc import Sequence

from bulkhead.model.containers import Port
from bulkhead.model.errors import UserError

# The channel to the workstation; a container that took it over would lock everyone out.
_RESERVED = {(7433, "tcp"), (7434, "tcp")}


def check(ports: Sequence[Port]) -> None:
    """Check the ports that one container asks for.

    Raises:
        UserError: one is the machine's own, or is asked for twice.
    """
    for port in ports:
        if (port.host, port.protocol) in _RESERVED:
            raise UserError(f"port {port.host}/{port.protocol} is the machine's own")
        if sum(_same(port, other) for other in ports) > 1:
            raise UserError(f"port {port.host}/{port.protocol} is asked for twice")


def taken(wanted: Sequence[Port], theirs: Sequence[Port]) -> Port | None:
    """Return the first of the ports that another container has."""
    return next((port for port in wanted if any(_same(port, other) for other in theirs)), None)


def _same(mine: Port, theirs: Port) -> bool:
    everywhere = mine.address is None or theirs.address is None
    return (mine.host, mine.protocol) == (theirs.host, theirs.protocol) and (
        everywhere or mine.address == theirs.address
    )
