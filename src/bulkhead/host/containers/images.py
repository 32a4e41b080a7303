"""What an image in containerd's store consists of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from bulkhead.host.containers import messages as m
from bulkhead.host.containers.containerd import Containerd
from bulkhead.host.containers.spec import ImageConfig
from bulkhead.host.containers.transfer import platform
from bulkhead.lib.decoding import decode_json
from bulkhead.model.containers import Image
from bulkhead.model.errors import UserError

T = TypeVar("T")

MANIFEST_LIMIT = 4 * 1024 * 1024

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class _Platform(msgspec.Struct):
    os: str = ""
    architecture: str = ""


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: int = 0
    media_type: str = ""
    platform: _Platform | None = None


class _Index(msgspec.Struct):
    manifests: tuple[_Descriptor, ...] = ()


class _Manifest(msgspec.Struct):
    config: _Descriptor
    layers: tuple[_Descriptor, ...] = ()


class _RootFS(msgspec.Struct):
    diff_ids: tuple[str, ...] = ()


class _Config(msgspec.Struct):
    rootfs: _RootFS
    config: ImageConfig | None = None


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """An image that can be run."""

    name: str
    digest: str
    config: ImageConfig
    snapshot: str
    """Key of the committed snapshot of its topmost layer."""


async def resolve(containerd: Containerd, name: str) -> Unpacked:
    """Read an image's manifest and configuration.

    Raises:
        NotFound: there is no image of this full name.
        UserError: it has nothing for this machine, or is not understood.
    """
    image = await containerd.image(name)
    target = image.target or m.Descriptor()
    manifest = await _manifest(containerd, target, name)
    raw = await containerd.read(manifest.config.digest, limit=MANIFEST_LIMIT)
    config = _decode(raw, _Config, name)
    return Unpacked(
        name=name,
        digest=target.digest,
        config=config.config or ImageConfig(),
        snapshot=chain(config.rootfs.diff_ids),
    )


async def describe(containerd: Containerd, image: m.Image) -> Image:
    """Return what people want to know of an image; the size is 0 if it cannot be read."""
    target = image.target or m.Descriptor()
    try:
        manifest = await _manifest(containerd, target, image.name)
        size = sum(layer.size for layer in manifest.layers)
    except UserError:
        size = 0
    return Image(name=image.name, digest=target.digest, size=size, created=moment(image.created_at))


async def _manifest(containerd: Containerd, target: m.Descriptor, name: str) -> _Manifest:
    raw = await containerd.read(target.digest, limit=MANIFEST_LIMIT)
    if target.media_type in _INDEXES:
        here = platform()
        wanted = _Platform(os=here.os, architecture=here.architecture)
        rows = _decode(raw, _Index, name).manifests
        row = next((row for row in rows if row.platform == wanted), None)
        if row is None:
            raise UserError(
                f"the image has nothing for {wanted.os}/{wanted.architecture}", where=name
            )
        raw = await containerd.read(row.digest, limit=MANIFEST_LIMIT)
    return _decode(raw, _Manifest, name)


def chain(diff_ids: Sequence[str]) -> str:
    """Return the chain identifier of a stack of layers (OCI image specification, "ChainID").

    Raises:
        UserError: there is no layer.
    """
    if not diff_ids:
        raise UserError("the image has no layers")
    result = diff_ids[0]
    for diff_id in diff_ids[1:]:
        result = "sha256:" + hashlib.sha256(f"{result} {diff_id}".encode()).hexdigest()
    return result


def moment(timestamp: m.Timestamp | None) -> str:
    """Return a time as text, UTC, ISO 8601."""
    seconds = timestamp.seconds if timestamp else 0
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat().replace("+00:00", "Z")


def _decode(raw: bytes, kind: type[T], name: str) -> T:
    try:
        return decode_json(raw, kind)
    except msgspec.MsgspecError as error:
        raise UserError(f"the image's description cannot be read: {error}", where=name) from error
