"""The OCI runtime specification of a container: what crun is told.

Everything is closed by default and opened one by one: no new privileges, few
capabilities, a system call filter, no devices but the harmless ones, nothing
of the machine's kernel interfaces writable. Pure: the caller gathers, this
decides, containerd stores the result as JSON.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bulkhead.host.containers import capabilities, seccomp
from bulkhead.host.containers.accounts import Identity
from bulkhead.model.containers import Limits, RunRequest
from bulkhead.model.errors import UserError
from bulkhead.model.runtime_defaults import Limit, RuntimeDefaults

SLICE = "bulkhead-containers.slice"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# When memory runs out, containers go before the machine's services. crun takes 0 for "not said",
# and a container would have containerd's protection (-999).
_OOM_SCORE = 100
_CPU_PERIOD_US = 100_000

# The kernel has 65535 groups with a memory limit for all of the machine.
_GROUP_LIMITS = {"cgroup.max.descendants": "1000", "cgroup.max.depth": "16"}

_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
    "/sys/kernel/security",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Besides these, crun makes null, zero, full, random, urandom, tty and the terminal.
_DEVICES: tuple[dict[str, object], ...] = (
    {"allow": False, "access": "rwm"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2))
    ),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},  # terminals of devpts
)

Json = dict[str, object]

DEFAULTS = RuntimeDefaults()
_LIMITS = {
    "RLIMIT_NOFILE": Limit(soft=65_536, hard=524_288),
    "RLIMIT_CORE": Limit(soft=0, hard=0),
}


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What an image says about how to run it (`config` of an OCI image configuration)."""

    user: str = ""
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    volumes: dict[str, object] | None = None
    exposed_ports: dict[str, object] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """Users of the container's own."""

    pin: Path
    """The user namespace."""
    root: Path
    """Where its root is mounted, with the owners that the namespace knows."""
    first: int
    count: int


class Bind(msgspec.Struct, frozen=True, kw_only=True):
    """A file or directory of the machine, at `target` in the container."""

    source: str
    target: str
    read_only: bool = False


def command(request: RunRequest, image: ImageConfig) -> list[str]:
    """Return the container's argument list, by the rules that Docker made familiar.

    Raises:
        UserError: neither the image nor the request says what to run.
    """
    if request.entrypoint is not None:
        # An entry point of one's own also hides the image's command, which was made for another.
        argv = [*request.entrypoint, *request.command]
    else:
        argv = [*(image.entrypoint or ()), *(request.command or image.cmd or ())]
    if not argv:
        raise UserError(
            "the image does not say what to run",
            where=request.image,
            hint="give a command after it",
        )
    return argv


def environment(image: ImageConfig, extra: Mapping[str, str], *, hostname: str) -> list[str]:
    """Return `NAME=value` of the image and of the request, which wins."""
    merged = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    for item in image.env or ():
        name, _, value = item.partition("=")
        merged[name] = value
    merged.update(extra)
    return [f"{name}={value}" for name, value in merged.items()]


def process(
    *,
    argv: Sequence[str],
    env: Sequence[str],
    identity: Identity,
    workdir: str,
    granted: Sequence[str],
    limits: Mapping[str, Limit],
    terminal: bool = False,
    size: tuple[int, int] | None = None,
) -> Json:
    """Return the `process` part; also that of one more process (`exec`).

    A user other than root gets no effective capabilities, only the bound of
    what a file could grant, which no_new_privs then denies: as with Docker.
    """
    effective = list(granted) if identity.uid == 0 else []
    made: Json = {
        "terminal": terminal,
        "user": {
            "uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups),
        },
        "args": list(argv),
        "env": list(env),
        "cwd": workdir or "/",
        "capabilities": {
            "bounding": list(granted), "effective": effective, "permitted": effective,
        },
        "rlimits": [
            {"type": name, "soft": limit.soft, "hard": limit.hard} for name, limit in limits.items()
        ],
        "noNewPrivileges": True,
        "oomScoreAdj": _OOM_SCORE,
    }  # fmt: skip
    if size is not None:
        made["consoleSize"] = {"width": size[0], "height": size[1]}
    return made


