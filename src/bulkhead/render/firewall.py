"""What may come in beside what the image lets in (nft(8)).

The image's own rules jump to the chain that this fills. A packet that no rule
accepts is dropped, so a list that is empty, missing, or refused by the kernel
lets nothing more in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bulkhead.model.settings.firewall import Rule
from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step
from bulkhead.render.text import HEAD

PATH = "/etc/nftables.d/50-settings.nft"
_OPEN = "flush chain inet bulkhead settings\ntable inet bulkhead {\nchain settings {\n"
_CLOSE = "}\n}\n"
_NAME = re.compile(r"[A-Za-z0-9-]{1,76}")


def render(settings: Settings) -> tuple[File, ...]:
    """Return the rules; nothing if there are none."""
    rules = read.get(settings, "firewall.inbound", dict[str, Rule]) or {}
    lines = [
        line
        for name, rule in sorted(rules.items())
        if rule.enabled is not False
        for line in _rule(name, rule)
    ]
    return (
        (File(path=PATH, data=(HEAD + _OPEN + "".join(lines) + _CLOSE).encode()),) if lines else ()
    )


def _rule(name: str, rule: Rule) -> Iterable[str]:
    where = f"settings.firewall.inbound.{name}"
    if not _NAME.fullmatch(name):
        raise RenderError("is no name of a rule", where=where)
    if rule.protocol not in ("tcp", "udp", "sctp"):
        raise RenderError("needs a protocol", where=where)
    if not rule.ports:
        return
    accept = f'{rule.protocol} dport {{ {_ports(rule.ports, where)} }} accept comment "{name}"\n'
    if rule.from_ is None:
        yield accept
        return
    for family, addresses in _networks(rule.from_, where):
        if addresses:
            yield f"{family} saddr {{ {', '.join(addresses)} }} {accept}"


def _ports(ports: Sequence[int | str], where: str) -> str:
    """Return ports and ranges, joined: nft refuses a set whose parts overlap."""
    ranges: list[tuple[int, int]] = []
    for port in ports:
        low, _, high = str(port).partition("-")
        if not low.isascii() or not low.isdigit() or not (high or low).isdigit():
            raise RenderError(f"{port!r} is no port", where=where)
        ranges.append((int(low), int(high or low)))
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if not 1 <= first <= last <= 65535:
            raise RenderError(f"{first}-{last} is no range of ports", where=where)
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in joined)


def _networks(texts: Sequence[str], where: str) -> tuple[tuple[str, list[str]], ...]:
    """Return networks by family, joined for the same reason."""
    import ipaddress  # 10 ms, for whoever has such a rule

    four: list[ipaddress.IPv4Network] = []
    six: list[ipaddress.IPv6Network] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise RenderError(f"{text!r} is no address", where=where) from error
        if isinstance(network, ipaddress.IPv4Network):
            four.append(network)
        else:
            six.append(network)
    return (
        ("ip", [str(network) for network in ipaddress.collapse_addresses(four)]),
        ("ip6", [str(network) for network in ipaddress.collapse_addresses(six)]),
    )


SERVICE = Service(
    name="firewall",
    keys=("firewall",),
    render=render,
    files={"nftables": PATH},
    steps=(Step(verb="restart", unit="bulkhead-firewall.service"),),
)
