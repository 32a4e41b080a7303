"""Lock files: exactly which artifacts a build uses.

A lock names every artifact by path, size and SHA-256, never by a mirror's
host, so it stays true wherever the bytes come from. It is JSON with one
artifact per line, so that a diff shows exactly the packages that moved.

Manifests carry locks, and come from elsewhere: what becomes part of a path or
is counted with is checked here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

FORMAT = 1

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 42)]
Version = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
Date = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]


class LockedPackage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Debian package, as its repository's signed index described it."""

    name: str
    version: Version
    architecture: str
    repository: str
    """Name of the repository in the variant's or tool set's `repositories`."""
    path: str
    """Path below the repository's root, such as `pool/main/b/bash/bash_5_amd64.deb`."""
    size: Size
    sha256: Sha256
    source: str
    """Source package and version, `name (version)`, for SBOMs and security trackers."""


class LockedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A single file from elsewhere: a kubelet, a wheel, a container image."""

    name: str
    url: str
    size: Size
    sha256: Sha256


class SuiteSnapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of a suite that the lock was resolved against."""

    repository: str
    suite: str
    date: Date
    """`Date` of the signed Release file, ISO 8601 in UTC; also the key into Debian's snapshot archive."""
    sha256: Sha256
    """SHA-256 of the InRelease file."""

    def __post_init__(self) -> None:
        # A thirteenth month matches the pattern.
        datetime.fromisoformat(self.date)


class Lock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All artifacts of one variant or tool set for one architecture, sorted by name."""

    format: int = FORMAT
    architecture: str
    request: str
    """SHA-256 of the canonical request (packages, repositories, pins) that was resolved."""
    suites: tuple[SuiteSnapshot, ...]
    packages: tuple[LockedPackage, ...]
    files: tuple[LockedFile, ...] = ()
    sets: dict[str, tuple[str, ...]] = {}
    """Named subsets of `packages` (by package name), such as `host` and `agent`."""

    def __post_init__(self) -> None:
        known = {package.name for package in self.packages}
        for name, members in self.sets.items():
            if missing := set(members) - known:
                raise ValueError(
                    f"set {name!r} has {min(missing)!r}, which is no package of the lock"
                )
