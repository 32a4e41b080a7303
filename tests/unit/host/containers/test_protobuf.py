"""The wire codec, against Google's own and against hostile bytes."""

from __future__ import annotations

from typing import Annotated

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message as GoogleMessage
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.host.containers import messages, transfer_messages
from bulkhead.host.containers.protobuf import Message, WireError, decode, encode, layout

# ruff: noqa: RUF012  # msgspec makes a new list or dict from each empty default


class Inner(Message):
    """A message inside another."""

    text: Annotated[str, 1] = ""
    number: Annotated[int, 2] = 0


class Outer(Message):
    """A field of every kind."""

    name: Annotated[str, 1] = ""
    count: Annotated[int, 2] = 0
    raw: Annotated[bytes, 3] = b""
    on: Annotated[bool, 4] = False
    inner: Annotated[Inner | None, 5] = None
    texts: Annotated[list[str], 6] = []
    numbers: Annotated[list[int], 7] = []
    inners: Annotated[list[Inner], 8] = []
    labels: Annotated[dict[str, str], 9] = {}
    by_name: Annotated[dict[str, Inner], 2047] = {}


def _google() -> type[GoogleMessage]:
    """Describe `Outer` to Google's runtime, as a .proto file would."""
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    inner = file.message_type.add(name="Inner")
    outer = file.message_type.add(name="Outer")
    kind = descriptor_pb2.FieldDescriptorProto
    one, many = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED
    inner.field.add(name="text", number=1, type=kind.TYPE_STRING, label=one)
    inner.field.add(name="number", number=2, type=kind.TYPE_INT64, label=one)
    outer.field.add(name="name", number=1, type=kind.TYPE_STRING, label=one)
    outer.field.add(name="count", number=2, type=kind.TYPE_INT64, label=one)
    outer.field.add(name="raw", number=3, type=kind.TYPE_BYTES, label=one)
    outer.field.add(name="on", number=4, type=kind.TYPE_BOOL, label=one)
    message = kind.TYPE_MESSAGE
    outer.field.add(name="inner", number=5, type=message, type_name=".t.Inner", label=one)
    outer.field.add(name="texts", number=6, type=kind.TYPE_STRING, label=many)
    outer.field.add(name="numbers", number=7, type=kind.TYPE_INT64, label=many)
    outer.field.add(name="inners", number=8, type=message, type_name=".t.Inner", label=many)
    for name, number, value in (("labels", 9, None), ("by_name", 2047, ".t.Inner")):
        entry = f"{name.title().replace('_', '')}Entry"
        pair = outer.nested_type.add(name=entry)
        pair.options.map_entry = True
        pair.field.add(name="key", number=1, type=kind.TYPE_STRING, label=one)
        if value is None:
            pair.field.add(name="value", number=2, type=kind.TYPE_STRING, label=one)
        else:
            pair.field.add(name="value", number=2, type=message, type_name=value, label=one)
        outer.field.add(
            name=name, number=number, type=message, type_name=f".t.Outer.{entry}", label=many
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Outer"))


GOOGLE = _google()
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=20)
INNER = st.builds(Inner, text=TEXT, number=INT64)
OUTER = st.builds(
    Outer,
    name=TEXT,
    count=INT64,
    raw=st.binary(max_size=300),
    on=st.booleans(),
    inner=st.none() | INNER,
    texts=st.lists(TEXT, max_size=4),
    numbers=st.lists(INT64, max_size=4),
    inners=st.lists(INNER, max_size=3),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    by_name=st.dictionaries(TEXT, INNER, max_size=3),
)


@given(OUTER)
def test_reads_what_it_wrote(message: Outer) -> None:
    """Encoding and decoding gives an equal message."""
    assert decode(encode(message), Outer) == message


@given(OUTER)
def test_google_understands_it_and_it_understands_google(message: Outer) -> None:
    """The reference implementation, which packs numbers, keeps every value on the way."""
    theirs = GOOGLE.FromString(encode(message))

    assert decode(theirs.SerializeToString(), Outer) == message


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_an_error(data: bytes) -> None:
    """Hostile bytes never raise anything but WireError, and Google agrees on what is readable."""
    try:
        ours = decode(data, Outer)
    except WireError:
        return

    assert decode(encode(ours), Outer) == ours


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x0a", "a number is cut off"),
        (b"\x0a\x05abc", "field 1 is cut off: 5 bytes announced"),
        (b"\x10" + b"\xff" * 10 + b"\x01", "longer than 10 bytes"),
        (b"\x0a\x01\xff", "name: text is not UTF-8"),
        (b"\x08\x01", "name: expected bytes, got wire type 0"),
        (b"\x12\x01a", "count: expected a number, got wire type 2"),
        (b"\x00\x00", "no valid number"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x48\x01", "labels: a map entry has wire type 0"),
    ],
)
def test_wrong_bytes_are_told_apart(data: bytes, words: str) -> None:
    """Each way to be wrong has its own words."""
    with pytest.raises(WireError, match=words):
        decode(data, Outer)


def test_skips_fields_of_a_newer_version() -> None:
    """Unknown fields of every wire type are passed over."""
    unknown = b"\xf8\x07\x01" + b"\xf9\x07" + bytes(8) + b"\xfa\x07\x02ab" + b"\xfd\x07" + bytes(4)

    assert decode(unknown + encode(Outer(name="x")), Outer) == Outer(name="x")


def test_a_message_in_two_parts_is_merged() -> None:
    """proto3 merges a message field that occurs twice and takes the last of scalars."""
    first, second = encode(Outer(inner=Inner(text="a"))), encode(Outer(inner=Inner(number=5)))

    assert decode(first + second, Outer).inner == Inner(text="a", number=5)


def test_deep_nesting_is_refused() -> None:
    """A message that contains itself cannot use up the stack."""
    data = b""
    for _ in range(40):
        data = b"\x0a" + bytes([len(data)]) + data
    with pytest.raises(WireError, match="nested"):
        decode(data, Recursive)


class Recursive(Message):
    """A message that may contain itself."""

    child: Annotated[Recursive | None, 1] = None


@pytest.mark.parametrize("module", [messages, transfer_messages])
def test_every_message_has_a_sound_layout(module: object) -> None:
    """No declaration forgets a number or uses one twice."""
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Message)
    ]

    assert kinds
    for kind in kinds:
        assert len(layout(kind)) == len(kind.__struct_fields__)