def build(
    request: RunRequest,
    image: ImageConfig,
    *,
    name: str,
    identity: Identity,
    binds: Sequence[Bind],
    network: Path,
    own: Own | None = None,
    defaults: RuntimeDefaults = DEFAULTS,
    systemd: bool = True,
) -> Json:
    """Return the whole specification.

    Args:
        request: what was asked for.
        image: what the image says.
        name: the container's.
        identity: whom its first process runs as.
        binds: volumes and the files that Bulkhead provides.
        network: the pinned network namespace.
        own: its users; None: the machine's, and containerd mounts the root.
        defaults: what the settings say, where the request does not.
        systemd: put it into a scope of systemd's; else cgroupfs (for tests).

    Raises:
        UserError: nothing to run, or an unknown capability.
    """
    base = capabilities.choose(add=defaults.cap_add, drop=defaults.cap_drop)
    granted = capabilities.choose(add=request.cap_add, drop=request.cap_drop, default=base)
    hostname = request.hostname or name
    # Only with users of its own: the machine's root could lift the container's limits.
    cgroup_owner = own if own and defaults.writable_cgroup else None
    made = process(
        argv=command(request, image),
        env=environment(image, request.env, hostname=hostname),
        identity=identity,
        workdir=request.workdir or image.working_dir,
        granted=granted,
        limits=_LIMITS | defaults.limits,
    )
    return {
        "ociVersion": "1.1.0",
        "process": made,
        "root": {"path": str(own.root) if own else "rootfs", "readonly": request.read_only},
        "hostname": hostname,
        "mounts": [
            *_system_mounts(cgroup="rw" if cgroup_owner else "ro"),
            *sorted(
                [
                    *(_scratch_mounts() if request.read_only else ()),
                    *(_bind(bind, own) for bind in binds),
                ],
                # What is deeper comes later, so that it is not hidden.
                key=lambda mount: str(mount["destination"]).count("/"),
            ),
        ],
        "linux": {
            "cgroupsPath": f"{SLICE}:bulkhead:{name}" if systemd else f"/bulkhead/{name}",
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")),
                {"type": "network", "path": str(network)},
                *([{"type": "user", "path": str(own.pin)}] if own else ()),
            ],
            "resources": resources(request.limits, groups=cgroup_owner is not None),
            "seccomp": seccomp.profile(granted, machine=os.uname().machine),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
            "sysctl": _sysctls(defaults, own),
            # The namespace has its numbers already: crun gives the control group to its root.
            **(_mappings(cgroup_owner) if cgroup_owner else {}),
        },
    }


def _sysctls(defaults: RuntimeDefaults, own: Own | None) -> Json:
    """Return what ordinary users may do in the container's network, which is its own."""
    made: Json = {}
    if defaults.unprivileged_ports:
        made["net.ipv4.ip_unprivileged_port_start"] = "0"
    if defaults.unprivileged_icmp:
        # Groups that the container does not have cannot be named.
        made["net.ipv4.ping_group_range"] = f"0 {own.count - 1 if own else 2147483647}"
    return made


def resources(limits: Limits, *, groups: bool = False) -> Json:
    """Return the cgroup limits; `groups`: the container may make groups of its own."""
    made: Json = {"devices": list(_DEVICES), "pids": {"limit": limits.processes}}
    if limits.memory is not None:
        # Swap counts memory plus swap: no swap beyond the limit.
        made["memory"] = {"limit": limits.memory, "swap": limits.memory}
    if limits.cpus is not None:
        made["cpu"] = {"period": _CPU_PERIOD_US, "quota": round(limits.cpus * _CPU_PERIOD_US)}
    if groups:
        made["unified"] = dict(_GROUP_LIMITS)
    return made


def _system_mounts(*, cgroup: str) -> list[Json]:
    hidden = ("nosuid", "noexec", "nodev")
    table: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
        ("/proc", "proc", "proc", hidden),
        ("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        (
            "/dev/pts", "devpts", "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        ("/dev/shm", "tmpfs", "shm", (*hidden, "mode=1777", "size=65536k")),  # noqa: S108  # the container's own
        ("/dev/mqueue", "mqueue", "mqueue", hidden),
        ("/sys", "sysfs", "sysfs", (*hidden, "ro")),
        ("/sys/fs/cgroup", "cgroup", "cgroup", (*hidden, "relatime", cgroup)),
    )  # fmt: skip
    return [
        {"destination": where, "type": kind, "source": source, "options": list(options)}
        for where, kind, source, options in table
    ]


def _scratch_mounts() -> list[Json]:
    """Return what nearly every program needs to write to, for a root that is read-only."""
    options = ["nosuid", "nodev", "size=25%"]
    return [
        {
            "destination": path,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": [*options, f"mode={mode}"],
        }
        for path, mode in (("/run", "0755"), ("/tmp", "1777"), ("/var/tmp", "1777"))  # noqa: S108
    ]


def _bind(bind: Bind, own: Own | None) -> Json:
    options = ["rbind", "rprivate", "nosuid", "nodev", "ro" if bind.read_only else "rw"]
    made: Json = {
        "destination": bind.target, "type": "bind", "source": bind.source, "options": options,
    }  # fmt: skip
    if own is not None:
        # Files keep the numbers that the container knows them by: another one, with other numbers
        # on the machine, can share them. What has a number beyond its own is nobody's to it.
        made |= _mappings(own)
    return made


def _mappings(own: Own) -> Json:
    mapping = [{"containerID": 0, "hostID": own.first, "size": own.count}]
    return {"uidMappings": mapping, "gidMappings": mapping}
