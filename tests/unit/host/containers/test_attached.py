"""The WebSocket of `exec`, with processes of this machine at its other end."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from bulkhead.client.connection import Connection
from bulkhead.client.exec import Attachment
from bulkhead.host.containers import attached, fifos
from bulkhead.model.containers import ExecRequest
from bulkhead.model.errors import UserError
from tests.support.exec_service import served
from tests.support.shim import OneContainer

Ran = tuple[int, bytes]
Run = Callable[..., Ran]


@contextmanager
def service(directory: Path) -> Iterator[Connection]:
    """Serve a container's `exec`."""
    engine = OneContainer(directory)

    async def answer(socket: WebSocket) -> None:
        await attached.serve(socket, engine, "box")

    route = WebSocketRoute("/v1/containers/box/exec", answer)
    with served(Starlette(routes=[route]), directory / "s"):
        yield Connection(directory / "s")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Serve; return what runs a script and pauses after each piece of output."""
    with service(tmp_path) as connection:

        def carried(script: str, *, pause_s: float = 0) -> Ran:
            came = bytearray()

            def write(stream: int, data: bytes) -> None:
                came.extend(data)
                time.sleep(pause_s)

            request = ExecRequest(command=("sh", "-c", script))
            code = Attachment(connection, "box", request, write=write).run()
            return code, bytes(came)

        yield carried


@pytest.mark.slow
@pytest.mark.parametrize("amount", [450_000, 600_000])
def test_a_slow_reader_gets_everything(
    run: Run, monkeypatch: pytest.MonkeyPatch, amount: int
) -> None:
    """What a process wrote before it ended comes, however long that takes."""
    monkeypatch.setattr(attached, "_LAST_WORDS_S", 0.1)
    code, output = run(f"head -c {amount} /dev/zero; exit 3", pause_s=0.15)

    assert (code, len(output)) == (3, amount)


@pytest.mark.slow
def test_last_words_come_while_there_are_any(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a child too, as long as it never pauses for too long."""
    monkeypatch.setattr(attached, "_LAST_WORDS_S", 1.0)
    script = "(for i in 1 2 3 4; do sleep 0.4; echo $i; done; sleep 60) & exit 3"

    assert run(script) == (3, b"1\n2\n3\n4\n")


@pytest.mark.slow
def test_a_child_that_says_nothing_keeps_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the pipe open, and nothing to say."""
    monkeypatch.setattr(attached, "_LAST_WORDS_S", 0.1)
    begin = time.monotonic()

    assert run("sleep 60 & exit 3") == (3, b"")
    assert time.monotonic() - begin < 10


def test_lost_output_is_no_success(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes it for complete would be wrong."""

    async def fail(descriptor: int) -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fifos, "read", fail)
    with pytest.raises(UserError, match="some of the output is lost: Input/output error"):
        run("exit 0")
