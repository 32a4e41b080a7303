"""The message of the day."""

from __future__ import annotations

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings

PATH = "/etc/motd"


def render(settings: Settings) -> tuple[File, ...]:
    """Return `/etc/motd`; empty without a message."""
    message = read.text(settings, "motd") or ""
    end = "\n" if message and not message.endswith("\n") else ""
    return (File(path=PATH, data=(message + end).encode()),)


SERVICE = Service(name="motd", keys=("motd",), render=render, files={"motd": PATH})
