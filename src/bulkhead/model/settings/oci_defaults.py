"""What every container has that does not ask for anything else."""

from __future__ import annotations

from typing import Annotated, Literal

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import Table, only, whole

# Linux's, as in capabilities(7), without CAP_ and in small letters.
Capability = Literal[
    "audit-control", "audit-read", "audit-write", "block-suspend", "bpf", "checkpoint-restore",
    "chown", "dac-override", "dac-read-search", "fowner", "fsetid", "ipc-lock", "ipc-owner", "kill",
    "lease", "linux-immutable", "mac-admin", "mac-override", "mknod", "net-admin",
    "net-bind-service", "net-broadcast", "net-raw", "perfmon", "setfcap", "setgid", "setpcap",
    "setuid", "sys-admin", "sys-boot", "sys-chroot", "sys-module", "sys-nice", "sys-pacct",
    "sys-ptrace", "sys-rawio", "sys-resource", "sys-time", "sys-tty-config", "syslog", "wake-alarm",
]  # fmt: skip
# As in setrlimit(2): RLIMIT_AS, _CORE, _CPU and so on.
Resource = Literal[
    "max-address-space", "max-core-file-size", "max-cpu-time", "max-data-size", "max-file-locks",
    "max-file-size", "max-locked-memory", "max-msgqueue-size", "max-nice-priority",
    "max-open-files", "max-pending-signals", "max-processes", "max-realtime-priority",
    "max-realtime-timeout", "max-resident-set", "max-stack-size",
]  # fmt: skip
Amount = Annotated[int, whole(-1, 2**63 - 1)] | Literal["unlimited"]


class Limit(Table, frozen=True):
    """A limit; -1 or "unlimited" is none."""

    soft_limit: Amount | None = None
    """What holds at first; a process may raise it up to the hard limit."""
    hard_limit: Amount | None = None


class OciDefaults(Table, frozen=True):
    """Defaults of containers."""

    capabilities: Annotated[dict[Capability, bool], only(Capability)] | None = None
    """Capabilities by name: true gives one to every container, false takes it away."""
    resource_limits: Annotated[dict[Resource, Limit], only(Resource)] | None = None
    """Limits of each process, by name."""


def check(defaults: OciDefaults, *, complete: bool) -> None:
    """Refuse limits that the kernel would refuse when a container starts."""
    for name, limit in (defaults.resource_limits or {}).items():
        where = ("oci-defaults", "resource-limits", name)
        soft, hard = amount(limit.soft_limit), amount(limit.hard_limit)
        if soft is not None and hard is not None and soft > hard:
            raise SettingsError((*where, "soft-limit"), "is above the hard limit")
        if complete and (soft is None) != (hard is None):
            raise SettingsError(where, "has one of soft-limit and hard-limit; it needs both")


def amount(limit: int | str | None) -> float | None:
    """Return a limit as a number; infinity for none, None where nothing is said."""
    return float("inf") if limit in (-1, "unlimited") else None if limit is None else float(limit)


Model = OciDefaults
