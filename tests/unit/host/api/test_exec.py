"""`/exec` over a real socket, in front of a container service whose processes are this machine's."""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.host import websockets
from bulkhead.host.api import exec as api_exec
from bulkhead.host.api import link as api_link
from bulkhead.model import exec as protocol
from tests.support import exchange
from tests.support.exec_service import Service, api, listening, node, service
from tests.support.websocket import BINARY, CLOSE, PING, TEXT, WebSocket, closed


class Node:
    """The API, and what is behind it."""

    def __init__(self, socket: Path, service: Service) -> None:
        self.socket = socket
        self.service = service

    def connect(self, *, answer: bool = True, headers: str = "") -> WebSocket:
        """Open the WebSocket."""
        return WebSocket(self.socket, "/exec", answer=answer, headers=headers)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Serve until the last test here is done."""
    directory = tmp_path_factory.mktemp("n")
    with node(directory) as service:
        yield Node(directory / "api", service)


def initialize(*command: str, target: str = "box") -> str:
    """Return a client's first message, written from the facts."""
    parts = [{"Unix": list(part.encode())} for part in command]
    return json.dumps({"Initialize": {"command": parts, "target": target, "tty": None}})


def end(link: WebSocket) -> tuple[int, str]:
    """Read until the server closes; return code and reason."""
    while True:
        opcode, payload = link.receive()
        if opcode == CLOSE:
            return closed(payload)


def flood(link: WebSocket) -> None:
    """Send input without end."""
    while True:
        link.binary(b"x" * 128 * 1024)


def wait_until_gone(pid: int) -> bool:
    """Wait at most 10 s for a process to be gone."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("name", exchange.NAMES)
def test_speaks_bottlerockets_protocol(there: Node, name: str) -> None:
    """Each exchange goes as Bottlerocket's client and server would have it."""
    came, due = exchange.replay(name, there.socket)

    assert came == due


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("{", protocol.INVALID, "cannot be read"),
        ("null", protocol.INVALID, "cannot be read"),
        ("[" * 100_000, protocol.INVALID, "cannot be read"),
        ('"Hello"', protocol.INVALID, "cannot be read"),
        ("{}", protocol.INVALID, "expected one of Initialize and Winch"),
        ('{"Initialise": {}}', protocol.INVALID, "unknown field `Initialise`"),
        ('{"Initialize": {"command": [], "target": "box", "tty": null}}', protocol.INVALID, "length"),
        ('{"Initialize": {"command": ["id"], "target": "box"}}', protocol.INVALID, "got `str`"),
        (
            '{"Initialize": {"command": [{"Unix": [256]}], "target": "box"}}',
            protocol.INVALID, "<= 255",
        ),
        (
            '{"Initialize": {"command": [{"Windows": [65]}], "target": "box"}}',
            protocol.INVALID, "missing required field `Unix`",
        ),
        (
            '{"Initialize": {"command": [{"Unix": [255]}], "target": "box"}}',
            protocol.INVALID, "an argument is not UTF-8",
        ),
        (
            '{"Initialize": {"command": [{"Unix": [105, 0]}], "target": "box"}}',
            protocol.INVALID, "an argument has a NUL byte",
        ),
        ('"ContentComplete"', protocol.POLICY, "the first message must be Initialize"),
        ('{"Winch": {"rows": 1, "cols": 1}}', protocol.POLICY, "must be Initialize"),
        (initialize("id", target="bax"), protocol.ERROR, "there is no container 'bax'; did you mean"),
        (initialize("id", target="../images"), protocol.ERROR, "there is no container '../images'"),
    ],
)  # fmt: skip
def test_a_wrong_first_message_is_refused_in_words(
    there: Node, message: str, code: int, words: str
) -> None:
    """The close code says whose fault it is, the reason what is wrong; nothing is run."""
    before = len(there.service.pids)
    with there.connect() as link:
        link.text(message)
        got, reason = end(link)

    assert (got, len(there.service.pids)) == (code, before)
    assert words in reason


def test_input_before_initialize_is_refused(there: Node) -> None:
    """Binary data has no process to go to."""
    with there.connect() as link:
        link.binary(b"x")

        assert end(link) == (protocol.POLICY, "the first message must be Initialize")


