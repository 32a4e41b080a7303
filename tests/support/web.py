"""Servers that hear what a node sends: HTTP, HTTPS with an authority of their own, and a proxy."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.registry import certificate


class Web:
    """A server; each connection is one request."""

    def __init__(self, answer: bytes, *, context: ssl.SSLContext | None, slow_s: float) -> None:
        self.requests: list[str] = []
        """First lines."""
        self.heads: list[str] = []
        """All of what was asked, for each."""
        self.answers: list[bytes] = []
        """Before `answer`, one each."""
        self._answer = answer
        self._context = context
        self._slow_s = slow_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ended = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._ended.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._hear, args=(connection,), daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(10)
            if self._context is None:
                self._talk(connection)
            else:
                with self._context.wrap_socket(connection, server_side=True) as secured:
                    self._talk(secured)

    def _talk(self, connection: socket.socket) -> None:
        head = _head(connection)
        self.requests.append(head.partition("\r\n")[0])
        self.heads.append(head)
        if head.startswith("CONNECT "):
            self._pass_on(connection, head.split()[1])
            return
        answer = self.answers.pop(0) if self.answers else self._answer
        if not self._slow_s:
            connection.sendall(answer)
        for byte in answer if self._slow_s else b"":
            connection.sendall(bytes([byte]))
            if self._ended.wait(self._slow_s):
                return

    def _pass_on(self, connection: socket.socket, target: str) -> None:
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as far:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(far, connection), daemon=True)
            back.start()
            _copy(connection, far)
            back.join(10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _head(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    return data.decode()


def status(code: int, *headers: str) -> bytes:
    """Return an answer without a body."""
    lines = [f"HTTP/1.1 {code} -", "Content-Length: 0", *headers]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


OK = status(200)


@contextmanager
def web(
    answer: bytes = OK,
    *,
    secure: Path | None = None,
    slow_s: float = 0,
    names: tuple[str, ...] = (),
) -> Iterator[Web]:
    """Run a server while the block lasts.

    Args:
        answer: to each request.
        secure: a directory: speak TLS, with a key and `certificate.pem` that are made there.
        slow_s: between two bytes of the answer.
        names: of the server, beside its address.
    """
    context = None
    if secure is not None:
        made = certificate(secure, *names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
    server = Web(answer, context=context, slow_s=slow_s)
    try:
        yield server
    finally:
        server.close()


def eventually(condition: Callable[[], bool], *, limit_s: float) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it never was.
    """
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {limit_s:g} s")
        time.sleep(0.1)
