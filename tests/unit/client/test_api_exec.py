"""`bulkhead ctl exec` and its client, against the API's real `/exec`."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from bulkhead.client import api_exec
from bulkhead.client.api import Api
from bulkhead.client.api_exec import ApiExec
from bulkhead.host import websockets
from bulkhead.lib.dirs import repository_root
from bulkhead.model.errors import RemoteError
from tests.support.exec_service import Service, heed_interrupts, node, served

SH = ("sh", "-c")


class Node:
    """The API, and what is behind it."""

    def __init__(self, socket: Path, service: Service) -> None:
        self.socket, self.service = socket, service

    def start(
        self,
        *arguments: str,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> subprocess.Popen[bytes]:
        """Run `bulkhead ctl exec` as people do."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(repository_root() / "src"),
            "BULKHEAD_API": str(self.socket),
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "bulkhead", "ctl", "exec", *arguments],
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=heed_interrupts,  # noqa: PLW1509  # only a signal is set
        )

    def run(self, *arguments: str, input: bytes = b"") -> tuple[int, bytes, bytes]:
        """Run it to its end; return exit code, output and errors."""
        pipe = subprocess.PIPE
        running = self.start(*arguments, stdin=pipe, stdout=pipe, stderr=pipe)
        output, errors = running.communicate(input, timeout=60)
        return running.returncode, output, errors


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Serve until the last test here is done."""
    directory = tmp_path_factory.mktemp("e")
    with node(directory) as service:
        yield Node(directory / "api", service)


@pytest.mark.slow
def test_runs_with_pipes(there: Node) -> None:
    """Input and output are carried, errors come with the output, the exit code is the program's."""
    done = there.run("box", "--", *SH, "cat; echo err >&2; exit 7", input=b"in\n")

    assert done == (7, b"in\nerr\n", b"")


@pytest.mark.slow
def test_options_after_the_target_are_the_programs(there: Node) -> None:
    """Also without `--`, and whatever bytes they have."""
    assert (
        there.run("box", "printf", "%s|", "--json", "-t", "\udcc3\udcbc")[1]
        == "--json|-t|ü|".encode()
    )


@pytest.mark.slow
def test_an_unknown_container_is_told(there: Node) -> None:
    """The node's words, with the name it may have been."""
    code, output, errors = there.run("bax", "id")

    assert (code, output) == (1, b"")
    assert errors == (
        b"bulkhead: exec in 'bax': there is no container 'bax'; did you mean 'box'?\n"
    )


@pytest.mark.slow
def test_no_terminal_is_told(there: Node) -> None:
    """-t with piped input cannot work."""
    code, _, errors = there.run("-t", "box", "id")

    assert code == 1
    assert errors.startswith(b"bulkhead: standard input is no terminal\n  hint: leave -t out")


