"""Messages of `/exec`: what is written is read again, and anything else is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.model import exec as protocol
from bulkhead.model.errors import UserError

U16 = st.integers(0, 65535)
SIZES = st.builds(protocol.Size, rows=U16, cols=U16)
ARGUMENTS = st.builds(protocol.OsString, unix=st.lists(st.integers(0, 255), max_size=20))
CLIENT = st.one_of(
    st.just(protocol.CONTENT_COMPLETE),
    SIZES,
    st.builds(
        protocol.Initialize,
        command=st.lists(ARGUMENTS, min_size=1, max_size=4).map(tuple),
        target=st.text(max_size=20),
        tty=st.none() | st.builds(protocol.Tty, size=st.none() | SIZES),
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text() | st.sampled_from(["Initialize", "Winch", "command", "Unix", "tty"]), inner
        )
    ),
)


@given(CLIENT)
def test_a_clients_message_is_read_as_it_was_written(
    message: protocol.Initialize | protocol.Size | protocol.ContentComplete,
) -> None:
    """Every message there is."""
    assert protocol.read_client(protocol.write(message)) == message


@given(st.integers(0), st.integers(0))
def test_a_servers_message_is_read_as_it_was_written(most: int, written: int) -> None:
    """Numbers of any size: a counter does not stop at 32 bits."""
    sent = protocol.Capacity(
        max_messages_outstanding=most % 2**63, messages_written=written % 2**63
    )

    assert protocol.read_server(protocol.write(sent)) == sent


@pytest.mark.parametrize("read", [protocol.read_client, protocol.read_server])
@given(text=st.one_of(st.text(), JSON.map(json.dumps)))
def test_anything_else_is_refused(read: Callable[[str], object], text: str) -> None:
    """With one kind of error, whatever came."""
    with suppress(UserError):
        read(text)


@given(st.text(st.characters(codec="utf-8")), st.binary())
def test_an_argument_is_its_bytes(text: str, raw: bytes) -> None:
    """Also one that is no text, as the command line gives it to a program."""
    assert bytes(protocol.argument(text).unix) == text.encode()
    given = raw.decode(errors="surrogateescape")
    assert bytes(protocol.argument(given).unix) == raw


def test_is_written_as_rust_writes_it() -> None:
    """The forms that other clients send and expect, letter by letter."""
    initialize = protocol.Initialize(
        command=(protocol.argument("ls"),), target="admin",
        tty=protocol.Tty(size=protocol.Size(rows=24, cols=80)),
    )  # fmt: skip

    assert [json.loads(protocol.write(message)) for message in (
        initialize, protocol.CONTENT_COMPLETE, protocol.Size(rows=1, cols=2),
        protocol.Capacity(max_messages_outstanding=1024, messages_written=128),
    )] == [
        {"Initialize": {
            "command": [{"Unix": [108, 115]}], "target": "admin",
            "tty": {"size": {"rows": 24, "cols": 80}},
        }},
        "ContentComplete",
        {"Winch": {"rows": 1, "cols": 2}},
        {"Capacity": {"max_messages_outstanding": 1024, "messages_written": 128}},
    ]  # fmt: skip
