"""The outer format of a .deb: an `ar` archive of three members, see deb(5).

Reads only what deb(5) allows, so that nothing hides in what other readers
would skip.
"""

from __future__ import annotations

import gzip
import io
import lzma
from pathlib import Path
from typing import IO, BinaryIO, NoReturn, cast

import zstandard

from bulkhead.model.errors import Untrusted

_MAGIC = b"!<arch>\n"
_HEADER = 60
_CHUNK = 1 << 18
_INPUT = 1 << 15

XZ_MEMORY = 128 << 20
"""What decompressing may take: `xz -9` needs about 65 MiB, a hostile archive asks for gigabytes."""


class Member(io.RawIOBase):
    """A read-only window into the archive's file."""

    def __init__(self, file: BinaryIO, *, name: str, start: int, size: int) -> None:
        self._file, self._start, self.size, self._at = file, start, size, 0
        self.name = name

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what io calls it with
        """Read the next bytes; raise if the file ends before the member does."""
        wanted = min(len(buffer), self.size - self._at)
        self._file.seek(self._start + self._at)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise EOFError(f"{self.name} is cut off")
        buffer[:wanted] = data
        self._at += wanted
        return wanted

    def open(self) -> IO[bytes]:
        """Return a stream of the decompressed content.

        Raises:
            Untrusted: a compression that deb(5) does not know.
        """
        stream = io.BufferedReader(self, _CHUNK)
        suffix = self.name.rpartition(".tar")[2]
        if suffix == ".xz":
            return io.BufferedReader(_Xz(stream), _CHUNK)
        if suffix == ".gz":
            return cast("IO[bytes]", gzip.open(stream))
        if suffix == ".zst":
            reader: IO[bytes] = zstandard.ZstdDecompressor().stream_reader(
                stream, read_across_frames=True
            )
            return reader
        if suffix == "":
            return stream
        raise Untrusted(
            f"member {self.name!r} is compressed in an unknown way", where=str(self._file.name)
        )


class _Xz(io.RawIOBase):
    """The decompressed content of a .xz stream, as lzma.open but with a limit on memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = _decompressor()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what io calls it with
        """Read the next bytes; raise if the file ends before the stream does."""
        data = b""
        while not data:
            packed = b""
            if self._decompressor.eof:
                # xz(1): further streams may follow, with zeros between them.
                packed = self._decompressor.unused_data.lstrip(b"\0")
                while not packed:
                    if not (more := self._file.read(_INPUT)):
                        return 0
                    packed = more.lstrip(b"\0")
                self._decompressor = _decompressor()
            elif self._decompressor.needs_input:
                packed = self._file.read(_INPUT)
                if not packed:
                    raise EOFError("its xz stream is cut off")
            data = self._decompressor.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


def members(file: BinaryIO, *, where: Path) -> tuple[Member, Member]:
    """Return the `control.tar` and `data.tar` members of a .deb.

    Raises:
        Untrusted: it is not a .deb of format 2, or one that is cut off.
    """

    def refuse(why: str) -> NoReturn:
        raise Untrusted(f"is not a Debian package: {why}", where=str(where))

    size = file.seek(0, 2)
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        refuse("no ar archive")
    found: list[Member] = []
    position = len(_MAGIC)
    while position < size:
        file.seek(position)
        header = file.read(_HEADER)
        if len(header) < _HEADER or header[58:] != b"`\n":
            refuse("broken header of a member")
        name = header[:16].decode("ascii", "replace").rstrip().removesuffix("/")
        length = header[48:58].decode("ascii", "replace").strip()
        if not length.isdecimal() or position + _HEADER + int(length) > size:
            refuse(f"member {name!r} is cut off")
        found.append(Member(file, name=name, start=position + _HEADER, size=int(length)))
        # Members start at even positions.
        position += _HEADER + int(length) + int(length) % 2
    # deb(5): debian-binary first; names that start with "_" are to be ignored.
    named = [member for member in found if not member.name.startswith("_")]
    kinds = [member.name.partition(".tar")[0] for member in named]
    if kinds != ["debian-binary", "control", "data"]:
        refuse(f"its members are {', '.join(member.name for member in named) or 'missing'}")
    if not named[0].read(16).startswith(b"2."):
        refuse("not of format 2")
    return named[1], named[2]
