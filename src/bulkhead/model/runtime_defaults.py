"""What settings say to the container service: defaults of containers, and registries.

Two files that `render` makes and `host.containers` reads. The second one has
secrets and is for root alone.
"""

from __future__ import annotations

import msgspec

FOLDER = "/etc/bulkhead"
DEFAULTS = "containers.json"
REGISTRIES = "registries.json"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one resource of a process (setrlimit(2))."""

    soft: int
    hard: int


class RuntimeDefaults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a container gets unless its own request says something else."""

    cap_add: tuple[str, ...] = ()
    """Besides the service's own default, as `CAP_NET_RAW`."""
    cap_drop: tuple[str, ...] = ()
    limits: dict[str, Limit] = {}
    """By name, as `RLIMIT_NOFILE`."""
    unprivileged_ports: bool = True
    """Every user in a container may listen on ports below 1024 of its own network."""
    unprivileged_icmp: bool = True
    """Every user in a container may send pings."""
    writable_cgroup: bool = False
    """Root of a container with users of its own may make control groups in it, within its limits."""


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """Where images of a registry are looked for first."""

    registry: str
    """As in image names: `docker.io`, `registry.example:5000`, or `*` for all without one."""
    endpoints: tuple[str, ...]
    """URLs, in this order; the registry itself comes last."""


class Credential(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to sign in to a registry or a mirror."""

    registry: str
    username: str = ""
    password: str = ""
    identity_token: str = ""


class Registries(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Registries that need more than their name."""

    mirrors: tuple[Mirror, ...] = ()
    credentials: tuple[Credential, ...] = ()
