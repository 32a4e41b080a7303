"""`/etc/hosts`: names that no name server is asked for (hosts(5))."""

from __future__ import annotations

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings
from bulkhead.render.text import word, words

PATH = "/etc/hosts"

Entries = tuple[tuple[str, tuple[str, ...]], ...]


def render(settings: Settings) -> tuple[File, ...]:
    """Return the loopback addresses, the machine's own name among theirs, and the entries."""
    entries = read.get(settings, "network.hosts", Entries) or ()
    own = read.text(settings, "network.hostname")
    named = {name for _, names in entries for name in names}
    # Somebody's entry for the machine's name is meant.
    alias = f" {word(own, 'network.hostname')}" if own and own not in named | {"localhost"} else ""
    lines = [
        f"127.0.0.1 localhost{alias}",
        f"::1 localhost ip6-localhost ip6-loopback{alias}",
        *(
            f"{word(address, 'network.hosts')} {words(names, 'network.hosts')}"
            for address, names in entries
            if names
        ),
    ]
    return (File(path=PATH, data=("\n".join(lines) + "\n").encode()),)


SERVICE = Service(
    name="hosts", keys=("network.hosts", "network.hostname"), render=render, files={"hosts": PATH}
)
