"""Time servers of systemd-timesyncd (timesyncd.conf(5)).

`ntp.options` are words for chrony; timesyncd knows none of them.
"""

from __future__ import annotations

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings, Step
from bulkhead.render.text import HEAD, word

PATH = "/etc/systemd/timesyncd.conf.d/60-settings.conf"


def render(settings: Settings) -> tuple[File, ...]:
    """Return the drop-in; nothing if no servers are set."""
    servers = read.texts(settings, "ntp.time-servers")
    if not servers:
        return ()
    names = " ".join(word(_host(server), "ntp.time-servers") for server in servers)
    # Empty first: what other files name is not asked beside them.
    return (File(path=PATH, data=f"{HEAD}[Time]\nNTP=\nNTP={names}\nFallbackNTP=\n".encode()),)


def _host(server: str) -> str:
    """Return the name or address in what may be a URL, as Bottlerocket takes it."""
    rest = server.partition("://")[2] or server
    host = rest.partition("/")[0]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


SERVICE = Service(
    name="ntp",
    keys=("ntp",),
    render=render,
    files={"timesyncd": PATH},
    steps=(Step(verb="try-restart", unit="systemd-timesyncd.service"),),
)
