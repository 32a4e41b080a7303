"""Lock files: exactly which artifacts a build uses.

A lock names every artifact by path, size and SHA-256, never by a mirror's
host, so it stays true wherever the bytes come from. It is JSON with one
artifact per line, so that a diff shows exactly the packages that moved.
"""

from __future__ import annotations

import msgspec

FORMAT = 1


class LockedPackage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Debian package, as its repository's signed index described it."""

    name: str
    version: str
    architecture: str
    repository: str
    """Name of the repository in the variant's or tool set's `repositories`."""
    path: str
    """Path below the repository's root, such as `pool/main/b/bash/bash_5_amd64.deb`."""
    size: int
    sha256: str
    source: str
    """Source package and version, `name (version)`, for SBOMs and security trackers."""


class LockedFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A single file from elsewhere: a kubelet, a wheel, a container image."""

    name: str
    url: str
    size: int
    sha256: str


class SuiteSnapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of a suite that the lock was resolved against."""

    repository: str
    suite: str
    date: str
    """`Date` of the signed Release file, ISO 8601 in UTC; also the key into Debian's snapshot archive."""
    sha256: str
    """SHA-256 of the InRelease file."""


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
