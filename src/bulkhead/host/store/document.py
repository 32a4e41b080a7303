"""What is in the file of a commit, and which settings an image reads from it.

The outer form never changes: every image, older or newer, finds who and when,
and for each part of the settings the forms that the writer knew. Only those
forms have schemas (see `migrations`).
"""

from __future__ import annotations

import zlib

import msgspec

from bulkhead.host.store.migrations import Chain
from bulkhead.model.history import Commit
from bulkhead.model.settings.keys import Settings, flatten, merge, unflatten

FORMAT = 1


class Unreadable(Exception):
    """The bytes are no commit that this image can use. The text says why, without a value."""


class Newer(msgspec.Struct, frozen=True, kw_only=True):
    """What a newer image had written, kept by an older one for when the newer is back.

    What the older one's schema cannot express would be lost otherwise: it is
    the difference between `settings` and `seen` brought forward.
    """

    schema: int
    settings: Settings
    seen: Settings
    """The same in the schema of the part that this is kept in."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that have one chain of schemas: Bulkhead's own, or a group of the variant."""

    schema: int
    """Of the image that wrote it."""
    versions: dict[int, Settings]
    """The same settings by schema, from the writer's down to the oldest it supports."""
    newer: Newer | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One commit as it is on the disk. The settings are those of the node, without defaults."""

    format: int = FORMAT
    commit: Commit
    core: Part
    groups: dict[str, Part] = {}


class _File(msgspec.Struct, frozen=True, kw_only=True):
    crc32: int
    content: msgspec.Raw


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    commit: Commit


def encode(document: Document) -> bytes:
    """Return the bytes of a commit's file."""
    content = msgspec.json.encode(document)
    return msgspec.json.encode(_File(crc32=zlib.crc32(content), content=msgspec.Raw(content)))


def decode(raw: bytes) -> Document:
    """Read a commit's file.

    Raises:
        Unreadable: it is damaged, or has a form of a later time.
    """
    try:
        content = _content(raw)
        # The form first: in another one, anything else may be different.
        return msgspec.json.decode(content, type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"it is damaged: {_reason(error)}") from error


def decode_commit(raw: bytes) -> Commit:
    """Read only who, when and what from a commit's file, which takes a fraction of the time.

    Raises:
        Unreadable: as `decode`.
    """
    try:
        return msgspec.json.decode(_content(raw), type=_Head).commit
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"it is damaged: {_reason(error)}") from error


class _Form(msgspec.Struct, frozen=True, kw_only=True):
    format: int


def _content(raw: bytes) -> msgspec.Raw:
    file = msgspec.json.decode(raw, type=_File)
    # Against a failing disk. Against people there are the directory's permissions.
    if zlib.crc32(file.content) != file.crc32:
        raise Unreadable("it is damaged: the checksum is another one")
    found = msgspec.json.decode(file.content, type=_Form).format
    if found != FORMAT:
        raise Unreadable(f"a newer version wrote it in the form {found}, known is {FORMAT}")
    return file.content


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def read(part: Part, chain: Chain) -> Settings:
    """Return the settings of a part in the schema of this image.

    Raises:
        Unreadable: a newer image wrote it and knew no way back to this one's schema.
    """
    readable = [schema for schema in part.versions if chain.oldest <= schema <= chain.schema]
    if not readable:
        raise Unreadable(
            f"it has the settings in the schemas {sorted(part.versions)}, "
            f"this image reads {chain.oldest} to {chain.schema}"
        )
    schema = max(readable)
    settings = chain.forward(part.versions[schema], schema)
    newer = part.newer
    if newer is None or newer.schema != chain.schema or schema != part.schema:
        return settings
    seen = flatten(chain.forward(newer.seen, schema))
    unseen = {key: value for key, value in flatten(newer.settings).items() if key not in seen}
    return merge(unflatten(unseen), settings)


def write(settings: Settings, chain: Chain, previous: Part | None) -> Part:
    """Return the part for settings of this image's schema.

    Args:
        settings: the node's own values.
        chain: this image's.
        previous: the part that these settings came from.
    """
    return Part(
        schema=chain.schema,
        versions=chain.versions(settings),
        newer=_newer(previous, chain) if previous else None,
    )


def _newer(part: Part, chain: Chain) -> Newer | None:
    if part.schema > chain.schema and chain.schema in part.versions:
        return Newer(
            schema=part.schema,
            settings=part.versions[part.schema],
            seen=part.versions[chain.schema],
        )
    if part.newer and part.newer.schema > chain.schema >= part.schema >= chain.oldest:
        seen = chain.forward(part.newer.seen, part.schema)
        return msgspec.structs.replace(part.newer, seen=seen)
    return None
