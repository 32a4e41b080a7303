"""Containers' defaults for our container service, and settings of containerd itself."""

from __future__ import annotations

import re

import msgspec

from bulkhead.model.runtime_defaults import DEFAULTS, FOLDER, Limit, RuntimeDefaults
from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step
from bulkhead.render.text import HEAD

PATH = f"{FOLDER}/{DEFAULTS}"
CONTAINERD = "/etc/containerd/conf.d/60-settings.toml"
UNLIMITED = 2**64 - 1
_WITHOUT_EFFECT = {
    "max-container-log-line-size": "for Kubernetes; other containers' output is kept as it comes",
    "max-concurrent-unpacks": "containerd 1.7 unpacks the layers of an image one after another, "
    "so no limit is ever reached",
    "concurrent-download-chunk-size": "containerd 1.7 fetches each layer in one piece",
}
_TRANSFER = 'plugins."io.containerd.transfer.v1.local"'

_LIMITS = {
    "max-address-space": "AS", "max-core-file-size": "CORE", "max-cpu-time": "CPU",
    "max-data-size": "DATA", "max-file-locks": "LOCKS", "max-file-size": "FSIZE",
    "max-locked-memory": "MEMLOCK", "max-msgqueue-size": "MSGQUEUE", "max-nice-priority": "NICE",
    "max-open-files": "NOFILE", "max-pending-signals": "SIGPENDING", "max-processes": "NPROC",
    "max-realtime-priority": "RTPRIO", "max-realtime-timeout": "RTTIME",
    "max-resident-set": "RSS", "max-stack-size": "STACK",
}  # fmt: skip


class _Limit(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    soft_limit: int | str = "unlimited"
    hard_limit: int | str = "unlimited"


def render_defaults(settings: Settings) -> tuple[File, ...]:
    """Return what the container service reads for each container; nothing if all is as it is anyway."""
    capabilities = read.get(settings, "oci-defaults.capabilities", dict[str, bool]) or {}
    limits = read.get(settings, "oci-defaults.resource-limits", dict[str, _Limit]) or {}
    ports = read.get(settings, "container-runtime.enable-unprivileged-ports", bool)
    icmp = read.get(settings, "container-runtime.enable-unprivileged-icmp", bool)
    cgroup = read.get(settings, "container-runtime.cgroup-writable", bool)
    defaults = RuntimeDefaults(
        cap_add=tuple(_capability(name) for name, on in sorted(capabilities.items()) if on),
        cap_drop=tuple(_capability(name) for name, on in sorted(capabilities.items()) if not on),
        limits={_limit_name(name): _limit(limit, name) for name, limit in sorted(limits.items())},
        unprivileged_ports=ports is not False,
        unprivileged_icmp=icmp is not False,
        writable_cgroup=cgroup is True,
    )
    if defaults == RuntimeDefaults():
        return ()
    text = msgspec.json.format(msgspec.json.encode(defaults), indent=2) + b"\n"
    return (File(path=PATH, data=text),)


def render_containerd(settings: Settings) -> tuple[File, ...]:
    """Return what containerd reads beside its own file; nothing if it is as it is anyway."""
    downloads = read.get(settings, "container-runtime.max-concurrent-downloads", int)
    if not downloads:
        return ()
    text = f"{HEAD}version = 2\n\n[{_TRANSFER}]\nmax_concurrent_downloads = {downloads}\n"
    return (File(path=CONTAINERD, data=text.encode()),)


def containerd_notes(settings: Settings) -> tuple[str, ...]:
    """Return which settings change nothing, and why."""
    return tuple(
        f"settings.container-runtime.{key}: {why}"
        for key, why in _WITHOUT_EFFECT.items()
        if read.get(settings, f"container-runtime.{key}", object) is not None
    )


def _capability(name: str) -> str:
    if not re.fullmatch(r"[a-z-]{1,30}", name):
        raise RenderError("is no capability", where=f"settings.oci-defaults.capabilities.{name!r}")
    return f"CAP_{name.upper().replace('-', '_')}"


def _limit_name(name: str) -> str:
    if name not in _LIMITS:
        raise RenderError("is no limit", where=f"settings.oci-defaults.resource-limits.{name!r}")
    return f"RLIMIT_{_LIMITS[name]}"


def _limit(limit: _Limit, name: str) -> Limit:
    where = f"settings.oci-defaults.resource-limits.{name}"
    soft, hard = (_number(value, where) for value in (limit.soft_limit, limit.hard_limit))
    if soft > hard:
        raise RenderError("has a soft limit above the hard one", where=where)
    return Limit(soft=soft, hard=hard)


def _number(value: int | str, where: str) -> int:
    if value in ("unlimited", -1):
        return UNLIMITED
    if isinstance(value, int) and 0 <= value <= UNLIMITED:
        return value
    raise RenderError(f"{value!r} is neither a number nor unlimited", where=where)


DEFAULTS_SERVICE = Service(
    name="oci-defaults",
    keys=("oci-defaults", "container-runtime"),
    render=render_defaults,
    files={"container-defaults": PATH},
    # Read for each container.
)
CONTAINERD_SERVICE = Service(
    name="container-runtime",
    keys=("container-runtime",),
    render=render_containerd,
    files={"containerd": CONTAINERD},
    steps=(Step(verb="try-restart", unit="containerd.service"),),
    notes=containerd_notes,
)
