"""The socket: one request and one answer each, bad ones too, and leaving when nobody asks."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.host.apply import __main__ as program
from bulkhead.model.apply import MESSAGE_LIMIT, ApplyResult, FileChange
from bulkhead.model.errors import Bug
from tests.support.apply_node import Node

BAD_LINES = (
    b"", b"{", b"[]", b"null", b'{"action": "reboot"}', b'{"action": 1}', b"\xff\xfe", b"\0" * 99,
    b'{"action": "apply", "settings": []}', b'{"action": "apply", "more": 1}',
    b'{"action": "apply", "keys": "settings.motd"}', b"[" * 100_000,
    b'{"action": "plan", "keys": ["' + b"x" * MESSAGE_LIMIT + b'"]}',
)  # fmt: skip


@pytest.fixture
def path(node: Node, tmp_path: Path) -> Iterator[Path]:
    """Serve an agent until nobody has asked for half a second."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "apply.sock"))
    listener.listen()
    served = threading.Thread(
        target=program.serve, args=(listener, node.agent()), kwargs={"idle_s": 0.5}
    )
    served.start()
    yield tmp_path / "apply.sock"
    served.join(10)
    listener.close()
    assert not served.is_alive()


def ask(path: Path, line: bytes, *, half: bool = False) -> ApplyResult:
    """Send a line and return the answer; `half`: close our half instead of ending the line."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        try:
            connection.sendall(line if half else line + b"\n")
            if half:
                connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # it has heard enough; the answer is there all the same
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.endswith(b"\n")
    return msgspec.json.decode(answer, type=ApplyResult)


def test_requests_are_answered(node: Node, path: Path) -> None:
    """One after the other; a request may end with the connection's half instead of its line."""
    node.set({"motd": "hello"})

    assert ask(path, b'{"action": "plan"}').files[0].path == "/etc/motd"
    assert ask(path, b'{"action": "apply"}', half=True).ok
    assert node.read("/etc/motd") == "hello\n"


def test_bad_requests_are_answered_with_an_error(node: Node, path: Path) -> None:
    """None changes anything, and the next one is served."""
    before = node.tree()
    for line in BAD_LINES:
        result = ask(path, line)

        assert not result.ok, line
        assert (result.error or "").startswith("the request cannot be read: "), line
        assert node.tree() == before, line
        assert ask(path, b'{"action": "plan"}').ok, line


def test_bad_keys_are_answered_with_an_error(path: Path) -> None:
    """The message says what is wrong with a key."""
    for key in ("", "settings", 'a."', "x" * 256):
        result = ask(path, json.dumps({"action": "apply", "keys": [key]}).encode())

        assert not result.ok
        assert result.error


def test_a_client_that_goes_away_disturbs_nobody(node: Node, path: Path) -> None:
    """What it asked for is done; the result is kept."""
    node.set({"motd": "hello"})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b'{"action": "apply"}\n')

    assert ask(path, b'{"action": "plan"}').files == ()
    assert json.loads((node.places.state / "result.json").read_bytes())["ok"] is True


def test_an_answer_that_is_too_long_loses_its_differences() -> None:
    """The rest of it is what matters."""
    change = FileChange(path="/etc/motd", change="write", diff="x" * MESSAGE_LIMIT)

    answer = program.fitting(ApplyResult(ok=True, files=(change,)))

    assert msgspec.json.decode(answer, type=ApplyResult).files == (
        FileChange(path="/etc/motd", change="write"),
    )


def test_without_a_socket_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody starts it by hand."""
    monkeypatch.delenv("LISTEN_FDS", raising=False)

    with pytest.raises(Bug, match="started without its socket"):
        program.listener()
