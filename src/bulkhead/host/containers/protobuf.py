"""The protobuf wire format, as much of it as containerd's API needs.

Messages are msgspec structs whose fields carry their numbers:

    class Descriptor(Message):
        media_type: Annotated[str, 1] = ""
        size: Annotated[int, 3] = 0

Field types: `str`, `bytes`, `bool`, `int` (every integer and enum type of the
API is a varint on the wire; `int` is int64), another message (`X | None`),
`list[T]`, `dict[str, T]`. Floats and groups do not occur in that API; unknown
fields are skipped, as the format demands, so a newer containerd can say more.

Google's protobuf runtime would take 5 MB of the image and 30 ms of every
start; tests compare this codec with it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Annotated, TypeVar, cast

import msgspec

from bulkhead.model.errors import RemoteError

MAX_DEPTH = 32

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Message(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Base of all messages. Equal when all fields are equal."""


class WireError(RemoteError):
    """Bytes that are not the message they should be."""


class Field(msgspec.Struct, frozen=True):
    """How one field is written."""

    name: str
    number: int
    kind: type
    """`str`, `bytes`, `bool`, `int` or a message class: of the field or of its items."""
    shape: type | None = None
    """`list`, `dict`, or None for a single value."""


M = TypeVar("M", bound=Message)

_layouts: dict[type[Message], dict[int, Field]] = {}


def layout(message: type[Message]) -> dict[int, Field]:
    """Return the fields of a message class by number, read from its annotations once."""
    found = _layouts.get(message)
    if found is None:
        hints = typing.get_type_hints(message, include_extras=True)
        fields = (_field(name, hint) for name, hint in hints.items())
        found = _layouts[message] = {field.number: field for field in fields}
    return found


def _field(name: str, hint: object) -> Field:
    if typing.get_origin(hint) is not Annotated:
        raise TypeError(f"{name}: a message field needs its number, Annotated[type, number]")
    kind, number = typing.get_args(hint)
    shape = typing.get_origin(kind)
    if shape is list:
        (kind,) = typing.get_args(kind)
    elif shape is dict:
        _, kind = typing.get_args(kind)
    elif shape is types.UnionType:
        shape = None
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
    return Field(name, cast(int, number), cast(type, kind), cast("type | None", shape))


# --- writing ---------------------------------------------------------------


def encode(message: Message) -> bytes:
    """Return the wire form. Fields that have their default are left out, as in proto3."""
    out = bytearray()
    for field in layout(type(message)).values():
        value = getattr(message, field.name)
        if field.shape is list:
            for item in value:
                _write(out, field.number, item)
        elif field.shape is dict:
            for key in value:
                entry = bytearray()
                _write(entry, 1, key)
                _write(entry, 2, value[key])
                _write(out, field.number, bytes(entry))
        elif value is not None and (isinstance(value, Message) or value):
            _write(out, field.number, value)
    return bytes(out)


def _write(out: bytearray, number: int, value: object) -> None:
    if isinstance(value, int):  # bool too
        out += _varint(number << 3 | _VARINT)
        out += _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
        return
    if isinstance(value, str):
        raw = value.encode()
    elif isinstance(value, bytes):
        raw = value
    elif isinstance(value, Message):
        raw = encode(value)
    else:
        raise TypeError(f"no wire form for {type(value).__name__}")
    out += _varint(number << 3 | _BYTES)
    out += _varint(len(raw))
    out += raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# --- reading ---------------------------------------------------------------


def decode(data: bytes, message: type[M], *, depth: int = 0) -> M:
    """Read a message.

    Raises:
        WireError: truncated, nested too deeply, a wrong wire type, or text
            that is not UTF-8.
    """
    if depth > MAX_DEPTH:
        raise WireError(f"{message.__name__} is nested more than {MAX_DEPTH} deep")
    fields = layout(message)
    values: dict[str, object] = {}
    for number, wire, raw in _parts(data):
        field = fields.get(number)
        if field is None:
            continue
        if field.shape is list:
            items = cast("list[object]", values.setdefault(field.name, []))
            if wire == _BYTES and field.kind in (int, bool):
                items.extend(_unpack(cast(bytes, raw), field.kind))
            else:
                items.append(_value(field, field.kind, wire, raw, depth))
        elif field.shape is dict:
            entries = cast("dict[str, object]", values.setdefault(field.name, {}))
            key, item = _entry(field, wire, raw, depth)
            entries[key] = item
        else:
            values[field.name] = _merge(
                values.get(field.name), _value(field, field.kind, wire, raw, depth)
            )
    return message(**values)


def _merge(old: object, new: object) -> object:
    # "Last one wins" holds for scalars; a message that comes in two parts is merged.
    if not isinstance(old, Message) or not isinstance(new, Message):
        return new
    return decode(encode(old) + encode(new), type(new))


def _entry(field: Field, wire: int, raw: int | bytes, depth: int) -> tuple[str, object]:
    if wire != _BYTES or isinstance(raw, int):
        raise WireError(f"{field.name}: a map entry has wire type {wire}")
    key = ""
    value: object = field.kind()
    for number, inner_wire, inner in _parts(raw):
        if number == 1:
            key = cast(str, _value(field, str, inner_wire, inner, depth))
        elif number == 2:
            value = _value(field, field.kind, inner_wire, inner, depth)
    return key, value


def _value(field: Field, kind: type, wire: int, raw: int | bytes, depth: int) -> object:
    if kind in (int, bool):
        if wire != _VARINT or not isinstance(raw, int):
            raise WireError(f"{field.name}: expected a number, got wire type {wire}")
        return _number(kind, raw)
    if wire != _BYTES or isinstance(raw, int):
        raise WireError(f"{field.name}: expected bytes, got wire type {wire}")
    if kind is bytes:
        return raw
    if kind is str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise WireError(f"{field.name}: text is not UTF-8") from error
    return decode(raw, cast("type[Message]", kind), depth=depth + 1)


def _number(kind: type, raw: int) -> int:
    if kind is bool:
        return raw != 0
    return raw - (1 << 64) if raw >= 1 << 63 else raw


def _unpack(raw: bytes, kind: type) -> Iterator[int]:
    at = 0
    while at < len(raw):
        value, at = _read_varint(raw, at)
        yield _number(kind, value)


def _parts(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield number, wire type and raw value of each field."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >= 1 << 32:
            raise WireError("a field has no valid number")
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _read_varint(data, at)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise WireError(f"field {number} has unknown wire type {wire}")
        if size > len(data) - at:
            raise WireError(f"field {number} is cut off: {size} bytes announced")
        yield number, wire, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise WireError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise WireError("a number is longer than 10 bytes")
