"""Keeps the logs of containers short. Run by a timer, and only where there are containers.

Nothing but this is imported: it runs every minute.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

DIRECTORY = Path("/var/log/containers")
LARGEST = 16 * 1024 * 1024
KEPT = 8 * 1024 * 1024

MARK = b"\0cut"
"""What a shortened log begins with; then, in four bytes, little-endian, where its first line does."""
MARK_SIZE = len(MARK) + 4
_HALF_LINE = 1024 * 1024
"""The longest half of a line that is taken away; of a longer one the end stays."""

_COLLAPSE_RANGE = 0x08
_ALIGNMENT = 64 * 1024  # a multiple of every file system's block


def shorten(
    directory: Path, *, largest: int = LARGEST, kept: int = KEPT
) -> tuple[list[str], dict[str, OSError]]:
    """Shorten every log that is longer than `largest` to about `kept`.

    The beginning is cut out of the file in place (fallocate(2),
    FALLOC_FL_COLLAPSE_RANGE): whoever appends to it goes on undisturbed and
    nothing is lost between a copy and a truncation. What is left of the line
    that the cut went through is blanked, and passed over by who reads it.

    Returns:
        The names of those that are shorter now, and why others could not be shortened: one that
        cannot does not keep the others long.
    """
    shortened, failed = [], {}
    for path in sorted(directory.glob("*.log")):
        try:
            size = path.stat().st_size
            if size > largest:
                _cut(path, (size - kept) // _ALIGNMENT * _ALIGNMENT)
                shortened.append(path.stem)
        except FileNotFoundError:
            continue  # the container was removed just now
        except OSError as error:
            failed[path.stem] = error
    return shortened, failed


def _cut(path: Path, length: int) -> None:
    import ctypes  # who reads logs has no use for it

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        in_line = os.pread(descriptor, 1, length - 1) != b"\n"
        mode, offset = ctypes.c_int(_COLLAPSE_RANGE), ctypes.c_int64(0)
        if libc.fallocate(descriptor, mode, offset, ctypes.c_int64(length)) != 0:
            number = ctypes.get_errno()
            if number != errno.EOPNOTSUPP:
                raise OSError(number, os.strerror(number), str(path))
            # Not on ext4 or XFS: lines that are written between these two steps are lost.
            tail = os.pread(descriptor, os.fstat(descriptor).st_size - length, length)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, tail, 0)
        if in_line:
            _blank_half_line(descriptor)
    finally:
        os.close(descriptor)


def _blank_half_line(descriptor: int) -> None:
    end = os.pread(descriptor, _HALF_LINE, 0).find(b"\n") + 1
    if end >= MARK_SIZE:
        os.pwrite(descriptor, MARK + end.to_bytes(4, "little"), 0)
    elif end:  # a few letters, with no room for a mark: an empty line
        os.pwrite(descriptor, b" " * (end - 1), 0)


def first_line(head: bytes) -> int:
    """Return where the first whole line of a log begins.

    Args:
        head: the log's first `MARK_SIZE` bytes.
    """
    length = int.from_bytes(head[len(MARK) : MARK_SIZE], "little")
    return length if head.startswith(MARK) and length <= _HALF_LINE else 0


def main() -> int:
    """Shorten the logs of this node."""
    shortened, failed = shorten(DIRECTORY)
    if shortened:
        sys.stderr.write(f"shortened: {' '.join(shortened)}\n")
    for name, error in failed.items():
        sys.stderr.write(f"cannot shorten the log of container {name!r}: {error}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
