"""Kernel parameters can be set but not unset: their values of before are kept and written again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bulkhead.host.apply.places import Places
from bulkhead.host.apply.plan import Wanted
from bulkhead.host.apply.state import State
from bulkhead.render import sysctl

_SWAPPED = str.maketrans("./", "/.")


def file_of(places: Places, name: str) -> Path:
    """Return the file of a kernel parameter; its first separator decides (sysctl.d(5))."""
    separator = re.search(r"[./]", name)
    slashed = separator is not None and separator[0] == "/"
    return places.proc / "sys" / (name if slashed else name.translate(_SWAPPED))


def before(wanted: Sequence[Wanted], state: State, places: Places) -> dict[str, str]:
    """Return every parameter that settings have changed since the start, with its value of before."""
    values = dict(state.sysctl)
    for item in wanted:
        for file in item.files:
            if file.path.startswith("/etc/sysctl.d/"):
                for name in sysctl.parse(file.data.decode()):
                    if name not in values and (value := _read(places, name)) is not None:
                        values[name] = value
    return values


def with_restore(item: Wanted, values: Mapping[str, str]) -> Wanted:
    """Add the file that writes those values again to its service."""
    if item.service.name != sysctl.SERVICE.name:
        return item
    return msgspec.structs.replace(item, files=(*item.files, *sysctl.restore(values)))


def _read(places: Places, name: str) -> str | None:
    try:
        text = file_of(places, name).read_text()
    except (OSError, UnicodeDecodeError):
        return None  # the kernel does not have it, or only takes it
    value = " ".join(text.split())
    # Its file is one of lines, whatever the kernel says.
    return value if value.isprintable() and not value.endswith("\\") else None
