"""HTTP to a machine's services: over a Unix socket on the node, over TCP with a token elsewhere."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from bulkhead.model.channel import Channel
from bulkhead.model.errors import HostError, RemoteError, UserError
from bulkhead.model.problem import Problem

T = TypeVar("T")

CONNECT_S = 5.0
PATIENCE_S = 2.0
"""How long a refused connection is tried again: the service may just be starting."""

Body = bytes | Iterable[bytes]


class Missing(UserError):
    """What was asked for does not exist (404)."""


class Conflict(UserError):
    """It is in a state in which this cannot be done (409)."""


_ERRORS: Mapping[int, type[UserError] | type[RemoteError] | type[HostError]] = {
    400: UserError,
    401: RemoteError,
    404: Missing,
    408: RemoteError,
    409: Conflict,
    413: UserError,
    500: HostError,
}


class Connection:
    """Makes one HTTP request at a time, each on a connection of its own.

    Every call raises `UserError` (with `Missing` and `Conflict`), `HostError`
    or `RemoteError`, as the service says or as the way there fails.
    """

    def __init__(self, where: Channel | Path) -> None:
        self._where = where

    @property
    def name(self) -> str:
        """Return the address for messages."""
        where = self._where
        return str(where) if isinstance(where, Path) else f"{where.host}:{where.port}"

    @property
    def authority(self) -> str:
        """Return the value of the Host header."""
        return "localhost" if isinstance(self._where, Path) else self.name

    def headers(self) -> dict[str, str]:
        """Return the headers that prove that we may ask."""
        token = None if isinstance(self._where, Path) else self._where.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def connect(self) -> socket.socket:
        """Return a connected socket."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._connect()
            except OSError as error:
                if time.monotonic() > end:
                    raise RemoteError(
                        f"the machine does not answer: {error.strerror or error}",
                        where=self.name,
                        hint="is it running? start it with `bulkhead up`",
                    ) from error
                time.sleep(0.1)

    def _connect(self) -> socket.socket:
        if not isinstance(self._where, Path):
            return socket.create_connection((self._where.host, self._where.port), timeout=CONNECT_S)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.connect(str(self._where))
        except OSError:
            made.close()
            raise
        return made

    def call(
        self,
        method: str,
        path: str,
        answer: type[T],
        *,
        body: object = None,
        timeout_s: float | None = 120,
    ) -> T:
        """Send a request with a JSON body and read a JSON answer."""
        raw = None if body is None else msgspec.json.encode(body)
        with self.open(method, path, body=raw, timeout_s=timeout_s) as response:
            data = response.read()
        try:
            return msgspec.json.decode(data, type=answer)
        except msgspec.MsgspecError as error:
            raise RemoteError(
                f"the machine's answer cannot be read: {error}",
                where=f"{method} {path}",
                hint="this program and the machine may be of different versions",
            ) from error

    @contextmanager
    def open(
        self, method: str, path: str, *, body: Body | None = None, timeout_s: float | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; yield the answer, whose body has not been read."""
        connection = http.client.HTTPConnection(self.authority)
        connection.sock = self.connect()
        connection.sock.settimeout(timeout_s)
        try:
            headers = self.headers() | {"Content-Type": "application/json"}
            connection.request(
                method, path, body=body, headers=headers,
                encode_chunked=body is not None and not isinstance(body, bytes),
            )  # fmt: skip
            response = connection.getresponse()
            if response.status >= 400:
                raise _error(response.status, response.read())
            yield response
        except TimeoutError as error:
            raise RemoteError(
                f"the machine did not answer within {timeout_s:g} s", where=f"{method} {path}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise RemoteError(
                f"the connection to the machine broke: {error}", where=f"{method} {path}"
            ) from error
        finally:
            connection.close()


def _error(status: int, body: bytes) -> UserError | RemoteError | HostError:
    try:
        told = msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        return RemoteError(f"the machine answered with status {status}")
    return failed(told, status=status)


def failed(told: Problem, *, status: int = 400) -> UserError | RemoteError | HostError:
    """Turn what a machine says into an error."""
    kind = _ERRORS.get(status, RemoteError)
    return kind(told.error, where=told.where, hint=told.hint)
