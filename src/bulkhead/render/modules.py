"""Kernel modules: those that must not be loaded, and those that are at once (modprobe.d(5))."""

from __future__ import annotations

import re

import msgspec

from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step
from bulkhead.render.text import HEAD

REFUSED = "/etc/modprobe.d/50-settings.conf"
LOADED = "/etc/modules-load.d/50-settings.conf"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,56}")
_REFUSAL = re.compile(r"^install (\S+) ", re.MULTILINE)


class _Module(msgspec.Struct, frozen=True, kw_only=True):
    allowed: bool = True
    autoload: bool = False


def render(settings: Settings) -> tuple[File, ...]:
    """Return the two lists; a list without a module is no file."""
    found = read.get(settings, "kernel.modules", dict[str, _Module]) or {}
    for name in found:
        if not _NAME.fullmatch(name):
            raise RenderError("is no name of a module", where=f"settings.kernel.modules.{name!r}")
    refused = sorted(name for name, module in found.items() if not module.allowed)
    loaded = sorted(n for n, module in found.items() if module.allowed and module.autoload)
    files = []
    if refused:
        # `blacklist` only hides aliases. A command instead of the module also answers whoever asks
        # by name, and one that does not exist cannot succeed.
        lines = "".join(f"blacklist {name}\ninstall {name} /bin/false\n" for name in refused)
        files.append(File(path=REFUSED, data=(HEAD + lines).encode()))
    if loaded:
        files.append(File(path=LOADED, data=(HEAD + "\n".join(loaded) + "\n").encode()))
    return tuple(files)


def forbidden(text: str) -> tuple[str, ...]:
    """Return the modules that a file of `render` refuses."""
    return tuple(_REFUSAL.findall(text))


SERVICE = Service(
    name="kernel-modules",
    keys=("kernel.modules",),
    render=render,
    files={"modprobe": REFUSED, "modules-load": LOADED},
    steps=(Step(verb="restart", unit="systemd-modules-load.service"),),
)
