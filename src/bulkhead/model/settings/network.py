"""Names, proxies and interfaces.

Bottlerocket has the first four keys; `interfaces` is Bulkhead's own, in terms
of systemd-networkd. An interface that is described here is configured by
what is said here alone; all other wired ones ask for addresses by DHCP.
"""

from __future__ import annotations

from typing import Annotated, Literal

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import (
    NEEDED,
    Hostname,
    InterfaceName,
    IpAddress,
    IpNetwork,
    MacAddress,
    SingleLine,
    Table,
    Url,
    only,
    whole,
)

BondMode = Literal[
    "balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb",
    "balance-alb",
]  # fmt: skip


class Route(Table, frozen=True):
    """One route."""

    to: IpNetwork
    """The destination, as in 10.0.0.0/8; 0.0.0.0/0 or ::/0 for all that no other route has."""
    via: IpAddress | None = None
    """The router; without it the destination is on the link itself."""
    source: IpAddress | None = None
    """The address that packets on this route come from."""
    metric: Annotated[int, whole(0, 2**32 - 1)] | None = None
    """The lowest one wins."""


class Vlan(Table, frozen=True):
    """Makes the interface a VLAN (802.1Q) of another one."""

    id: Annotated[int, whole(1, 4094), NEEDED] | None = None
    link: Annotated[InterfaceName, NEEDED] | None = None
    """The interface that carries it."""


class Bond(Table, frozen=True):
    """Makes the interface a bond of others."""

    mode: BondMode | None = None
    """As the kernel calls them; active-backup if missing."""
    members: Annotated[tuple[InterfaceName, ...], NEEDED] | None = None
    """Interfaces that have no addresses of their own."""
    min_links: Annotated[int, whole(0, 64)] | None = None
    """The bond is up while so many members are."""
    monitor_ms: Annotated[int, whole(1, 60_000)] | None = None
    """How often the members' links are looked at, in milliseconds; 100 if missing."""


class Interface(Table, frozen=True):
    """One network interface."""

    mac_address: MacAddress | None = None
    """Take the interface with this address, whatever the kernel calls it. Its name in the settings
    is then only a name for it here."""
    dhcp4: bool | None = None
    """Ask for an IPv4 address. False if missing."""
    dhcp6: bool | None = None
    """Ask for an IPv6 address. False if missing."""
    accept_ra: bool | None = None
    """Listen to IPv6 routers and make addresses from what they announce. True if missing."""
    addresses: tuple[IpNetwork, ...] | None = None
    """Fixed addresses with their prefix lengths, as in 192.0.2.7/24 or 2001:db8::7/64."""
    gateways: tuple[IpAddress, ...] | None = None
    """Routers for everything that no route has; at most one for each version of IP."""
    routes: tuple[Route, ...] | None = None
    name_servers: tuple[IpAddress, ...] | None = None
    """Asked through this interface, beside those of `settings.dns`."""
    mtu: Annotated[int, whole(68, 9216)] | None = None
    """Largest packet in bytes; IPv6 needs at least 1280."""
    required: bool | None = None
    """The node is online only when this interface is. True if missing."""
    vlan: Vlan | None = None
    bond: Bond | None = None


class Network(Table, frozen=True):
    """The node in its network."""

    hostname: Hostname | None = None
    """What the node is called; DHCP or its machine ID names it if missing."""
    hosts: tuple[tuple[IpAddress, tuple[Hostname, ...]], ...] | None = None
    """Lines for `/etc/hosts`: an address and its names."""
    https_proxy: Url | None = None
    """For everything that fetches something: containerd, updates, metrics."""
    no_proxy: tuple[SingleLine, ...] | None = None
    """Hosts, domains and networks that are reached without the proxy."""
    interfaces: Annotated[dict[InterfaceName, Interface], only(InterfaceName)] | None = None
    """By name, as in `eth0`."""


def check(network: Network, *, complete: bool) -> None:
    """Refuse interfaces that do not fit together."""
    interfaces = network.interfaces or {}
    for name, interface in interfaces.items():
        _check_one(name, interface)
    _check_members(interfaces)
    if complete:
        _check_links(interfaces)


def _check_one(name: str, interface: Interface) -> None:
    here = ("network", "interfaces", name)
    made = "vlan" if interface.vlan else "bond" if interface.bond else None
    if interface.vlan and interface.bond:
        raise SettingsError((*here, "bond"), "an interface is a VLAN or a bond, not both")
    if interface.mac_address and made:
        raise SettingsError(
            (*here, "mac-address"), f"picks an existing interface, but a {made} is made anew"
        )
    versions = [":" in gateway for gateway in interface.gateways or ()]
    if len(set(versions)) < len(versions):
        raise SettingsError(
            (*here, "gateways"), "has two routers of the same version of IP",
            hint="write one of them as a route with a metric",
        )  # fmt: skip
    has_ipv6 = any(":" in text for text in interface.addresses or ()) or interface.dhcp6
    if has_ipv6 and interface.mtu is not None and interface.mtu < 1280:
        raise SettingsError((*here, "mtu"), f"IPv6 needs at least 1280, got {interface.mtu}")
    for index, route in enumerate(interface.routes or ()):
        ends = [text for text in (route.to, route.via, route.source) if text]
        if len({":" in text for text in ends}) > 1:
            raise SettingsError((*here, "routes", index), "mixes IPv4 and IPv6 addresses")


def _check_members(interfaces: dict[str, Interface]) -> None:
    owner: dict[str, str] = {}
    for name, interface in interfaces.items():
        for index, member in enumerate((interface.bond and interface.bond.members) or ()):
            where = ("network", "interfaces", name, "bond", "members", index)
            if member in owner:
                raise SettingsError(where, f"{member} is a member of {owner[member]} already")
            owner[member] = name
            known = interfaces.get(member)
            if known and (known.dhcp4 or known.dhcp6 or known.addresses or known.gateways):
                raise SettingsError(
                    where, f"{member} has addresses of its own",
                    hint=f"give them to {name}, and leave {member} without",
                )  # fmt: skip


def _check_links(interfaces: dict[str, Interface]) -> None:
    """Refuse an interface that is carried by itself, over however many others."""
    carriers = {
        name: (*((i.vlan.link,) if i.vlan and i.vlan.link else ()),
               *((i.bond.members or ()) if i.bond else ()))
        for name, i in interfaces.items()
    }  # fmt: skip
    for start, first in carriers.items():
        seen: set[str] = set()
        waiting = list(first)
        while waiting:
            name = waiting.pop()
            if name == start:
                raise SettingsError(
                    ("network", "interfaces", start), "is carried by itself",
                    hint="look at the links of VLANs and the members of bonds",
                )  # fmt: skip
            if name not in seen:
                seen.add(name)
                waiting += carriers.get(name, ())


Model = Network
