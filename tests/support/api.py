"""The node's API for tests: the real service on a real Unix socket, with a real store."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from pathlib import Path

import msgspec
import uvicorn

from bulkhead.host import serving, websockets
from bulkhead.host.api import app
from bulkhead.host.api.node import Node
from bulkhead.host.api.places import Places
from bulkhead.host.api.updates import Updater
from bulkhead.model.settings.groups import GENERAL

OS_RELEASE = """NAME="Bulkhead"
ID=bulkhead
VERSION_ID=1.2.3
PRETTY_NAME="Bulkhead 1.2.3 (standalone)"
VARIANT_ID=standalone
IMAGE_VERSION=1.2.3
"""
COMMAND_LINE = "console=ttyS0 roothash=abcdef1234567890abcdef quiet\n"
DEFAULTS: dict[str, object] = {"motd": "Welcome to Bulkhead!"}
TOKEN = "the machine's"
HEADERS = {"Content-Type": "application/json"}
"""What Bottlerocket's client sends with every request, with a body or without."""


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    type: str
    raw: bytes

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.raw.decode()

    def json(self) -> object:
        """Return the body as JSON."""
        assert self.type == "application/json", self
        return json.loads(self.raw)


class _Prompt(uvicorn.Server):
    """Ends when it is told to, and not up to a tenth of a second later."""

    async def main_loop(self) -> None:
        """Wait for the end."""
        while not self.should_exit:
            await asyncio.sleep(0.005)


class Api:
    """A node's API; a context manager that serves from a thread.

    Args:
        directory: of everything it needs; short, for a Unix socket is in it.
        updater: does what commands of updates ask for, as in `Node`.
        defaults: the image's settings.
        shipped: what the image says about its settings is there already.
    """

    def __init__(
        self,
        directory: Path,
        *,
        updater: Updater | None = None,
        defaults: dict[str, object] | None = None,
        shipped: bool = False,
    ) -> None:
        self.directory = directory
        self.socket = directory / "api.sock"
        self.places = Places(
            settings=directory / "settings", run=directory / "run", shipped=directory / "shipped",
            os_release=directory / "os-release", command_line=directory / "cmdline", apply=directory / "apply.sock",
            applied=directory / "applied" / "result.json", reboot=directory / "reboot.sock",
            containers=directory / "containers.sock", boot=directory / "boot",
        )  # fmt: skip
        for path in (
            self.places.run,
            self.places.shipped,
            self.places.applied.parent,
            self.places.boot,
        ):
            path.mkdir(exist_ok=True)
        self.places.os_release.write_text(OS_RELEASE)
        self.places.command_line.write_text(COMMAND_LINE)
        if not shipped:
            place = self.places.shipped
            (place / "groups.json").write_text(json.dumps({"groups": list(GENERAL)}))
            (place / "defaults.json").write_text(json.dumps(defaults or DEFAULTS))
        self.node = Node(self.places, updater=updater)
        config = serving.config(app.make(self.node, token=TOKEN), sockets=websockets.Strict)
        self.server = _Prompt(config)
        self._tcp: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Api:
        self.socket.unlink(missing_ok=True)
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(str(self.socket))
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, args=([unix, self._tcp],))
        self._thread.start()
        while not self.server.started:
            time.sleep(0.001)
        return self

    @property
    def url(self) -> str:
        """Return where it is served over TCP; `TOKEN` is asked for there."""
        assert self._tcp is not None
        return f"http://127.0.0.1:{self._tcp.getsockname()[1]}"

    def _run(self, listeners: list[socket.socket]) -> None:
        asyncio.run(self.server.serve(sockets=listeners))

    def __exit__(self, *error: object) -> None:
        assert self._thread is not None
        self.server.should_exit = True
        self._thread.join()

    def call(self, request: str, body: object = None, *, raw: bytes | None = None) -> Answer:
        """Send `METHOD PATH`, with a body as JSON or raw, on a connection of its own."""
        method, _, path = request.partition(" ")
        data = raw if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        connection.sock.connect(str(self.socket))
        try:
            connection.request(method, path, body=data, headers=HEADERS)
            response = connection.getresponse()
            raw_answer = response.read()
        finally:
            connection.close()
        kind = response.headers.get_content_type() if raw_answer else ""
        return Answer(response.status, kind, raw_answer)

    def set(self, settings: dict[str, object], *, tx: str = "default") -> Answer:
        """Set settings as Bottlerocket's client does."""
        assert self.call(f"PATCH /settings?tx={tx}", settings).status == 204
        return self.call(f"POST /tx/commit_and_apply?tx={tx}")
