"""QEMU's control socket: one command, one answer (QEMU Machine Protocol)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from bulkhead.machine import files
from bulkhead.model.errors import HostError

TIMEOUT_S = 10.0


class Qmp:
    """A connection; QEMU serves one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rwb")
        try:
            self._read()  # the greeting
        except OSError as error:
            raise HostError(f"QEMU does not answer: {error}") from error
        self.execute("qmp_capabilities")

    def close(self) -> None:
        """End the connection, so that others get a turn."""
        self._stream.close()
        self._connection.close()

    def execute(self, command: str, **arguments: object) -> object:
        """Run a command and return what QEMU answers.

        Raises:
            HostError: QEMU refused it, or went away.
        """
        request = {"execute": command, "arguments": arguments}
        try:
            self._stream.write(msgspec.json.encode(request) + b"\n")
            self._stream.flush()
            while True:
                answer = self._read()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise HostError(f"QEMU refused {command}: {answer['error']}")
        except OSError as error:
            raise HostError(f"QEMU did not answer {command}: {error}") from error

    def monitor(self, line: str) -> str:
        """Run a command of the human monitor: some things QMP has no command for."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))

    def _read(self) -> dict[str, object]:
        line = self._stream.readline()
        if not line:
            raise ConnectionResetError("the connection was closed")
        return msgspec.json.decode(line, type=dict[str, object])


@contextmanager
def connect(directory: Path) -> Iterator[Qmp]:
    """Connect to the machine whose files are in `directory`.

    Raises:
        HostError: it does not run.
    """
    connection = _open_socket(directory)
    with closing(connection), closing(Qmp(connection)) as control:
        yield control


def _open_socket(directory: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT_S)
    try:
        # unix(7): a path has at most 108 bytes; by the descriptor it is always short.
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/{files.QMP_SOCKET}")
        finally:
            os.close(descriptor)
    except OSError as error:
        connection.close()
        raise HostError(
            f"cannot reach QEMU: {error.strerror}", where=str(directory / files.QMP_SOCKET)
        ) from error
    return connection
