"""What the programs that prepare a node's next start are told, and where they say how it went.

`render` writes the files of `/etc`, the programs read them and leave conditions
in `STATE`, which the API and the program that applies settings show. Nothing in
them is secret.
"""

from __future__ import annotations

import msgspec

PARAMETERS = "/etc/bulkhead/boot.json"
HUGEPAGES = "/etc/bulkhead/hugepages.json"
STATE = "/run/bulkhead-boot"
"""`parameters.json` and `hugepages.json`, each a list of conditions (`model.health`)."""

PENDING = "boot-parameters-pending"
FELL_BACK = "boot-parameters-fell-back"
IMPOSSIBLE = "boot-parameters-impossible"
FAILED = "boot-parameters-failed"
TOO_FEW = "huge-pages-missing"
UNFULFILLED = frozenset({FELL_BACK, IMPOSSIBLE, FAILED, TOO_FEW})
"""Conditions with which settings in force have not taken effect."""


class Parameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the machine should start with, beside what the image gives it."""

    line: str
    """Words of the kernel's command line, quoted where they need it."""
    reboot: bool = False
    """Start the machine again if it has started with something else."""


class Pages(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Huge pages of one size on one NUMA node, or on all together."""

    size_kib: int
    count: int
    node: int | None = None


class HugePages(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The kernel's huge pages as the settings want them."""

    static: tuple[Pages, ...] = ()
    essential: bool = False
    """Without all of them the boot fails."""
    enabled: str | None = None
    """Of transparent ones."""
    defrag: str | None = None
