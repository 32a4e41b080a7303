"""The machine's own name.

systemd reads `/etc/hostname` when it starts, which is before settings are
there. The kernel's parameter is what changes it later, at boot as at run time.
"""

from __future__ import annotations

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings, Step
from bulkhead.render.text import HEAD, word

PATH = "/etc/hostname"
KERNEL = "/etc/sysctl.d/95-hostname.conf"


def render(settings: Settings) -> tuple[File, ...]:
    """Return the name for systemd and for the kernel; nothing without a name."""
    name = read.text(settings, "network.hostname")
    if name is None:
        return ()
    name = word(name, "network.hostname")
    return (
        File(path=PATH, data=f"{name}\n".encode()),
        File(path=KERNEL, data=f"{HEAD}kernel.hostname = {name}\n".encode()),
    )


SERVICE = Service(
    name="hostname",
    keys=("network.hostname",),
    render=render,
    files={"hostname": PATH, "hostname-kernel": KERNEL},
    steps=(Step(verb="restart", unit="systemd-sysctl.service"),),
)
