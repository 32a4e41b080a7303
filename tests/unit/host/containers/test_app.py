"""The service over real sockets, on a machine whose containerd is down."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import pytest
import uvicorn

from bulkhead.client.connection import Missing
from bulkhead.client.containers import Containers
from bulkhead.client.exec import Attachment
from bulkhead.host import serving
from bulkhead.host.containers import app
from bulkhead.host.containers.containerd import Containerd
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.places import Places
from bulkhead.model.channel import Channel
from bulkhead.model.containers import ExecRequest, RunRequest
from bulkhead.model.errors import HostError, RemoteError, UserError

TOKEN = "secret"


class Service:
    """The service, listening like on a node: on a Unix socket and over TCP."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "s"
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(str(self.socket))
        self._places = Places(
            records=directory / "records", run=directory / "run", logs=directory / "logs",
            containerd=directory / "no-containerd", network=directory / "no-network",
        )  # fmt: skip
        self._started = threading.Event()
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @property
    def port(self) -> int:
        """Return the TCP port."""
        port: int = self._tcp.getsockname()[1]
        return port

    async def _serve(self) -> None:
        async with Containerd(path=str(self._places.containerd)) as containerd:
            made = app.make(Engine(containerd, self._places), token=TOKEN)
            self._server = uvicorn.Server(serving.config(made))
            self._started.set()
            await self._server.serve(sockets=[self._unix, self._tcp])

    def start(self) -> None:
        """Serve from a thread."""
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """End the thread."""
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Serve until the last test here is done."""
    made = Service(tmp_path_factory.mktemp("s"))
    made.start()
    yield made
    made.stop()


def over_tcp(service: Service, token: str | None) -> Containers:
    """Return the service as a workstation sees it."""
    return Containers(Channel(host="127.0.0.1", port=service.port, token=token))


@pytest.mark.parametrize("token", [None, "", "wrong", "Secret", "secret2", "sécret"])
def test_tcp_wants_the_token(service: Service, token: str | None) -> None:
    """Without it nothing is told, not even whether a container exists."""
    if token is not None and not token.isascii():
        token = token.encode().decode("latin-1")
    with pytest.raises(RemoteError, match="the token is missing or wrong"):
        over_tcp(service, token).inspect("web")
    attachment = Attachment(
        over_tcp(service, token).connection, "web", ExecRequest(command=("x",)),
        write=lambda stream, data: None,
    )  # fmt: skip
    with pytest.raises(RemoteError, match="the machine refused with status 403"):
        attachment.run()


def test_the_token_and_the_unix_socket_let_in(service: Service) -> None:
    """Access to the Unix socket is a matter of its mode."""
    for containers in (over_tcp(service, TOKEN), Containers(service.socket)):
        with pytest.raises(Missing, match="there is no container 'web'"):
            containers.inspect("web")


def ask_as(uid: int, kind: str, method: str, path: str) -> object:
    """Ask the service as a user of the node; return its first answer."""
    answers: list[MutableMapping[str, object]] = []
    arriving: list[MutableMapping[str, object]] = [
        {"type": f"{kind}.connect"} if kind == "websocket" else {"type": "http.request"},
        {"type": f"{kind}.disconnect", "code": 1006},
    ]

    async def send(message: MutableMapping[str, object]) -> None:
        answers.append(message)

    async def receive() -> MutableMapping[str, object]:
        return arriving.pop(0)

    async def ask() -> None:
        places = Places(containerd=Path("/nonexistent"), records=Path("/nonexistent"))
        async with Containerd(path=str(places.containerd)) as containerd:
            service = app.make(Engine(containerd, places), token=TOKEN)
            scope = {
                "type": kind, "method": method, "path": path, "query_string": b"", "headers": [],
                "state": {"peer": serving.Peer(local=True, uid=uid)},
            }  # fmt: skip
            await service(scope, receive, send)

    asyncio.run(ask())
    return answers[0].get("status", answers[0]["type"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/health"),
        ("GET", "/v1/containers"),
        ("POST", "/v1/containers"),
        ("DELETE", "/v1/containers/web"),
        ("POST", "/v1/containers/web/stop"),
        ("GET", "/v1/containers/web/logs"),
        ("DELETE", "/v1/images/web"),
        ("GET", "/v1/containers/web/exec"),
    ],
)
def test_other_users_make_and_see_no_containers(method: str, path: str) -> None:
    """Who takes the node's API over does not get a container with more rights than there are."""
    assert ask_as(274, "http", method, path) == 403
    assert ask_as(0, "http", method, path) != 403


def test_other_users_run_programs_in_containers() -> None:
    """That much the API needs, for its own clients."""
    path = "/v1/containers/web/exec"

    assert ask_as(274, "websocket", "GET", path) == "websocket.accept"


def test_a_dead_containerd_is_told(service: Service) -> None:
    """What failed, where, and what to look at."""
    with pytest.raises(HostError, match="containerd does not answer") as caught:
        Containers(service.socket).health()

    assert caught.value.hint == "see the journal of containerd.service"
    with pytest.raises(HostError, match="containerd does not answer"):
        Containers(service.socket).run(RunRequest(image="x"))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "the request cannot be read"),
        (b"[]", "the request cannot be read"),
        (b'{"image": 5}', "Expected `str`, got `int` - at `$.image`"),
        (b'{"image": "x", "ports": [{"host": 70000, "container": 1}]}', "<= 65535"),
        (b'{"image": "x", "privileged": true}', "unknown field `privileged`"),
        (b'{"image": "x", "ports": [{"host": 7433, "container": 1}]}', "is the machine's own"),
        (b'{"image": "../x"}', "an image cannot be named"),
        (b'{"image": "x", "name": "../../etc"}', "matching regex"),
        (b"[" * 100_000, "the request cannot be read"),
        (b'{"image": "\xff"}', "the request cannot be read: it is not UTF-8"),
        (b'{"image": "x", "labels": ' + b"[" * 100_000, "the request cannot be read"),
    ],
)
def test_bad_requests_are_refused_in_words(service: Service, body: bytes, words: str) -> None:
    """400 and a sentence, never a traceback."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(service.socket))
    connection.request("POST", "/v1/containers", body=body)
    response = connection.getresponse()
    answer = response.read().decode()
    connection.close()

    assert response.status == 400
    assert words in answer


def test_exec_in_an_unknown_container_is_told(service: Service) -> None:
    """Problems of a WebSocket arrive as its last message."""
    attachment = Attachment(
        Containers(service.socket).connection, "web", ExecRequest(command=("x",)),
        write=lambda stream, data: None,
    )  # fmt: skip

    with pytest.raises(UserError, match="there is no container 'web'"):
        attachment.run()


def test_nobody_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that does not run is named, with what to do."""
    monkeypatch.setattr("bulkhead.client.connection.PATIENCE_S", 0.1)

    with pytest.raises(RemoteError, match="the machine does not answer") as caught:
        Containers(tmp_path / "none").health()

    assert caught.value.hint == "is it running? start it with `bulkhead up`"
