"""Finding the first difference."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.build import compare
from bulkhead.build.compare import Partition

ROOT_TYPE = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709").bytes_le


def disk(path: Path, entries: list[tuple[str, int, int]], *, size: int = 128) -> Path:
    """Write a disk image with a GPT of (label, first sector, last sector)."""
    table = b"".join(
        struct.pack("<16s16sQQQ", ROOT_TYPE, bytes(16), first, last, 0)
        + label.encode("utf-16-le").ljust(72, b"\0")
        for label, first, last in entries
    ).ljust(4 * 128, b"\0")
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, 4, size) + bytes(4)
    path.write_bytes(bytes(512) + header.ljust(512, b"\0") + table + bytes(64 * 512))
    return path


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_first_differing_byte_is_found(a: bytes, b: bytes) -> None:
    """As a plain loop over both would find it."""
    longest = max(len(a), len(b))
    plain = next((i for i in range(longest) if a[i : i + 1] != b[i : i + 1]), None)

    assert (None if a == b else compare._within(a, b)) == plain


def test_differences_are_found_beyond_the_first_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files larger than what is read at once; equal ones; one that ends early."""
    monkeypatch.setattr(compare, "CHUNK", 16)
    whole = bytes(range(100))
    a, b, c, d = (tmp_path / name for name in "abcd")
    a.write_bytes(whole)
    b.write_bytes(whole[:70] + b"x" + whole[71:])
    c.write_bytes(whole[:50])
    d.write_bytes(whole)

    assert [compare.first_difference(a, other) for other in (b, c, d)] == [70, 50, None]


def test_an_offset_is_told_by_its_partition(tmp_path: Path) -> None:
    """People know partitions, not offsets into a disk."""
    image = disk(tmp_path / "d", [("esp", 4, 7), ("root-a", 8, 15)])

    assert compare.partitions(image) == [
        Partition("esp", 4 * 512, 8 * 512),
        Partition("root-a", 8 * 512, 16 * 512),
    ]
    assert compare.partition_at(image, 8 * 512 + 5) == "byte 5 of partition 'root-a'"
    assert compare.partition_at(image, 0) is None


@pytest.mark.parametrize("size", [0, 1, 5000, 2**32 - 1])
def test_an_insane_partition_table_is_no_table(tmp_path: Path, size: int) -> None:
    """A damaged image must not make us read or divide without end."""
    assert compare.partitions(disk(tmp_path / "d", [("esp", 4, 7)], size=size)) == []


def test_a_file_without_a_partition_table_has_no_partitions(tmp_path: Path) -> None:
    """Nor has an empty one."""
    image = tmp_path / "d"
    image.write_bytes(b"")

    assert compare.partitions(image) == []


def tree(folder: Path) -> Path:
    """Make a small directory tree."""
    (folder / "usr").mkdir(parents=True)
    (folder / "usr/a").write_text("a")
    (folder / "usr/b").write_text("b")
    (folder / "usr/link").symlink_to("a")
    return folder


def test_equal_trees_have_no_difference(tmp_path: Path) -> None:
    """Times and owners do not count here."""
    assert compare.tree_difference(tree(tmp_path / "1"), tree(tmp_path / "2")) is None


def test_the_first_different_path_is_named(tmp_path: Path) -> None:
    """With what it is and what it should be."""
    wanted = tree(tmp_path / "wanted")
    found = []
    for number in range(5):
        changed = tree(tmp_path / str(number))
        if number == 0:
            (changed / "usr/a").write_text("b")
        elif number == 1:
            (changed / "usr/b").chmod(0o600)
        elif number == 2:
            (changed / "usr/link").unlink()
            (changed / "usr/link").symlink_to("b")
        elif number == 3:
            (changed / "usr/a").unlink()
        else:
            (changed / "aaa").mkdir()
        found.append(compare.tree_difference(changed, wanted))

    assert found == [
        "/usr/a: content 1 bytes, SHA-256 3e23e8160039594a…, "
        "should be 1 bytes, SHA-256 ca978112ca1bbdca…",
        "/usr/b: mode 0600, should be 0644",
        "/usr/link: leads to 'b', should be 'a'",
        "/usr/a is missing",
        "/aaa should not be there",
    ]
