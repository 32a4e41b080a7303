"""Packet rules of containers: published ports, the way out, and no other way in.

One table of our own, so that the firewall's rules and these never overwrite
each other. Ports are elements of two maps: publishing one changes no rule.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from bulkhead.host.containers.bridge import BRIDGE
from bulkhead.lib.run import run
from bulkhead.model.containers import Port

TABLE = "inet bulkhead-containers"
NFT = "/usr/sbin/nft"


def ruleset(subnet: str) -> str:
    """Return the commands that make the table; with it already there they change nothing.

    Rules for packets that this machine sends itself are in `output`: those do
    not pass `prerouting`.
    """
    to_container = (
        "fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @ports-at",
        "fib daddr type local dnat ip to meta l4proto . th dport map @ports",
    )
    # This machine forwards packets, so a neighbour could send them to containers directly:
    # they get answers, and what comes to a published port.
    forwarded = (
        f'iifname "{BRIDGE}" accept',
        f'oifname "{BRIDGE}" ct state established,related accept',
        f'oifname "{BRIDGE}" ct status dnat accept',
        f'oifname "{BRIDGE}" drop',
    )
    lines = (
        f"add table {TABLE}",
        f"add map {TABLE} ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}",
        f"add map {TABLE} ports-at "
        "{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
        f"add chain {TABLE} prerouting {{ type nat hook prerouting priority dstnat; }}",
        f"add chain {TABLE} output {{ type nat hook output priority dstnat; }}",
        f"add chain {TABLE} postrouting {{ type nat hook postrouting priority srcnat; }}",
        f"add chain {TABLE} forward {{ type filter hook forward priority filter; }}",
        f"flush chain {TABLE} prerouting",
        f"flush chain {TABLE} output",
        f"flush chain {TABLE} postrouting",
        f"flush chain {TABLE} forward",
        *(f"add rule {TABLE} prerouting {rule}" for rule in to_container),
        *(f"add rule {TABLE} output {rule}" for rule in to_container),
        *(f"add rule {TABLE} forward {rule}" for rule in forwarded),
        f'add rule {TABLE} postrouting ip saddr {subnet} oifname != "{BRIDGE}" masquerade',
        # A container that calls a published port of its own machine must get the
        # answer from there, not directly from the other container.
        f'add rule {TABLE} postrouting ip saddr {subnet} oifname "{BRIDGE}" '
        "ct status dnat masquerade",
    )
    return "\n".join(lines) + "\n"


def publish(ports: Sequence[Port], address: str) -> str:
    """Return the commands that lead `ports` to `address`."""
    target = ipaddress.IPv4Address(address)
    return "".join(
        f"add element {TABLE} {_key(port)} : {target} . {port.container} }}\n" for port in ports
    )


def withdraw(ports: Iterable[Port]) -> list[str]:
    """Return one batch of commands for each port; a port that is not there fails only its own."""
    return [f"delete element {TABLE} {_key(port)} }}\n" for port in ports]


def apply(commands: str) -> None:
    """Run a batch of commands: all or none.

    Raises:
        CommandFailed: nft refused.
    """
    run([NFT, "-f", "-"], input=commands.encode(), timeout_s=30)


def _key(port: Port) -> str:
    if port.address is None:
        return f"ports {{ {port.protocol} . {port.host}"
    at = ipaddress.IPv4Address(port.address)
    return f"ports-at {{ {at} . {port.protocol} . {port.host}"
