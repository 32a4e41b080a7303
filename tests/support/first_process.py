"""A first process for tests: speaks systemd's protocol on a Unix socket, and has units.

What it answers is what systemd 257 answers; `tests/boot/test_apply.py` holds
the same client against the real one.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jeepney
import msgspec
from jeepney.low_level import Header, HeaderFields, Message, MessageType

MANAGER = "/org/freedesktop/systemd1"


class FakeUnit(msgspec.Struct, kw_only=True):
    """A unit, and what comes of the next job."""

    active: str = "active"
    result: str = "success"
    status: int = 0
    text: str = ""
    job: str = "done"
    """Result of jobs; an empty one never ends."""
    after: str = "active"
    """ActiveState when a job has ended."""
    failing: str = ""
    """Result of the service after a job."""
    condition: bool = True
    """ConditionResult; without it a job ends well and the unit does not run."""
    forgotten: bool = False
    """Nothing refers to it, so that it is not in memory but while a job runs."""
    starts: int = 0
    """Jobs since the last ResetFailedUnit; systemd gives up after five in ten seconds."""


class FirstProcess:
    """The other end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.units: dict[str, FakeUnit] = {}
        self.calls: list[str] = []
        """What was asked for that changes something."""
        self.deaf = False
        self.silent = False
        """It reads and says nothing."""
        self.pings = 0
        self.busy = False
        """It reads the first message with the end of the authentication, as systemd does when it
        comes late, and looks at it only when more comes."""
        self.greeted = 0
        """Connections that asked for a name, as on a bus."""
        self._jobs = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        line = b""
        while not line.endswith(b"BEGIN\r\n"):
            chunk = connection.recv(1)
            if not chunk:
                return
            line += chunk
            if line.endswith(b"\r\n") and b"AUTH EXTERNAL" in line:
                connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
                line = b""
        parser = jeepney.Parser()
        if self.busy:
            parser.add_data(connection.recv(65536))
        while data := connection.recv(65536):
            parser.add_data(data)
            while (message := parser.get_next_message()) is not None:
                if self.deaf:
                    return
                self.pings += message.header.fields[HeaderFields.member] == "Ping"
                if self.silent:
                    continue
                for number, answer in enumerate(self._answers(message), 1):
                    connection.sendall(answer.serialise(serial=number))

    def _answers(self, message: Message) -> Iterator[Message]:
        fields = message.header.fields
        member = fields[HeaderFields.member]
        if member == "Ping":
            yield jeepney.new_method_return(message)
        elif member == "Hello":
            self.greeted += 1
            yield jeepney.new_method_return(message, "s", (":1.7",))
        elif member == "LoadUnit":
            yield jeepney.new_method_return(message, "o", (_path(message.body[0]),))
        elif member == "Get":
            name = _name(fields[HeaderFields.path])
            # A unit without a file can be loaded too, and never runs.
            unit, (_, key) = self.units.get(name, FakeUnit(active="inactive")), message.body
            load = "loaded" if name in self.units else "not-found"
            value: tuple[str, object] = {
                "LoadState": ("s", load), "ConditionResult": ("b", unit.condition),
                "ActiveState": ("s", unit.active), "Result": ("s", unit.result),
                "ExecMainStatus": ("i", unit.status), "StatusText": ("s", unit.text),
            }[key]  # fmt: skip
            yield jeepney.new_method_return(message, "v", (value,))
        elif member == "ResetFailedUnit" and self.units[message.body[0]].forgotten:
            yield jeepney.new_error(
                message, "org.freedesktop.systemd1.NoSuchUnit", "s",
                (f"Unit {message.body[0]} not loaded.",),
            )  # fmt: skip
        elif member == "ResetFailedUnit":
            self.units[message.body[0]].starts = 0
            yield jeepney.new_method_return(message)
        elif member == "Reload":
            self.calls.append("Reload")
            yield jeepney.new_method_return(message)
        else:
            yield from self._job(message, member)

    def _job(self, message: Message, member: str) -> Iterator[Message]:
        name = message.body[0]
        if name not in self.units:
            yield jeepney.new_error(
                message, "org.freedesktop.systemd1.NoSuchUnit", "s", (f"Unit {name} not found.",)
            )
            return
        self.calls.append(f"{member} {name}")
        unit = self.units[name]
        self._jobs += 1
        unit.starts += 1
        if unit.starts > 5:
            unit.job, unit.after, unit.failing = "failed", "failed", "start-limit-hit"
        path = f"{MANAGER}/job/{self._jobs}"
        if not (member.startswith("Try") or "OrTry" in member) or unit.active == "active":
            unit.active = unit.after if unit.condition else "inactive"
            unit.result = unit.failing or unit.result
        # Another unit's job comes first, and this one ends before its number is known.
        yield _removed(f"{MANAGER}/job/999", "other.service", "failed")
        if unit.job:
            yield _removed(path, name, unit.job)
        yield jeepney.new_method_return(message, "o", (path,))


def _removed(path: str, unit: str, result: str) -> Message:
    header = Header(
        jeepney.Endianness.little, MessageType.signal, 0, 1, 0, 0,
        {
            HeaderFields.path: MANAGER, HeaderFields.interface: f"{'org.freedesktop.systemd1'}.Manager",
            HeaderFields.member: "JobRemoved", HeaderFields.signature: "uoss",
        },
    )  # fmt: skip
    return Message(header, (1, path, unit, result))


def _path(name: str) -> str:
    return f"{MANAGER}/unit/" + "".join(f"_{ord(c):02x}" if not c.isalnum() else c for c in name)


def _name(path: str) -> str:
    parts = path.rpartition("/")[2].split("_")
    return parts[0] + "".join(chr(int(part[:2], 16)) + part[2:] for part in parts[1:])


@contextmanager
def first_process(directory: Path) -> Iterator[FirstProcess]:
    """Run one while the block lasts."""
    served = FirstProcess(directory / "systemd-private")
    try:
        yield served
    finally:
        served.close()
