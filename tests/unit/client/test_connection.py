"""What a client says when the way to a machine, or its answer, is not as it should be."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.client import connection as module
from bulkhead.client.api import Api
from bulkhead.client.connection import Busy, Conflict, Connection, Missing, Unprocessable
from bulkhead.model.channel import Channel
from bulkhead.model.errors import BulkheadError, HostError, RemoteError, UserError

JSON = "application/json"


class Server:
    """Answers connections over IPv4 with prepared bytes, one after another; then with the last."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with link:
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer == b"":  # what QEMU does where nobody listens in the machine
                    continue
                self.requests.append(link.recv(65536))
                if answer != b"silence":
                    link.sendall(answer)
                else:
                    time.sleep(0.5)

    def close(self) -> None:
        """Stop."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    """Return a server without answers yet."""
    made = Server()
    yield made
    made.close()


def client(server: Server) -> Connection:
    """Return a client of it, over IPv4."""
    return Connection(Channel(host="127.0.0.1", port=server.port, token="t"), hint="look there")


def answer(status: str, body: bytes, kind: str = JSON) -> bytes:
    """Return an HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 x", UserError),
        ("401 x", RemoteError),
        ("403 x", UserError),
        ("404 x", Missing),
        ("409 x", Conflict),
        ("413 x", UserError),
        ("422 x", Unprocessable),
        ("423 x", Busy),
        ("500 x", HostError),
        ("502 x", RemoteError),
        ("503 x", Busy),
        ("507 x", HostError),
    ],
)
def test_a_status_says_whose_turn_it_is(
    server: Server, status: str, kind: type[BulkheadError]
) -> None:
    """Plain text, as Bottlerocket's endpoints have it, and a problem in JSON are told alike."""
    server.answers = [
        answer(status, b"it is\x1b[2J wrong\n", "text/plain; charset=utf-8"),
        answer(status, b'{"error": "it is wrong", "where": "there", "hint": "do this"}'),
    ]
    with pytest.raises(kind) as plain:
        client(server).call("POST", "/x", dict[str, int])
    with pytest.raises(kind) as told:
        client(server).call("POST", "/x", dict[str, int])

    assert (plain.value.what, plain.value.where) == ("it is [2J wrong", None)
    assert str(told.value) == "there: it is wrong\n  hint: do this"
    assert told.value.exit_code == (75 if kind is Busy else 1)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (answer("200 OK", b"[]"), "the machine's answer cannot be read: Expected `object`"),
        (answer("200 OK", b"\xff"), "the machine's answer cannot be read"),
        (answer("500 x", b"<html>"), "the machine answered with status 500"),
        (answer("500 x", b"", "text/plain"), "the machine answered with status 500"),
        (b"SSH-2.0-OpenSSH\r\n", "the connection to the machine broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "the connection to the machine broke"),
        (b"HTTP/1.1 200 " + b"x" * 70000, "the connection to the machine broke"),
    ],
)
def test_answers_that_are_none_are_told(server: Server, raw: bytes, words: str) -> None:
    """Whatever listens there, it ends with a sentence."""
    server.answers = [raw]

    with pytest.raises(RemoteError) as caught:
        client(server).call("GET", "/x", dict[str, int])
    assert caught.value.what.startswith(words)


def test_a_silent_machine_is_given_up(server: Server) -> None:
    """After the time that the caller has."""
    server.answers = [b"silence"]

    with pytest.raises(RemoteError, match=r"the machine did not answer within 0\.1 s") as caught:
        client(server).call("GET", "/x", dict[str, int], timeout_s=0.1)
    assert caught.value.where == "GET /x"


def test_waits_for_a_service_that_is_about_to_start(server: Server) -> None:
    """A connection that is closed at once was to nobody; asking is tried again."""
    server.answers = [b"", b"", answer("200 OK", b'{"a": 1}')]

    assert client(server).call("GET", "/x", dict[str, int]) == {"a": 1}
    assert b"Authorization: Bearer t\r\n" in server.requests[0]


def test_what_changes_something_is_asked_for_once(server: Server) -> None:
    """Nobody knows whether it was carried out."""
    server.answers = [b"", answer("200 OK", b'{"a": 1}')]

    with pytest.raises(RemoteError, match="the connection to the machine broke") as caught:
        client(server).call("POST", "/x", dict[str, int])
    assert caught.value.hint == "look there"


def test_nobody_there_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection over IPv4 is tried for `PATIENCE_S`."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    begun = time.monotonic()

    with pytest.raises(RemoteError, match="the machine does not answer: Connection refused") as e:
        Connection(Channel(host="127.0.0.1", port=port)).call("GET", "/x", dict[str, int])
    assert 0.3 < time.monotonic() - begun < 2
    assert (e.value.where, e.value.hint) == (
        f"127.0.0.1:{port}",
        "is it running? start it with `bulkhead up`",
    )


@pytest.mark.slow
def test_a_socket_that_appears_in_time_is_used(tmp_path: Path) -> None:
    """A node that is just starting gets two seconds."""
    path = tmp_path / "s"

    def listen() -> None:
        time.sleep(0.5)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            link, _ = listener.accept()
            with link:
                link.recv(65536)
                link.sendall(answer("200 OK", b'{"arch": "x86_64"}'))

    thread = threading.Thread(target=listen)
    thread.start()

    assert Api(path).os() == {"arch": "x86_64"}
    thread.join()


def test_a_socket_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the unit on the node."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    (tmp_path / "file").write_text("")

    with pytest.raises(RemoteError, match="the machine does not answer") as caught:
        Api(tmp_path / "file").health()
    assert caught.value.hint is not None
    assert "bulkhead-api.socket" in caught.value.hint


def test_a_path_that_no_socket_can_have_is_told(tmp_path: Path) -> None:
    """unix(7): 108 bytes. Nothing is waited for that cannot come."""
    begun = time.monotonic()
    with pytest.raises(RemoteError, match="AF_UNIX path too long"):
        Api(tmp_path / ("x" * 200)).health()
    assert time.monotonic() - begun < 1


def test_answers_of_any_status_can_be_had(server: Server) -> None:
    """For `raw`: the caller looks at the status."""
    server.answers = [answer("418 teapot", b"short", "text/plain")]
    got = client(server).send("GET", "/x")

    assert (got.status, got.media_type, got.body) == (418, "text/plain", b"short")
