"""How far the kernel is locked down. The file is what the agent on the node goes by."""

from __future__ import annotations

from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step

PATH = "/etc/bulkhead/lockdown"
LEVELS = ("none", "integrity", "confidentiality")
"""From loose to tight."""


def render(settings: Settings) -> tuple[File, ...]:
    """Return the level; nothing if it is not set: then it is as the image starts."""
    level = read.text(settings, "kernel.lockdown")
    if level is None:
        return ()
    if level not in LEVELS:
        raise RenderError(f"is none of {', '.join(LEVELS)}", where="settings.kernel.lockdown")
    return (File(path=PATH, data=f"{level}\n".encode()),)


SERVICE = Service(
    name="lockdown",
    keys=("kernel.lockdown",),
    render=render,
    files={"lockdown": PATH},
    steps=(Step(verb="lockdown"),),
)