@pytest.mark.slow
def test_runs_without_any_standard_input(there: Node) -> None:
    """As in a service whose descriptor 0 is closed: the program has no input either."""
    argv = f"exec {sys.executable} -P -m bulkhead ctl exec box cat <&-"
    environment = {
        **os.environ,
        "PYTHONPATH": str(repository_root() / "src"),
        "BULKHEAD_API": str(there.socket),
    }
    done = subprocess.run(["sh", "-c", argv], env=environment, check=False, capture_output=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize(("options", "says"), [([], b"yes"), (["-T"], b"no"), (["-t"], b"yes")])
def test_uses_the_terminal_there_is(there: Node, options: list[str], says: bytes) -> None:
    """By itself at a terminal, unless told not to."""
    ours, theirs = pty.openpty()
    running = there.start(
        *options, "box", *SH, "test -t 0 && echo yes || echo no", stdin=theirs, stdout=theirs
    )
    os.close(theirs)

    assert running.wait(60) == 0
    assert os.read(ours, 100).strip() == says
    os.close(ours)


@pytest.mark.slow
def test_a_resized_terminal_is_passed_on(there: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and columns at the start and after SIGWINCH; keys go to the program, Ctrl-C too."""
    monkeypatch.setenv("COLUMNS", "33")
    ours, theirs = pty.openpty()
    resize(ours, 30, 90)
    running = there.start(
        "box", *SH, "trap 'exit 5' INT; while stty size; do sleep 0.1; done",
        stdin=theirs, stdout=theirs,
    )  # fmt: skip
    os.close(theirs)
    read_until(ours, b"30 90")
    resize(ours, 44, 111)
    running.send_signal(signal.SIGWINCH)
    read_until(ours, b"44 111")
    os.write(ours, b"\x03")

    assert running.wait(60) == 5
    os.close(ours)


def resize(terminal: int, rows: int, columns: int) -> None:
    """Give a terminal another size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_until(descriptor: int, end: bytes) -> bytes:
    """Read until something came."""
    data = b""
    while end not in data:
        data += os.read(descriptor, 1000)
    return data


@pytest.mark.slow
def test_ctrl_c_ends_the_process_too(there: Node) -> None:
    """Without a terminal the interrupt is ours, and the connection's end is the process's."""
    pipe = subprocess.PIPE
    running = there.start(
        "box", *SH, "echo started; exec sleep 1000", stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"started\n"
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)

    assert running.returncode == 130
    limit = time.monotonic() + 10
    while time.monotonic() < limit and Path(f"/proc/{there.service.pids[-1]}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{there.service.pids[-1]}").exists()


@pytest.mark.slow
def test_a_reader_that_has_enough_is_no_error_of_ours(there: Node) -> None:
    """As with `| head -1`: the command ends, and so does the process."""
    pipe = subprocess.PIPE
    with there.start("box", "yes", stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        errors = running.stderr.read()

    assert (running.returncode, errors) == (1, b"")


def carried(there: Node, *command: str, stdin: int | None = None, pause_s: float = 0) -> bytes:
    """Run a process with the client itself; return its output, taken slowly at first."""
    came = bytearray()

    def write(data: bytes) -> None:
        if not came:
            time.sleep(pause_s)
        came.extend(data)

    connection = Api(there.socket).connection
    code = ApiExec(connection, "box", command, write=write, stdin=stdin).run()
    assert code == 0
    return bytes(came)


@pytest.mark.slow
def test_carries_much_both_ways(there: Node) -> None:
    """More than all windows and buffers: what comes back is what was sent."""
    data = os.urandom(1 << 20) * 24
    reader, writer = os.pipe()

    def feed() -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(writer, rest) :]
        os.close(writer)

    threading.Thread(target=feed).start()
    came = carried(there, "cat", stdin=reader, pause_s=0.3)
    os.close(reader)

    assert hashlib.sha256(came).digest() == hashlib.sha256(data).digest()


@pytest.mark.slow
@pytest.mark.parametrize("amount", [1, 300_000, 4_000_000])
def test_a_terminal_that_stands_still_does_not_end_it(
    there: Node, monkeypatch: pytest.MonkeyPatch, amount: int
) -> None:
    """As in a pager: output waits for longer than the silence that the protocol allows."""
    monkeypatch.setattr(websockets, "PING_S", 0.05)
    monkeypatch.setattr(websockets, "SILENCE_S", 0.4)
    monkeypatch.setattr(api_exec, "PING_S", 0.05)
    monkeypatch.setattr(api_exec, "SILENCE_S", 0.4)

    came = carried(there, *SH, f"head -c {amount} /dev/zero; sleep 1; echo end", pause_s=1.5)
    assert came == b"\0" * amount + b"end\n"


def bad(what: str) -> Starlette:
    """Return a server that does not keep to the protocol."""

    async def answer(link: WebSocket) -> None:
        await link.accept()
        await link.receive()
        if what == "silence":
            await link.receive()
            await link.receive()
        elif what.startswith("reason:"):
            await link.close(1000, what.removeprefix("reason:"))
        elif what == "error":
            await link.close(1011, "words")
        elif what == "nothing":
            await link.close(1011)
        else:
            await link.send_text(what)
            await link.close(1000, "0")

    return Starlette(routes=[WebSocketRoute("/exec", answer)])


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("reason:", "expected an exit code, got ''"),
        ("reason:-1", "expected an exit code, got '-1'"),
        ("reason:٣", "expected an exit code"),
        ("reason:9999999999", "expected an exit code"),
        ("error", "words"),
        ("nothing", "the machine ended the connection with code 1011"),
        ("{", "the message cannot be read"),
        ('{"Capacity": {"max_messages_outstanding": -1}}', "the message cannot be read"),
        ("silence", "the machine said nothing for 0.2 s"),
    ],
)
def test_a_server_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, words: str
) -> None:
    """Whatever comes, it ends with a sentence."""
    monkeypatch.setattr(api_exec, "SILENCE_S", 0.2)
    monkeypatch.setattr(api_exec, "PING_S", 100)
    monkeypatch.setattr(websockets, "PING_S", 100)
    with served(bad(what), tmp_path / "s"):
        running = ApiExec(Api(tmp_path / "s").connection, "box", ("id",), write=lambda data: None)
        with pytest.raises(RemoteError) as caught:
            running.run()

    assert caught.value.what.startswith(words)


def test_a_server_may_take_its_time_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node's API is started by its socket, which on a busy machine is no matter of seconds."""

    async def answer(link: WebSocket) -> None:
        await asyncio.sleep(0.5)
        await link.accept()
        await link.receive()
        await link.close(1000, "7")

    monkeypatch.setattr(api_exec, "SILENCE_S", 0.2)
    with served(Starlette(routes=[WebSocketRoute("/exec", answer)]), tmp_path / "s"):
        running = ApiExec(Api(tmp_path / "s").connection, "box", ("id",), write=lambda data: None)

        assert running.run() == 7


def test_a_server_that_never_starts_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not waited for without end."""

    async def answer(link: WebSocket) -> None:
        await asyncio.sleep(0.6)
        await link.accept()

    monkeypatch.setattr(api_exec, "START_S", 0.2)
    with served(Starlette(routes=[WebSocketRoute("/exec", answer)]), tmp_path / "s"):
        running = ApiExec(Api(tmp_path / "s").connection, "box", ("id",), write=lambda data: None)
        with pytest.raises(RemoteError, match=r"exec: the machine said nothing for 0\.2 s"):
            running.run()


def test_a_server_without_exec_is_told(tmp_path: Path) -> None:
    """An HTTP status instead of a WebSocket."""
    with served(Starlette(), tmp_path / "s"):
        running = ApiExec(Api(tmp_path / "s").connection, "box", ("id",), write=lambda data: None)
        with pytest.raises(RemoteError, match="the machine refused with status 40"):
            running.run()
