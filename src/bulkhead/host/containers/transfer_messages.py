"""The messages of containerd's transfer and streaming services, and of what they carry.

Field numbers are those of containerd's published .proto files.
"""

# ruff: noqa: RUF012  # msgspec makes a new list or dict from each empty default

from __future__ import annotations

from typing import Annotated

from bulkhead.host.containers.messages import Any, Platform, RuncOptions
from bulkhead.host.containers.protobuf import Message


class TransferOptions(Message):
    """`progress_stream` names a stream on which `Progress` arrives."""

    progress_stream: Annotated[str, 1] = ""


class TransferRequest(Message):
    """Move an image from a source to a destination."""

    source: Annotated[Any | None, 1] = None
    destination: Annotated[Any | None, 2] = None
    options: Annotated[TransferOptions | None, 3] = None


class RegistryResolver(Message):
    """`auth_stream` names a stream on which containerd asks for credentials."""

    auth_stream: Annotated[str, 1] = ""
    headers: Annotated[dict[str, str], 2] = {}


class OCIRegistry(Message):
    """A source: a reference in a registry."""

    reference: Annotated[str, 1] = ""
    resolver: Annotated[RegistryResolver | None, 2] = None


class AuthRequest(Message):
    """Which host wants to know who asks, for the sake of which image."""

    host: Annotated[str, 1] = ""
    reference: Annotated[str, 2] = ""


AUTH_NONE, AUTH_CREDENTIALS, AUTH_REFRESH = 0, 1, 2


class AuthResponse(Message):
    """What a registry may know; `kind` is an AuthType."""

    kind: Annotated[int, 1] = AUTH_NONE
    secret: Annotated[str, 2] = ""
    username: Annotated[str, 3] = ""


class UnpackConfiguration(Message):
    """What to unpack after fetching, and where to."""

    platform: Annotated[Platform | None, 1] = None
    snapshotter: Annotated[str, 2] = ""


class ImageReference(Message):
    """Further names for what an archive contains."""

    name: Annotated[str, 1] = ""
    is_prefix: Annotated[bool, 2] = False
    allow_overwrite: Annotated[bool, 3] = False
    add_digest: Annotated[bool, 4] = False
    skip_named_digest: Annotated[bool, 5] = False


class ImageStore(Message):
    """A destination: containerd's own images."""

    name: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 2] = {}
    platforms: Annotated[list[Platform], 3] = []
    all_metadata: Annotated[bool, 4] = False
    extra_references: Annotated[list[ImageReference], 6] = []
    unpacks: Annotated[list[UnpackConfiguration], 10] = []


class ImageImportStream(Message):
    """A source: an archive that comes in on a stream."""

    stream: Annotated[str, 1] = ""
    media_type: Annotated[str, 2] = ""


class StreamInit(Message):
    """First thing on a stream: its name."""

    id: Annotated[str, 1] = ""


class Data(Message):
    """A piece of a byte stream."""

    data: Annotated[bytes, 1] = b""


class WindowUpdate(Message):
    """How many more bytes the other side may send."""

    update: Annotated[int, 1] = 0


class Progress(Message):
    """How far a transfer is."""

    event: Annotated[str, 1] = ""
    name: Annotated[str, 2] = ""
    parents: Annotated[list[str], 3] = []
    progress: Annotated[int, 4] = 0
    total: Annotated[int, 5] = 0


TYPE_URLS: dict[type[Message], str] = {
    OCIRegistry: "containerd.types.transfer.OCIRegistry",
    ImageStore: "containerd.types.transfer.ImageStore",
    ImageImportStream: "containerd.types.transfer.ImageImportStream",
    AuthRequest: "containerd.types.transfer.AuthRequest",
    AuthResponse: "containerd.types.transfer.AuthResponse",
    StreamInit: "containerd.services.streaming.v1.StreamInit",
    Data: "containerd.types.transfer.Data",
    WindowUpdate: "containerd.types.transfer.WindowUpdate",
    Progress: "containerd.types.transfer.Progress",
    RuncOptions: "containerd.runc.v1.Options",
}
