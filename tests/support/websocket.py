"""A WebSocket client of RFC 6455, frame by frame, without the library that the server uses."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
from pathlib import Path

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocket:
    """A connection to a path of a server on a Unix socket; pings are answered unless told not to be."""

    def __init__(self, server: Path, path: str, *, headers: str = "", answer: bool = True) -> None:
        self.answer = answer
        self.pings = 0
        self._data = b""
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(30)
        self.link.connect(str(server))
        key = base64.b64encode(os.urandom(16))
        self.link.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{headers}"
            f"Sec-WebSocket-Key: {key.decode()}\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._data:
            self._more()
        self.head, _, self._data = self._data.partition(b"\r\n\r\n")
        self.status = int(self.head.split()[1])
        proof = base64.b64encode(hashlib.sha1(key + GUID).digest())
        assert self.status != 101 or proof in self.head

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *error: object) -> None:
        self.link.close()

    def _more(self) -> None:
        data = self.link.recv(65536)
        if not data:
            raise EOFError
        self._data += data

    def send(self, opcode: int, payload: bytes, *, final: bool = True) -> None:
        """Send a frame, masked as a client must."""
        mask = os.urandom(4)
        pad = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)])
        masked = (int.from_bytes(payload) ^ pad).to_bytes(len(payload))
        self.link.sendall(self.header(opcode, len(payload), final=final) + mask + masked)

    @staticmethod
    def header(opcode: int, length: int, *, final: bool = True) -> bytes:
        """Return the beginning of a masked frame, up to its mask."""
        first = opcode | (0x80 if final else 0)
        if length < 126:
            return bytes([first, 0x80 | length])
        if length < 1 << 16:
            return struct.pack("!BBH", first, 0x80 | 126, length)
        return struct.pack("!BBQ", first, 0x80 | 127, length)

    def text(self, message: str) -> None:
        """Send a text message."""
        self.send(TEXT, message.encode())

    def binary(self, message: bytes) -> None:
        """Send a binary message."""
        self.send(BINARY, message)

    def pong(self) -> None:
        """Answer the next ping."""
        opcode, payload = self.frame()
        while opcode != PING:
            opcode, payload = self.frame()
        self.send(PONG, payload)

    def _take(self, amount: int) -> bytes:
        while len(self._data) < amount:
            self._more()
        taken, self._data = self._data[:amount], self._data[amount:]
        return taken

    def frame(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload; servers do not mask theirs."""
        first, length = self._take(2)
        assert not first & 0x70, "no extension was agreed on"
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return first & 0x0F, self._take(length)

    def receive(self) -> tuple[int, bytes]:
        """Return the next frame that is no ping or pong."""
        while True:
            opcode, payload = self.frame()
            if opcode == PING:
                self.pings += 1
                if self.answer:
                    self.send(PONG, payload)
            elif opcode != PONG:
                return opcode, payload


def closed(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame."""
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()
