"""Who may reach the node itself. Without a rule nobody may; what containers publish has its own rules."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from bulkhead.model.settings.values import (
    NEEDED,
    Identifier,
    IpAddress,
    IpNetwork,
    Table,
    only,
    rule,
    whole,
)


def _is_range(text: str) -> bool:
    low, high = map(int, text.split("-"))
    return 1 <= low <= high <= 65535


Port = Annotated[int, whole(1, 65535)]
PortRange = Annotated[
    str,
    rule("a range of ports, as in 8000-8100", pattern=r"[0-9]{1,5}-[0-9]{1,5}", check=_is_range),
]


class Rule(Table, frozen=True):
    """What may come in."""

    protocol: Annotated[Literal["tcp", "udp", "sctp"], NEEDED] | None = None
    ports: Annotated[tuple[Port | PortRange, ...], NEEDED] | None = None
    """Numbers, and ranges as in `"8000-8100"`."""
    from_: tuple[IpAddress | IpNetwork, ...] | None = field(default=None, name="from")
    """Only from these addresses and networks; from everywhere if missing."""
    enabled: bool | None = None
    """False takes the rule out without forgetting it. True if missing."""


class Firewall(Table, frozen=True):
    """Packets to the node itself."""

    inbound: Annotated[dict[Identifier, Rule], only(Identifier)] | None = None
    """Rules by a name of your own."""


Model = Firewall
