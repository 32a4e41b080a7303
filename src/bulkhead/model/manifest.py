"""The manifest of an image: what was built from what, in enough detail to build it again.

A JSON file beside the image. It is the last output to be written, so where
it is, the other outputs are whole. It carries the lock itself, not a
reference to one: an image can be rebuilt after the lock has moved on.

Manifests come from elsewhere too (a download, a customer), so reading one
trusts nothing: names stay below the manifest's directory, numbers are in
range, and fields of later builders are passed over within one `format`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from bulkhead.model.errors import UserError
from bulkhead.model.lock import Lock

FORMAT = 1
LARGEST_BYTES = 16 * 1024 * 1024

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Uuid = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_+~-][A-Za-z0-9._+~-]{0,200}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,30}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """One file that the build made."""

    kind: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]*\Z")]
    """What it is: `root`, `verity`, `uki`, `disk`, `sbom-spdx`, …; each at most once."""
    file: FileName
    """Its name in the manifest's directory."""
    size: Count
    sha256: Sha256


class Builder(msgspec.Struct, frozen=True, kw_only=True):
    """Which Bulkhead built it."""

    version: str
    fingerprint: Sha256
    """Of the source files that decide what comes out."""
    tools: dict[str, str]
    """Key of each tool tree that was used, by name."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was built from what."""

    format: int = FORMAT
    variant: Name
    version: str
    architecture: str
    epoch: Count
    """Seconds since 1970: the time of every file in the image."""
    root_hash: Sha256
    """Of the root's dm-verity tree: names the whole root."""
    verity_salt: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2})*$")]
    root_uuid: Uuid
    """Of the root partition; half of the root hash, as systemd looks for it."""
    verity_uuid: Uuid
    kernel_release: str
    """As `uname -r` says it."""
    command_line: str
    """Of the kernel; a direct kernel boot takes it as it is."""
    signed: bool
    """Whether the UKI and the boot loader carry a Secure Boot signature."""
    outputs: tuple[Output, ...]
    builder: Builder
    inputs: dict[str, Sha256]
    """SHA-256 of the variant's own files: each `variant.toml` and file laid over the root, by a
    name that does not depend on where the checkout is."""
    lock: Lock

    def output(self, kind: str) -> Output | None:
        """Return the output of a kind, or None."""
        return next((output for output in self.outputs if output.kind == kind), None)


def encode(manifest: Manifest) -> bytes:
    """Return a manifest as indented JSON, the same bytes for the same manifest."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(raw: bytes, *, where: str) -> Manifest:
    """Read a manifest.

    Args:
        raw: the file's bytes.
        where: its name, for messages.

    Raises:
        UserError: too big, not a manifest, of a later format, or it
            contradicts itself.
    """
    if len(raw) > LARGEST_BYTES:
        raise UserError(f"is no manifest: it is larger than {LARGEST_BYTES} bytes", where=where)
    try:
        head = msgspec.json.decode(raw, type=_Head)
        if head.format != FORMAT:
            raise UserError(
                f"has manifest format {head.format}; this Bulkhead reads format {FORMAT}",
                where=where,
                hint="use the version of Bulkhead that built the image",
            )
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"is no manifest: {error}", where=where) from error
    if problem := check(manifest):
        raise UserError(f"contradicts itself: {problem}", where=where)
    return manifest


class _Head(msgspec.Struct):
    format: int


def check(manifest: Manifest) -> str | None:
    """Return what is wrong between the fields of a manifest, or None."""
    kinds = [output.kind for output in manifest.outputs]
    files = [output.file for output in manifest.outputs]
    for values, what in ((kinds, "kind"), (files, "file")):
        seen: set[str] = set()
        for value in values:
            if value in seen:
                return f"two outputs have the {what} {value!r}"
            seen.add(value)
    halves = manifest.root_uuid + manifest.verity_uuid
    if halves.replace("-", "") != manifest.root_hash:
        return "root_uuid and verity_uuid are not the halves of root_hash"
    if manifest.lock.architecture != manifest.architecture:
        return f"an image for {manifest.architecture!r}, a lock for {manifest.lock.architecture!r}"
    return None
