"""The archive that the kernel unpacks."""

from __future__ import annotations

import io

import pytest

from bulkhead.build import cpio
from bulkhead.model.errors import UserError


def archive(members: dict[str, cpio.Member]) -> bytes:
    """Return the archive's bytes."""
    out = io.BytesIO()
    cpio.write(members, out)
    return out.getvalue()


def fields(raw: bytes) -> list[tuple[str, list[int], bytes]]:
    """Return name, header fields and data of each member; an independent reader of newc."""
    found, at = [], 0
    while at < len(raw):
        assert raw[at : at + 6] == b"070701"
        numbers = [int(raw[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = numbers[6], numbers[11]
        name = raw[at + 110 : at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) // 4 * 4
        found.append((name, numbers, raw[start : start + size]))
        at = (start + size + 3) // 4 * 4
    return found


def test_members_are_sorted_counted_and_owned_by_root_at_time_zero() -> None:
    """Nothing of the machine is in the archive: not its inodes, not its clock, not its users."""
    raw = archive(
        {
            "init": cpio.file(b"program", mode=0o755),
            "dev/console": cpio.character_device(5, 1),
            "dev": cpio.directory(),
        }
    )

    assert [(name, numbers, data) for name, numbers, data in fields(raw)] == [
        ("dev", [1, 0o040755, 0, 0, 2, 0, 0, 0, 0, 0, 0, 4, 0], b""),
        ("dev/console", [2, 0o020600, 0, 0, 1, 0, 0, 0, 0, 5, 1, 12, 0], b""),
        ("init", [3, 0o100755, 0, 0, 1, 0, 7, 0, 0, 0, 0, 5, 0], b"program"),
        ("TRAILER!!!", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0], b""),
    ]


def test_a_missing_directory_is_an_error() -> None:
    """The kernel would leave the file out without a word."""
    with pytest.raises(UserError, match=r"'modules/x\.ko' needs the directory 'modules'"):
        archive({"modules/x.ko": cpio.file(b"")})
