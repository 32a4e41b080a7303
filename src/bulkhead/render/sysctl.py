"""Kernel parameters (sysctl.d(5)).

A parameter that is no longer set would keep its value until the next start.
So the values of before are kept (`restore`), in the file that is read first: what the image
says of a parameter counts more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step
from bulkhead.render.text import HEAD, line

PATH = "/etc/sysctl.d/99-settings.conf"
BEFORE = "/etc/sysctl.d/00-before-settings.conf"
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9./_-]{0,127}")


def render(settings: Settings) -> tuple[File, ...]:
    """Return the parameters; nothing if none is set."""
    values = read.get(settings, "kernel.sysctl", dict[str, str]) or {}
    return (File(path=PATH, data=_text(values)),) if values else ()


def restore(before: Mapping[str, str]) -> tuple[File, ...]:
    """Return the file that brings back parameters which settings have changed since the start."""
    return (File(path=BEFORE, data=_text(before)),) if before else ()


def parse(text: str) -> dict[str, str]:
    """Read what `render` writes."""
    pairs = (item.partition(" = ") for item in text.splitlines() if not item.startswith("#"))
    return {name: value for name, _, value in pairs}


def _text(values: Mapping[str, str]) -> bytes:
    lines = []
    for name, value in sorted(values.items()):
        # A dash in front would hide errors. Dots and slashes change places, so that .. and // lead out
        # of /proc/sys.
        if not _KEY.fullmatch(name) or ".." in name or "//" in name:
            raise RenderError("is no kernel parameter", where=f"settings.kernel.sysctl.{name!r}")
        key = f'kernel.sysctl."{name}"'
        # Some parameters are several numbers with tabs between them.
        lines.append(f"{name} = {line(value.replace(chr(9), ' '), key)}\n")
    return (HEAD + "".join(lines)).encode()


SERVICE = Service(
    name="sysctl",
    keys=("kernel.sysctl",),
    render=render,
    files={"sysctl": PATH, "sysctl-before": BEFORE},
    steps=(Step(verb="restart", unit="systemd-sysctl.service"),),
)
