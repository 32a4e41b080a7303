"""Stands in for the apply agent on its socket: same requests, same answers, no services."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkhead.model.apply import ApplyRequest, ApplyResult, ServiceResult

Answering = Callable[[ApplyRequest], ApplyResult | bytes]


def done(request: ApplyRequest) -> ApplyResult:
    """Answer that all went well."""
    return ApplyResult(ok=True, number=1, time="2026-01-02T03:04:05Z")


def broken(request: ApplyRequest) -> ApplyResult:
    """Answer that a service did not come back."""
    service = ServiceResult(
        name="ntp", units=("systemd-timesyncd.service",), status="failed",
        action="restart systemd-timesyncd.service", error="it exited 1",
    )  # fmt: skip
    return ApplyResult(ok=False, number=1, services=(service,))


class Agent:
    """Answers each request; a context manager.

    Args:
        path: of the socket.
        answer: the result of a request, or bytes that are none.
    """

    def __init__(self, path: Path, answer: Answering = done) -> None:
        self.requests: list[ApplyRequest] = []
        self.answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Agent:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                request = msgspec.json.decode(file.readline(), type=ApplyRequest)
                self.requests.append(request)
                found = self.answer(request)
                raw = found if isinstance(found, bytes) else msgspec.json.encode(found) + b"\n"
                with suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough
                    connection.sendall(raw)
