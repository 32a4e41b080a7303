"""The specification that containerd has stored of a container, as far as `exec` starts from it."""

from __future__ import annotations

import msgspec


class SpecUser(msgspec.Struct, rename="camel"):
    """`process.user` of a stored specification."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()


class SpecCapabilities(msgspec.Struct):
    """`process.capabilities` of a stored specification."""

    bounding: tuple[str, ...] = ()


class SpecLimit(msgspec.Struct):
    """One of `process.rlimits` of a stored specification."""

    type: str
    soft: int
    hard: int


class SpecProcess(msgspec.Struct):
    """`process` of a stored specification, as far as `exec` starts from it."""

    user: SpecUser
    env: tuple[str, ...]
    cwd: str
    capabilities: SpecCapabilities
    rlimits: tuple[SpecLimit, ...] = ()


class Stored(msgspec.Struct):
    """A stored specification."""

    process: SpecProcess


def read(value: bytes) -> SpecProcess:
    """Return the process part of what containerd has stored."""
    return msgspec.json.decode(value, type=Stored).process
