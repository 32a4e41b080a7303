"""The kernel's lockdown, which only ever gets tighter while it runs (kernel_lockdown(7))."""

from __future__ import annotations

import re

from bulkhead.host.apply.places import Places
from bulkhead.model.errors import HostError
from bulkhead.render.lockdown import LEVELS, PATH


def tighten(places: Places) -> str | None:
    """Bring the kernel to the level of the settings; return why there is nothing to do, if so.

    Raises:
        HostError: the kernel is locked down further than that, has no lockdown, or refuses.
    """
    try:
        wanted = (places.etc / PATH.removeprefix("/etc/")).read_text().strip()
    except FileNotFoundError:
        return "the kernel stays as it is until the next start"
    try:
        # All levels with brackets around the one that holds: none [integrity] confidentiality
        found = re.search(r"\[(\w+)\]", places.lockdown.read_text())
        current = found[1] if found else ""
        if current not in LEVELS:
            raise HostError("this kernel has no lockdown")
        if LEVELS.index(wanted) < LEVELS.index(current):
            raise HostError(
                f"the kernel is locked down for {current} and cannot go back to {wanted}",
                hint="lockdown is loosened by a start with other boot parameters, if at all",
            )
        if wanted != current:
            places.lockdown.write_text(wanted)
    except OSError as error:
        raise HostError(f"the kernel's lockdown cannot be set: {error.strerror}") from error
    return None
