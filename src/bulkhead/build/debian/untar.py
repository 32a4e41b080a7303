"""Reads the tar archives of a package within limits, and only the kinds of them that deb(5) allows.

tarfile believes what an archive says about itself: a header of one gigabyte is
read into memory, and pax headers say what they like about numbers, sparse
files and each other. dpkg installs nothing that has those; neither do we.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from bulkhead.build.debian import archive

CHUNK = 1 << 18

LONGEST_NAME = 4096
"""Bytes of a path or a link's target, the final NUL included: PATH_MAX of Linux."""

_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_UNKNOWN = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_SPARSE,
)  # fmt: skip


class Refused(Exception):  # becomes Untrusted with the file's name
    """Content that no package may have."""


@contextmanager
def reading(member: archive.Member, *, limit: int) -> Iterator[tarfile.TarFile]:
    """Yield the tar archive in a package's member, then read what is behind it to the end.

    Args:
        member: the archive, compressed or not.
        limit: how many bytes it may have when it is decompressed.

    Raises:
        Refused: it is larger, or has a header that no package may have. Broken
            data raises whatever its decompression or tarfile raises.
    """
    with member.open() as content:
        stream = _Limited(content, name=member.name, limit=limit)
        file = cast("IO[bytes]", stream)  # nothing but `read` is called
        # Names that are not UTF-8, whatever the locale is, have surrogates in them.
        with tarfile.open(
            fileobj=file, mode="r|", bufsize=CHUNK, tarinfo=_Header, encoding="utf-8"
        ) as tar:
            yield tar
        while stream.read(CHUNK):
            pass  # so that what is cut off or broken after the last member shows


class _Limited:
    """A stream that ends with an error where it becomes larger than it may be."""

    def __init__(self, stream: IO[bytes], *, name: str, limit: int) -> None:
        self._stream, self._name, self._limit = stream, name, limit
        self._left = limit

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise Refused(f"its {self._name} has more than {self._limit} bytes when unpacked")
        return data


class _Header(tarfile.TarInfo):
    """A header as tarfile found it; refuses those that tarfile would follow without a limit."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        # The one method that tarfile's source says may be overridden for types of its own.
        if self.type in _UNKNOWN:
            raise Refused(f"its tar archive has a header of type {self.type!r}, unknown to dpkg")
        if self.size < 0:
            raise Refused(f"{self.name!r} has a size below zero")
        if self.type in _LONG and self.size > LONGEST_NAME:
            raise Refused(f"a name in it has {self.size} bytes, more than {LONGEST_NAME}")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]  # not in typeshed
