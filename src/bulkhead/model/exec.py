"""Messages of `/exec`, as Bottlerocket's API server and its `apiclient` exchange them.

Binary messages are data: standard input one way, output and errors together
the other way. Text messages are JSON in the form that Rust's serde gives to
enums: `"Name"`, or an object whose one key is the name. Unknown fields inside
of a message are passed over, so that newer clients can talk to us; an unknown
message is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bulkhead.model.errors import UserError

NORMAL = 1000
UNSUPPORTED = 1003
INVALID = 1007
POLICY = 1008
SIZE = 1009
ERROR = 1011
"""Close codes (RFC 6455, 7.4.1). With NORMAL the reason is the process's exit code."""

MAX_MESSAGES_OUTSTANDING = 1024
"""Messages of input that a client may have sent and the process has not taken."""
REPORT_EVERY = 128
"""Messages of input after which the client is told how many were taken."""

_U16 = Annotated[int, Meta(ge=0, le=65535)]
_BYTE = Annotated[int, Meta(ge=0, le=255)]


class OsString(msgspec.Struct, frozen=True, kw_only=True):
    """An argument: bytes, as a Unix system has them."""

    unix: list[_BYTE] = msgspec.field(name="Unix")


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A terminal's size."""

    rows: _U16
    cols: _U16


class Tty(msgspec.Struct, frozen=True, kw_only=True):
    """The process gets a terminal."""

    size: Size | None = None


class Initialize(msgspec.Struct, frozen=True, kw_only=True):
    """A client's first message: what to run, and in which container."""

    command: Annotated[tuple[OsString, ...], Meta(min_length=1)]
    target: str
    tty: Tty | None = None


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """How much a client may send: it counts its messages, `messages_written` of them are gone."""

    max_messages_outstanding: Annotated[int, Meta(ge=0)]
    messages_written: Annotated[int, Meta(ge=0)]


class _FromClient(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    initialize: Initialize | None = msgspec.field(name="Initialize", default=None)
    winch: Size | None = msgspec.field(name="Winch", default=None)


class _FromServer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    capacity: Capacity = msgspec.field(name="Capacity")


ContentComplete = Literal["ContentComplete"]
"""There will be no more input."""
CONTENT_COMPLETE: ContentComplete = "ContentComplete"

_from_client: msgspec.json.Decoder[ContentComplete | _FromClient] = msgspec.json.Decoder(
    ContentComplete | _FromClient
)
_from_server = msgspec.json.Decoder(_FromServer)


def read_client(text: str) -> Initialize | Size | ContentComplete:
    """Read a client's message.

    Raises:
        UserError: it is none.
    """
    try:
        message = _from_client.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UserError(f"the message cannot be read: {error}") from error
    if isinstance(message, str):
        return message
    if message.initialize is not None and message.winch is None:
        return message.initialize
    if message.winch is not None and message.initialize is None:
        return message.winch
    raise UserError("the message cannot be read: expected one of Initialize and Winch")


def read_server(text: str) -> Capacity:
    """Read a server's message.

    Raises:
        UserError: it is none.
    """
    try:
        return _from_server.decode(text).capacity
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UserError(f"the message cannot be read: {error}") from error


def write(message: Initialize | Size | Capacity | ContentComplete) -> str:
    """Return a message as JSON."""
    if isinstance(message, str):
        return f'"{message}"'
    name = "Winch" if isinstance(message, Size) else type(message).__name__
    return msgspec.json.encode({name: message}).decode()


def argument(text: str) -> OsString:
    """Return an argument of this program's own as it is sent."""
    return OsString(unix=list(text.encode(errors="surrogateescape")))
