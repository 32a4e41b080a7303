"""Name servers of systemd-resolved (resolved.conf(5)).

That the servers which a network offers are not asked beside them is said in
the network's own files (`links`).
"""

from __future__ import annotations

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings, Step
from bulkhead.render.text import HEAD, words

PATH = "/etc/systemd/resolved.conf.d/60-settings.conf"


def render(settings: Settings) -> tuple[File, ...]:
    """Return the drop-in; nothing if neither servers nor domains are set."""
    servers = read.texts(settings, "dns.name-servers")
    domains = read.texts(settings, "dns.search-list")
    if not servers and not domains:
        return ()
    text = f"{HEAD}[Resolve]\n"
    if servers:
        text += f"DNS={words(servers, 'dns.name-servers')}\n"
    if domains:
        text += f"Domains={words(domains, 'dns.search-list')}\n"
    return (File(path=PATH, data=text.encode()),)


SERVICE = Service(
    name="dns",
    keys=("dns",),
    render=render,
    files={"resolved": PATH},
    steps=(Step(verb="try-restart", unit="systemd-resolved.service"),),
)
