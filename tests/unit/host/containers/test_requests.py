"""How the privileged programs are asked: what passes, and what becomes of descriptors."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead.host.containers import requests
from bulkhead.host.containers.requests import Action, Reply
from bulkhead.model.errors import Bug, HostError, UserError


@contextmanager
def server(path: Path, actions: Mapping[str, Action]) -> Iterator[None]:
    """Serve until nobody has asked for a moment."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(
            target=requests.serve, args=(listener, actions), kwargs={"idle_s": 0.2}
        )
        thread.start()
        yield
        thread.join()


def say(path: Path, line: bytes) -> bytes:
    """Send bytes to a server and return what it answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").readline()


def greet(name: str, _: Sequence[int]) -> Reply:
    """Answer with the name."""
    return Reply(address=f"for {name}")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"action": "greet", "name": "../../etc"}\n', b"no name of a container"),
        (b'{"action": "greet", "name": "a/b"}\n', b"no name of a container"),
        (b'{"action": "greet", "name": ""}\n', b"no name of a container"),
        (b'{"action": "greet", "name": "web", "path": "/"}\n', b"cannot be read"),
        (b'{"action": "format", "name": "web"}\n', b"there is no action"),
        (b"x" * 5000, b"not one line"),
        (b'{"action"', b"not one line"),
        (b"\n", b"cannot be read"),
        (b'{"action": "\xff"}\n', b"cannot be read: it is not UTF-8"),
        (b"[" * 4000 + b"\n", b"cannot be read"),
        (b'{"action": "greet", "name": "web"}\n', b'{"address":"for web"}\n'),
    ],
)
def test_refuses_what_is_not_a_request(tmp_path: Path, line: bytes, words: bytes) -> None:
    """A name becomes a path and an argument: nothing else may pass."""
    with server(tmp_path / "s", {"greet": greet}):
        assert words in say(tmp_path / "s", line)


def test_descriptors_go_both_ways_and_are_closed(tmp_path: Path) -> None:
    """A program gets what it was sent, gives what it made, and keeps neither."""
    (tmp_path / "file").write_text("text")

    def copy(_: str, descriptors: Sequence[int]) -> Reply:
        reader, writer = os.pipe()
        os.write(writer, os.read(descriptors[0], 100))
        os.close(writer)
        return Reply(descriptors=(reader,))

    before = len(os.listdir("/proc/self/fd"))
    with server(tmp_path / "s", {"copy": copy}), (tmp_path / "file").open("rb") as file:
        (got,) = requests.ask(
            tmp_path / "s", "copy", "web", descriptors=(file.fileno(),), expected=1
        )

    assert os.read(got, 100) == b"text"
    assert not os.get_inheritable(got)
    os.close(got)
    assert len(os.listdir("/proc/self/fd")) == before


def test_whoever_asks_is_told_what_went_wrong(tmp_path: Path) -> None:
    """An error of the other side, an answer that is not complete, and nobody there."""

    def refuse(_: str, __: Sequence[int]) -> Reply:
        raise UserError("there is no container 'web'")

    with server(tmp_path / "s", {"refuse": refuse, "greet": greet}):
        with pytest.raises(HostError, match="there is no container 'web'"):
            requests.ask(tmp_path / "s", "refuse", "web")
        with pytest.raises(HostError, match="the program gives something else"):
            requests.ask(tmp_path / "s", "greet", "web", expected=1)
    with pytest.raises(HostError, match=r"the program does not answer: .*No such file"):
        requests.ask(tmp_path / "none", "greet", "web")


def test_a_program_ends_with_1_without_its_socket(caplog: pytest.LogCaptureFixture) -> None:
    """What it would have prepared is left alone."""
    prepared: list[object] = []

    assert requests.run({}, prepare=prepared.append) == 1
    assert prepared == []
    assert "started without its socket" in caplog.text


def test_descriptors_of_the_first_process_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is started by hand says so, instead of serving what happens to be open."""
    with pytest.raises(Bug, match="started without its socket"):
        requests.given()
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")
    monkeypatch.setenv("LISTEN_FDNAMES", "")
    with pytest.raises(Bug, match="started without 'requests'"):
        requests.listener(requests.given())
