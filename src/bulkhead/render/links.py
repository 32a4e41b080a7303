"""Network interfaces, as files of systemd-networkd (systemd.network(5), systemd.netdev(5)).

An interface that settings describe is configured by its file alone; all other
wired ones ask for addresses, as the image's `80-wired.network` says. What the
settings say of name and time servers replaces what networks offer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from bulkhead.model.settings.network import Bond, Interface, Vlan
from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step
from bulkhead.render.text import HEAD, word

FOLDER = "/etc/systemd/network/"
OFFERS = f"{FOLDER}80-wired.network.d/60-settings.conf"

_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")

Lines = list[str]


def render(settings: Settings) -> tuple[File, ...]:
    """Return the files of all interfaces that settings are about."""
    interfaces = read.get(settings, "network.interfaces", dict[str, Interface]) or {}
    offers = _offers(settings)
    files = []
    if offers:
        files.append(_file(OFFERS, offers))
    carried = _carried(interfaces)
    for name in sorted({*interfaces, *carried}):
        interface = interfaces.get(name)
        lower = carried.get(name, [])
        lines = _network(name, interface, lower, offers)
        files.append(_file(f"{FOLDER}10-{_name(name)}.network", lines))
        if interface is not None and (interface.vlan or interface.bond):
            files.append(_file(f"{FOLDER}10-{_name(name)}.netdev", _netdev(name, interface)))
    return tuple(files)


def _file(path: str, lines: Iterable[str]) -> File:
    return File(path=path, data=(HEAD + "\n".join(lines) + "\n").encode())


def _name(name: str) -> str:
    """Return the name of an interface, which is part of a path and a pattern of [Match] too."""
    if not _INTERFACE.fullmatch(name):
        raise RenderError(
            "is no name of an interface", where=f"settings.network.interfaces.{name!r}"
        )
    return name


def _offers(settings: Settings) -> Lines:
    """Return what is not taken from networks, because settings say it."""
    no = []
    if read.texts(settings, "dns.name-servers"):
        no.append("UseDNS=no")
    if read.texts(settings, "dns.search-list"):
        no.append("UseDomains=no")
    if read.texts(settings, "ntp.time-servers"):
        no.append("UseNTP=no")
    if not no:
        return []
    announced = [line for line in no if line != "UseNTP=no"]  # routers announce no time servers
    lines = ["[DHCPv4]", *no, "", "[DHCPv6]", *no]
    return [*lines, "", "[IPv6AcceptRA]", *announced] if announced else lines


def _carried(interfaces: Mapping[str, Interface]) -> dict[str, Lines]:
    """Return what an interface's file says of those that are on top of it."""
    found: dict[str, Lines] = {}
    for name, interface in sorted(interfaces.items()):
        if interface.vlan and interface.vlan.link:
            found.setdefault(interface.vlan.link, []).append(f"VLAN={_name(name)}")
        for member in (interface.bond and interface.bond.members) or ():
            found.setdefault(member, []).append(f"Bond={_name(name)}")
    return found


def _network(name: str, interface: Interface | None, lower: Lines, offers: Lines) -> Lines:
    bonded = any(line.startswith("Bond=") for line in lower)
    if interface is None:
        # Named by a VLAN or a bond only: as any other wired interface, or as a mere part.
        interface = Interface() if bonded else Interface(dhcp4=True, dhcp6=True)
    lines = ["[Match]", *_match(name, interface), ""]
    lines += ["[Link]", *_link(interface, bonded=bonded), ""]
    lines += ["[Network]", *_addresses(interface, bonded=bonded), *lower]
    for route in interface.routes or ():
        lines += ["", "[Route]", f"Destination={word(route.to, 'network.interfaces')}"]
        lines += _optional("Gateway", route.via)
        lines += _optional("PreferredSource", route.source)
        lines += _optional("Metric", route.metric)
    if interface.dhcp4 and not bonded:
        lines += ["", "[DHCPv4]", "UseMTU=yes", "UseDomains=yes"]
    if offers and not bonded:
        # Of two values of one key the later counts.
        lines += ["", *offers]
    return lines


def _match(name: str, interface: Interface) -> Lines:
    if interface.mac_address:
        # A VLAN has the address of what carries it, so the kind is asked for too.
        mac = word(interface.mac_address, "network.interfaces")
        return [f"MACAddress={mac}", "Type=ether", "Kind=!*"]
    return [f"Name={_name(name)}"]


def _link(interface: Interface, *, bonded: bool) -> Lines:
    lines = _optional("MTUBytes", interface.mtu)
    if bonded or interface.required is False:
        lines.append("RequiredForOnline=no")
    return lines


def _addresses(interface: Interface, *, bonded: bool) -> Lines:
    if bonded:
        return ["LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    both = (bool(interface.dhcp4), bool(interface.dhcp6))
    dhcp = {(True, True): "yes", (True, False): "ipv4", (False, True): "ipv6"}.get(both, "no")
    lines = [
        f"DHCP={dhcp}",
        f"IPv6AcceptRA={'no' if interface.accept_ra is False else 'yes'}",
        "LinkLocalAddressing=ipv6",
        # An update of user space must not take addresses away.
        "KeepConfiguration=yes",
    ]
    for key, values in (
        ("Address", interface.addresses),
        ("Gateway", interface.gateways),
        ("DNS", interface.name_servers),
    ):
        lines += [f"{key}={word(value, 'network.interfaces')}" for value in values or ()]
    return lines


def _netdev(name: str, interface: Interface) -> Lines:
    kind = "vlan" if interface.vlan else "bond"
    lines = ["[NetDev]", f"Name={_name(name)}", f"Kind={kind}", ""]
    if interface.vlan:
        return [*lines, *_vlan(interface.vlan)]
    assert interface.bond is not None
    return [*lines, *_bond(interface.bond)]


def _vlan(vlan: Vlan) -> Lines:
    return ["[VLAN]", f"Id={vlan.id}"]


def _bond(bond: Bond) -> Lines:
    return [
        "[Bond]",
        f"Mode={bond.mode or 'active-backup'}",
        f"MIIMonitorSec={bond.monitor_ms or 100}ms",
        *_optional("MinLinks", bond.min_links),
    ]


def _optional(key: str, value: str | int | None) -> Lines:
    return [] if value is None else [f"{key}={word(value, 'network.interfaces')}"]


SERVICE = Service(
    name="network",
    keys=("network.interfaces", "dns", "ntp"),
    render=render,
    files={"networkd": FOLDER},
    steps=(Step(verb="reload-or-try-restart", unit="systemd-networkd.service"),),
)