def test_a_client_that_says_nothing_is_sent_away(
    there: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ping and pong alone do not keep a connection."""
    monkeypatch.setattr(api_exec, "INITIALIZE_S", 0.1)
    with there.connect() as link:
        assert end(link) == (protocol.POLICY, "no Initialize within 0.1 s")


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ("]", protocol.INVALID, "cannot be read"),
        (initialize("id"), protocol.POLICY, "Initialize came twice"),
        ('{"Winch": {"rows": -1, "cols": 1}}', protocol.INVALID, ">= 0"),
    ],
)
def test_a_wrong_message_later_ends_the_process(
    there: Node, more: str, code: int, words: str
) -> None:
    """What does not keep to the protocol has no process."""
    with there.connect() as link:
        link.text(initialize("sh", "-c", "echo; exec sleep 1000"))
        while link.receive()[0] != BINARY:
            pass
        link.text(more)
        got, reason = end(link)

    assert got == code
    assert words in reason
    assert wait_until_gone(there.service.pids[-1])


def test_input_after_its_end_is_refused(there: Node) -> None:
    """ContentComplete is the last word about input."""
    with there.connect() as link:
        link.text(initialize("sleep", "1000"))
        link.text('"ContentComplete"')
        link.text('"ContentComplete"')
        link.binary(b"x")

        assert end(link) == (protocol.POLICY, "input after ContentComplete")


@pytest.mark.slow
def test_more_messages_than_the_window_are_refused(there: Node) -> None:
    """A client that does not wait for Capacity is closed with 1009; its process ends."""
    with there.connect() as link:
        link.text(initialize("sh", "-c", "echo; exec sleep 1000"))
        while link.receive()[0] != BINARY:
            pass
        try:
            for _ in range(8000):  # the first few hundred go into pipes and sockets
                link.binary(b"x" * 1000)
        except ConnectionError:
            pass
        code, reason = end(link)

    assert (code, reason) == (protocol.SIZE, "more messages than the capacity allows")
    assert wait_until_gone(there.service.pids[-1])


@pytest.mark.slow
def test_a_client_that_keeps_to_the_window_gets_everything_through(there: Node) -> None:
    """2,000 messages of 4 KiB, more than both windows, come back in order."""
    pieces = [struct.pack("!I", number) * 1024 for number in range(2000)]
    came = bytearray()
    written = sent = 0
    with there.connect() as link:
        link.text(initialize("cat"))
        while len(came) < 4096 * len(pieces):
            if sent < len(pieces) and sent - written < 1024:
                link.binary(pieces[sent])
                sent += 1
                if sent % 8:
                    continue
            opcode, payload = link.receive()
            if opcode == BINARY:
                came += payload
            elif opcode == TEXT:
                written = json.loads(payload)["Capacity"]["messages_written"]
        link.text('"ContentComplete"')
        last = end(link)

    assert bytes(came) == b"".join(pieces)
    assert last == (protocol.NORMAL, "0")


def test_a_process_that_ends_while_its_input_comes_is_told(there: Node) -> None:
    """What it did not take is nobody's error: the client gets the exit code, each time."""
    ends = []
    for _ in range(8):
        with there.connect() as link:
            link.text(initialize("sh", "-c", "exit 3"))
            for _ in range(28):
                link.binary(b"x" * 64 * 1024)
            ends.append(end(link))

    assert ends == [(protocol.NORMAL, "3")] * 8


@pytest.mark.parametrize("complete", [False, True])
def test_a_client_that_vanishes_takes_its_process_along(there: Node, *, complete: bool) -> None:
    """No farewell is needed: the connection is the process's life."""
    link = there.connect()
    link.text(initialize("sh", "-c", "echo; exec sleep 1000"))
    if complete:
        link.text('"ContentComplete"')
    while link.receive()[0] != BINARY:
        pass
    link.link.close()

    assert wait_until_gone(there.service.pids[-1])


@pytest.mark.slow
def test_a_client_that_vanishes_while_its_input_is_stuck_does_too(
    there: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads from the client then; a ping that cannot be sent tells."""
    monkeypatch.setattr(websockets, "PING_S", 0.1)
    link = there.connect()
    link.link.settimeout(0.5)
    link.text(initialize("sh", "-c", "echo; exec sleep 1000"))
    while link.receive()[0] != BINARY:
        pass
    with pytest.raises(TimeoutError):
        flood(link)
    link.link.close()

    assert wait_until_gone(there.service.pids[-1])


def test_a_client_that_vanishes_in_the_middle_of_a_flood_does_too(there: Node) -> None:
    """A process that writes without end, to a client that does not read, ends with the client."""
    link = there.connect()
    link.text(initialize("sh", "-c", "while :; do echo flood; done"))
    while link.receive()[0] != BINARY:
        pass
    time.sleep(0.3)
    link.link.close()

    assert wait_until_gone(there.service.pids[-1])


@pytest.mark.parametrize("pieces", [1, 64])
def test_a_huge_message_is_refused_before_it_is_read(there: Node, pieces: int) -> None:
    """A message of 8 EiB, or of endless frames, costs no more memory than the limit."""
    with there.connect() as link:
        try:
            if pieces == 1:
                link.link.sendall(link.header(TEXT, 2**63 - 1) + b"\0\0\0\0")
                for _ in range(websockets.LIMIT // 65536 + 1):
                    link.link.sendall(b"x" * 65536)
            for number in range(pieces if pieces > 1 else 0):
                link.send(TEXT if number == 0 else 0, b" " * (websockets.LIMIT // 32), final=False)
        except ConnectionError:
            pass
        code, reason = end(link)

    assert (code, reason) == (protocol.SIZE, f"a message is longer than {websockets.LIMIT} bytes")


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 64, b"\x83\x80\0\0\0\0", b"\x01\x05hello", b"\x89\xfe\x00\x80\0\0\0\0" + b"x" * 128],
)
def test_what_is_no_websocket_ends_the_connection(there: Node, garbage: bytes) -> None:
    """Reserved bits, unknown opcodes, unmasked frames, pings that are too long."""
    with there.connect() as link:
        link.text(initialize("sh", "-c", "echo; exec sleep 1000"))
        while link.receive()[0] != BINARY:
            pass
        link.link.sendall(garbage)
        with pytest.raises(EOFError):
            end(link)

    assert wait_until_gone(there.service.pids[-1])


def test_compression_is_not_agreed_on(there: Node) -> None:
    """A few bytes can then not become many in our memory."""
    with there.connect(headers="Sec-WebSocket-Extensions: permessage-deflate\r\n") as link:
        assert link.status == 101
        assert b"deflate" not in link.head.lower()


def test_a_dead_container_service_is_told(tmp_path: Path) -> None:
    """The client learns which service to look at."""
    with api(tmp_path / "api", tmp_path / "none"), WebSocket(tmp_path / "api", "/exec") as link:
        link.text(initialize("id"))
        code, reason = end(link)

    assert code == protocol.ERROR
    told = f"{tmp_path / 'none'}: the service does not answer: "
    assert reason.startswith(told[:123])  # a close has no room for more


def test_a_container_service_that_never_answers_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket of a service that does not come up is there; the wait has an end."""
    monkeypatch.setattr(api_link, "HANDSHAKE_S", 0.2)
    with (
        listening(tmp_path / "containers"),
        api(tmp_path / "api", tmp_path / "containers"),
        WebSocket(tmp_path / "api", "/exec") as client,
    ):
        client.text(initialize("id"))
        last = end(client)

    what = f"{tmp_path / 'containers'}: the service does not answer within 0.2 s"
    assert last == (protocol.ERROR, f"{what}; see its journal"[:123])


@pytest.mark.slow
def test_a_container_service_that_has_to_start_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take longer than a client may be silent: the client is asked for signs of life."""
    monkeypatch.setattr(websockets, "PING_S", 0.05)
    monkeypatch.setattr(websockets, "SILENCE_S", 1.0)
    with (
        listening(tmp_path / "containers") as listener,
        api(tmp_path / "api", tmp_path / "containers"),
        WebSocket(tmp_path / "api", "/exec") as client,
    ):
        client.text(initialize("true"))
        begun = time.monotonic()
        while time.monotonic() - begun < 1.5:
            client.pong()
        with service(listener):
            last = end(client)

    assert last == (protocol.NORMAL, "0")


@pytest.mark.slow
def test_nothing_is_run_for_a_client_that_left_while_the_service_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who interrupted a command that took long does not want it any more."""
    monkeypatch.setattr(websockets, "PING_S", 0.05)
    with (
        listening(tmp_path / "containers") as listener,
        api(tmp_path / "api", tmp_path / "containers"),
    ):
        with WebSocket(tmp_path / "api", "/exec") as client:
            client.text(initialize("true"))
            client.text('"ContentComplete"')
            client.pong()
        time.sleep(0.3)
        with service(listener) as started, WebSocket(tmp_path / "api", "/exec") as next_one:
            next_one.text(initialize("false"))
            last = end(next_one)

    assert last == (protocol.NORMAL, "1")
    assert [request.command for request in started.requests] == [("false",)]


@pytest.mark.slow
def test_pings_and_gives_up_who_does_not_answer(
    there: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ping every `PING_S`; who was silent for `SILENCE_S` is closed, and the process ends."""
    monkeypatch.setattr(websockets, "PING_S", 0.05)
    monkeypatch.setattr(websockets, "SILENCE_S", 0.4)
    with there.connect(answer=False) as link:
        link.text(initialize("sleep", "1000"))
        begun = time.monotonic()
        last = end(link)
        lasted = time.monotonic() - begun

    assert last == (protocol.POLICY, "no answer within 0.4 s")
    assert 0.35 < lasted < 5
    assert link.pings >= 4
    assert wait_until_gone(there.service.pids[-1])


@pytest.mark.slow
def test_who_answers_pings_stays(there: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without anything to say lives by its pongs."""
    monkeypatch.setattr(websockets, "PING_S", 0.05)
    monkeypatch.setattr(websockets, "SILENCE_S", 0.3)
    with there.connect() as link:
        link.text(initialize("sleep", "0.9"))

        assert end(link) == (protocol.NORMAL, "0")
    assert link.pings >= 8


@pytest.mark.slow
def test_the_first_frame_of_a_ping_interval_is_a_ping(there: Node) -> None:
    """Pings come as pings, every two seconds as Bottlerocket's."""
    with there.connect() as link:
        begun = time.monotonic()
        opcode, _ = link.frame()
        while opcode != PING:
            opcode, _ = link.frame()

        assert 1.5 < time.monotonic() - begun < 4
