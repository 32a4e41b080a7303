"""Which capabilities a container has."""

from __future__ import annotations

from collections.abc import Sequence

from bulkhead.lib import suggest
from bulkhead.model.errors import UserError

_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
    SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
    SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
    WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
ALL = tuple(f"CAP_{name}" for name in _NAMES.split())

# Docker's set without NET_RAW (ARP and DNS spoofing between containers; ping works
# without it through net.ipv4.ping_group_range), MKNOD (devices are denied anyway)
# and AUDIT_WRITE.
DEFAULT = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip


def choose(
    *, add: Sequence[str], drop: Sequence[str], default: Sequence[str] = DEFAULT
) -> tuple[str, ...]:
    """Return the capabilities of a container: the default, without `drop`, with `add`.

    Names may be short (`net_raw`); ALL means every one. As with Docker,
    dropping ALL and adding a few gives exactly those few.

    Raises:
        UserError: there is no such capability.
    """
    dropped = _names(drop)
    kept = [name for name in default if name not in dropped]
    return tuple(sorted({*kept, *_names(add)}))


def _names(given: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for text in given:
        name = text.upper()
        if name == "ALL":
            found.update(ALL)
            continue
        name = name if name.startswith("CAP_") else f"CAP_{name}"
        if name not in ALL:
            raise UserError(
                f"there is no capability {text!r}",
                hint=suggest.hint(name, ALL) or "see capabilities(7)",
            )
        found.add(name)
    return found
