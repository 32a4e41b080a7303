"""Replays the exchanges of tests/conformance/exec against a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from bulkhead.lib.dirs import repository_root
from tests.support.websocket import BINARY, CLOSE, TEXT, WebSocket, closed

FOLDER = repository_root() / "tests" / "conformance" / "exec"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


class Server(TypedDict, total=False):
    """What came from the server."""

    text: list[object]
    output: str
    close: list[object]


class Exchange(TypedDict):
    """One file."""

    about: str
    client: list[list[object]]
    server: Server


class Replay:
    """Plays the client; keeps what comes from the server."""

    def __init__(self, link: WebSocket) -> None:
        self.link = link
        self.text: list[object] = []
        self.output = ""
        self.close: list[object] = []

    def receive(self) -> None:
        """Take one message."""
        opcode, payload = self.link.receive()
        if opcode == TEXT:
            self.text.append(json.loads(payload))
        elif opcode == BINARY:
            self.output += payload.decode()
        elif opcode == CLOSE:
            self.close = list(closed(payload))

    def play(self, steps: list[list[object]]) -> None:
        """Do what the client does, and read on until the server has closed."""
        capacities = 0
        for kind, *values in steps:
            if kind == "capacity":
                capacities += 1
                while len(self.text) < capacities and not self.close:
                    self.receive()
            elif kind == "output":
                while self.output != values[0] and not self.close:
                    self.receive()
            else:
                self._send(str(kind), values)
        while not self.close:
            self.receive()

    def _send(self, kind: str, values: list[object]) -> None:
        if kind == "text":
            self.link.text(json.dumps(values[0]))
        elif kind == "raw":
            self.link.text(str(values[0]))
        elif kind == "binary":
            self.link.binary(str(values[0]).encode())
        else:
            count, text = values
            assert kind == "repeat"
            assert isinstance(count, int)
            for _ in range(count):
                self.link.binary(str(text).encode())


def replay(name: str, server: Path) -> tuple[Server, Server]:
    """Play an exchange against the API on a Unix socket; return what came and what was due."""
    exchange: Exchange = json.loads((FOLDER / f"{name}.json").read_text())
    with WebSocket(server, "/exec") as link:
        played = Replay(link)
        played.play(exchange["client"])
    came = Server(text=played.text, output=played.output, close=played.close)
    due = exchange["server"]
    if "output" not in due:
        del came["output"]
    return came, due
