"""An image's manifest: what was built, from what, and what came out.

It is the last file that a build writes; where it is, all that it names is
there. `bulkhead verify` builds again from it and compares.
"""

from __future__ import annotations

import msgspec

FORMAT = 1


class Output(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """One file of a build, beside the manifest."""

    file: str
    size: int
    """Bytes."""
    sha256: str


class Inputs(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Hashes of everything that decides the image's bytes."""

    lock: str
    """SHA-256 of the lock file."""
    variant: str
    """Of the joined variant and the files that it lays over the root."""
    tools: str
    """Key of the tool tree."""
    builder: str
    """Of the builder's own source."""
    keys: str | None = None
    """SHA-256 of the certificate that signed, if one did."""


class ManifestPackage(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """A package in the image."""

    name: str
    version: str
    architecture: str
    source: str
    sha256: str
    sets: tuple[str, ...]
    """Trees that it went to: `host`, `agent`, `kernel`."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Everything about one build. Unknown fields are accepted: a newer builder may say more."""

    format: int = FORMAT
    name: str
    """`bulkhead-VARIANT`."""
    variant: str
    version: str
    architecture: str
    bulkhead: str
    """Version of the builder."""
    epoch: int
    """Time stamp of all files, in seconds since 1970."""
    root_hash: str
    verity_salt: str
    root_uuid: str
    """Of slot A's partition; with `verity_uuid` it is the root hash in two halves."""
    verity_uuid: str
    kernel_release: str
    command_line: str
    inputs: Inputs
    outputs: dict[str, Output]
    """By kind: `raw`, `qcow2`, `raw.zst`, `root`, `verity`, `uki`, `kernel`, `initrd`, `spdx`, …"""
    packages: tuple[ManifestPackage, ...]
