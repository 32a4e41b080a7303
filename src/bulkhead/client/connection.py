"""HTTP to a machine's services: over a Unix socket on the node, over TCP with a token elsewhere."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from bulkhead.lib.decoding import decode_json
from bulkhead.model.channel import Channel
from bulkhead.model.errors import HostError, RemoteError, UserError
from bulkhead.model.problem import Problem

T = TypeVar("T")

CONNECT_S = 5.0
PATIENCE_S = 2.0
"""How long a refused connection is tried again: the service may just be starting."""

_MAY_PASS = (ConnectionError, FileNotFoundError, BlockingIOError, TimeoutError)
"""What connecting to a service meets that is just starting."""
_LONGEST_ERROR = 64 * 1024

Body = bytes | Iterable[bytes]


class Missing(UserError):
    """What was asked for does not exist (404)."""


class Conflict(UserError):
    """It is in a state in which this cannot be done (409)."""


class Unprocessable(UserError):
    """There is nothing to do it with: no pending settings, no such feature (422)."""


class Busy(RemoteError):
    """Something else is being done there; try again later (423, 503)."""

    exit_code = 75


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, whatever its status."""

    status: int
    media_type: str
    body: bytes


_ERRORS: Mapping[int, type[UserError] | type[RemoteError] | type[HostError]] = {
    400: UserError,
    401: RemoteError,
    403: UserError,
    404: Missing,
    408: RemoteError,
    409: Conflict,
    413: UserError,
    422: Unprocessable,
    423: Busy,
    500: HostError,
    503: Busy,
    507: HostError,
}


class Interrupted(KeyboardInterrupt):
    """Somebody interrupted a request that the machine may have carried out all the same."""


class _Asked(NamedTuple):
    method: str
    path: str
    body: Body | None
    timeout_s: float | None = None
    headers: Mapping[str, str] = {}
    only_asks: bool = False
    """It changes nothing, so it can be asked for twice, and given up at any time."""


class Connection:
    """Makes one HTTP request at a time, each on a connection of its own.

    Every call raises `UserError` (with `Missing` and `Conflict`), `HostError`
    or `RemoteError`, as the service says or as the way there fails.

    Args:
        where: the machine's channel, or a Unix socket.
        hint: what to do when nobody answers there.
    """

    def __init__(self, where: Channel | Path, *, hint: str | None = None) -> None:
        self._where = where
        self._hint = hint or "is it running? start it with `bulkhead up`"

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
                if time.monotonic() > end or not isinstance(error, _MAY_PASS):
                    raise RemoteError(
                        f"the machine does not answer: {error.strerror or error}",
                        where=self.name,
                        hint=self._hint,
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
        only_asks: bool = False,
    ) -> T:
        """Send a request with a JSON body and read a JSON answer.

        Args:
            method: of HTTP.
            path: of the endpoint, with its query.
            answer: what the answer is.
            body: sent as JSON.
            timeout_s: how long to wait for the answer.
            only_asks: it changes nothing, as GET never does.
        """
        raw = None if body is None else msgspec.json.encode(body)
        with self.open(
            method, path, body=raw, timeout_s=timeout_s, only_asks=only_asks
        ) as response:
            data = response.read()
        return read(data, answer, where=f"{method} {path}")

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send a request as it is; return the answer, whatever its status."""
        with self._request(_Asked(method, path, body, only_asks=method == "GET")) as response:
            kind = response.headers.get_content_type()
            return Answer(status=response.status, media_type=kind, body=response.read())

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        timeout_s: float | None = None,
        only_asks: bool = False,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; yield the answer, whose body has not been read."""
        # Bottlerocket's endpoints tell errors as plain text unless asked for more.
        headers = {"Accept": "application/json"}
        asked = _Asked(method, path, body, timeout_s, headers, only_asks or method == "GET")
        with self._request(asked) as response:
            if response.status >= 400:
                raise _error(response)
            yield response

    @contextmanager
    def _request(self, asked: _Asked) -> Iterator[http.client.HTTPResponse]:
        where = f"{asked.method} {asked.path}"
        with ExitStack() as stack:
            try:
                yield self._answered(stack, asked)
            except KeyboardInterrupt as stop:
                if asked.only_asks:
                    raise
                raise Interrupted(
                    "interrupted; the machine may have done it all the same"
                ) from stop
            except TimeoutError as error:
                raise RemoteError(
                    f"the machine did not answer within {asked.timeout_s:g} s", where=where
                ) from error
            except (OSError, http.client.HTTPException) as error:
                raise RemoteError(
                    f"the connection to the machine broke: {str(error) or type(error).__name__}",
                    where=where, hint=self._hint,
                ) from error  # fmt: skip

    def _answered(self, stack: ExitStack, asked: _Asked) -> http.client.HTTPResponse:
        """Send a request; ask again for a while where nobody has listened yet."""
        end = time.monotonic() + PATIENCE_S
        headers = {**self.headers(), "Content-Type": "application/json", **asked.headers}
        while True:
            connection = stack.enter_context(closing(http.client.HTTPConnection(self.authority)))
            connection.sock = self.connect()
            connection.sock.settimeout(asked.timeout_s)
            try:
                connection.request(
                    asked.method, asked.path, body=asked.body, headers=headers,
                    encode_chunked=asked.body is not None and not isinstance(asked.body, bytes),
                )  # fmt: skip
                return connection.getresponse()
            except ConnectionError:
                # QEMU accepts connections to a port that nobody listens at in the machine, and
                # then closes them. Only what changes nothing can be asked for twice.
                if not asked.only_asks or time.monotonic() > end:
                    raise
                time.sleep(0.1)


def read(raw: bytes | str, kind: type[T], *, where: str) -> T:
    """Return what the machine says.

    Raises:
        RemoteError: it says something else.
    """
    try:
        return decode_json(raw, kind)
    except msgspec.MsgspecError as error:
        raise RemoteError(
            f"the machine's answer cannot be read: {error}",
            where=where,
            hint="this program and the machine may be of different versions",
        ) from error


def _error(response: http.client.HTTPResponse) -> UserError | RemoteError | HostError:
    """Return the error that an answer tells of: Bottlerocket's endpoints tell it as plain text."""
    body = response.read(_LONGEST_ERROR)
    if response.headers.get_content_type() == "text/plain" and body.strip():
        words = "".join(c if c.isprintable() else " " for c in body.decode(errors="replace"))
        return failed(Problem(error=words.strip()), status=response.status)
    try:
        told = decode_json(body, Problem)
    except msgspec.MsgspecError:
        return RemoteError(f"the machine answered with status {response.status}")
    return failed(told, status=response.status)


def failed(told: Problem, *, status: int = 400) -> UserError | RemoteError | HostError:
    """Turn what a machine says into an error."""
    kind = _ERRORS.get(status, RemoteError)
    return kind(told.error, where=told.where, hint=told.hint)
