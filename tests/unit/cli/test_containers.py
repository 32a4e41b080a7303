"""The container commands: what they refuse before anything is asked of a machine."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bulkhead.cli import containers
from bulkhead.client.connection import Connection, Interrupted, Missing
from bulkhead.client.containers import Containers
from bulkhead.model.containers import Ended
from bulkhead.model.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "80", "nginx"], "a port mapping cannot be '80'"),
        (["-v", "data", "nginx"], "a volume cannot be 'data'"),
        (["-m", "much", "nginx"], "a size cannot be 'much'"),
        (["-m", "512", "nginx"], "a memory limit of 512 bytes is too little"),
        (["--cpus", "0", "nginx"], "the container cannot be like that"),
        (["-e", "NAME", "nginx"], "--env cannot be 'NAME'"),
        (["--restart", "often", "nginx"], "a restart policy cannot be 'often'"),
        (["--name", "Not A Name", "nginx"], "a container cannot be named 'Not A Name'"),
        (["NGINX:::"], "an image cannot be named 'NGINX:::'"),
    ],
)
def test_run_refuses_in_words(arguments: list[str], words: str) -> None:
    """Each option says what it cannot be."""
    result = CliRunner().invoke(containers.run_command, arguments)

    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)


MADE = {"name": "web", "image": "x", "state": "running", "created": "2026-01-01T00:00:00Z"}


class Listener:
    """Takes one request and answers it; what is posted ends with a brace."""

    def __init__(self, path: Path, answer: object = MADE) -> None:
        self.request = b""
        self._body = json.dumps(answer).encode()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            while not self.request.endswith(
                (b"}",) if self.request[:1] == b"P" else (b"\r\n\r\n",)
            ):
                self.request += connection.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._body)}\r\n\r\n"
            connection.sendall(head.encode() + self._body)

    def close(self) -> dict[str, object]:
        """Return the JSON that was received."""
        self._thread.join()
        self._socket.close()
        _, _, body = self.request.partition(b"\r\n\r\n")
        received: dict[str, object] = json.loads(body or b"{}")
        return received


def test_what_cannot_be_passed_on_is_no_traceback() -> None:
    """A time that is no number, and two kinds of output at once."""
    for words in (["-t", "nan", "a"], ["-t", "inf", "a"], ["-t", "-1", "a"]):
        done = CliRunner().invoke(containers.stop_command, words)
        assert (done.exit_code, done.stderr[:6]) == (2, "Usage:"), words
    done = CliRunner().invoke(containers.run_command, ["-f", "--json", "nginx"])
    assert done.exit_code == 2
    assert "--follow shows what the container writes" in done.stderr


@pytest.mark.parametrize("command", [containers.stop_command, containers.rm_command])
def test_one_name_that_is_wrong_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command
) -> None:
    """What was done is told, and what was not; each name counts once."""
    asked: list[str] = []

    def act(_: Containers, name: str, **options: object) -> Ended:
        asked.append(name)
        if name == "nosuch":
            raise Missing("there is no container 'nosuch'")
        return Ended(name=name)

    monkeypatch.setattr(Containers, "stop", act)
    monkeypatch.setattr(Containers, "remove", act)
    monkeypatch.setenv("BULKHEAD_CONTAINERS", str(tmp_path / "s"))

    done = CliRunner().invoke(command, ["a", "nosuch", "b", "a"])

    assert asked == ["a", "nosuch", "b"]
    assert done.stdout == "a\nb\n"
    assert str(done.exception) == "there is no container 'nosuch'"


def test_an_interrupt_does_not_say_that_nothing_was_done(tmp_path: Path) -> None:
    """The machine has the request, and may carry it out; what changes nothing is not meant."""
    connection = Connection(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(str(tmp_path / "s"))
        service.listen()
        for method, kind in (("POST", Interrupted), ("PATCH", Interrupted), ("GET", None)):
            with pytest.raises(KeyboardInterrupt) as caught, interrupt_soon():
                connection.call(method, "/x", dict, timeout_s=30)
            assert type(caught.value) is (kind or KeyboardInterrupt)
            assert ("may have done" in str(caught.value)) == (kind is not None)
        with pytest.raises(KeyboardInterrupt) as caught, interrupt_soon():
            connection.call("POST", "/x", dict, timeout_s=30, only_asks=True)
        assert type(caught.value) is KeyboardInterrupt


@contextmanager
def interrupt_soon() -> Iterator[None]:
    """Send Ctrl-C to this process in a moment."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_ps_shows_a_container_whose_record_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the table, and what to do is said beside it, where it is in no script's way."""
    why = "/x/bad.json: the record of a container cannot be read\n  hint: remove it"
    bad = MADE | {"name": "bad", "image": "", "unreadable": why}
    listener = Listener(tmp_path / "s", [MADE, bad])
    monkeypatch.setenv("BULKHEAD_CONTAINERS", str(tmp_path / "s"))

    result = CliRunner().invoke(containers.ps_command, [], catch_exceptions=False)
    listener.close()

    rows = [line.split()[:3] for line in result.stdout.splitlines()[1:]]
    assert rows == [["web", "x", "running"], ["bad", "?", "running"]]
    assert result.stderr == f"bad: {why}\n"


def test_run_sends_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options before the image are ours, everything after it belongs to the program."""
    listener = Listener(tmp_path / "s")
    monkeypatch.setenv("BULKHEAD_CONTAINERS", str(tmp_path / "s"))
    arguments = [
        "--name", "web", "-p", "8080:80", "-e", "A=1", "-m", "64m", "--cpus", "1.5", "--pids-limit", "9",
        "--restart", "on-failure:3", "--read-only", "--cap-drop", "ALL", "-v", "data:/d:ro", "--dns",
        "192.0.2.1", "--userns", "host", "nginx", "sh", "-c", "echo --name x",
    ]  # fmt: skip

    result = CliRunner().invoke(containers.run_command, arguments, catch_exceptions=False)
    sent = listener.close()

    assert result.output == "web\n"
    assert {key: value for key, value in sent.items() if value not in (None, {}, [], False)} == {
        "image": "docker.io/library/nginx:latest",
        "name": "web",
        "command": ["sh", "-c", "echo --name x"],
        "env": {"A": "1"},
        "dns": ["192.0.2.1"],
        "ports": [{"host": 8080, "container": 80, "protocol": "tcp", "address": None}],
        "volumes": [{"source": "data", "target": "/d", "read-only": True}],
        "limits": {"memory": 64 << 20, "cpus": 1.5, "processes": 9},
        "read-only": True,
        "userns": "host",
        "restart": {"policy": "on-failure", "attempts": 3},
        "cap-drop": ["ALL"],
        "pull": "never",
    }
