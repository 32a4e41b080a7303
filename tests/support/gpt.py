"""Partition tables for tests, valid ones that a test then damages."""

from __future__ import annotations

import struct
import uuid
import zlib

import msgspec

ENTRIES, ENTRY = 128, 128


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a table."""

    type: uuid.UUID
    id: uuid.UUID
    first: int
    last: int
    label: str = ""


def header(
    *, at: int, other: int, table_at: int, blocks: int, table: bytes, entries: int = ENTRIES
) -> bytes:
    """Return a header with a right checksum (UEFI 5.3.2)."""
    fields = struct.pack(
        "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, at, other, 34, blocks - 34,
        b"D" * 16, table_at, entries, ENTRY, zlib.crc32(table),
    )  # fmt: skip
    return fields[:16] + struct.pack("<I", zlib.crc32(fields)) + fields[20:]


def table(partitions: list[Partition]) -> bytes:
    """Return the rows, padded to the usual 128."""
    rows = b"".join(
        struct.pack(
            "<16s16sQQQ72s", row.type.bytes_le, row.id.bytes_le, row.first, row.last, 0,
            row.label.encode("utf-16-le"),
        )
        for row in partitions
    )  # fmt: skip
    return rows.ljust(ENTRIES * ENTRY, b"\0")


def disk(partitions: list[Partition], *, blocks: int = 256, block: int = 512) -> bytes:
    """Return a disk with both copies of the table."""
    rows = table(partitions)
    table_blocks = len(rows) // block
    image = bytearray(blocks * block)
    image[510:512] = b"\x55\xaa"
    first = header(at=1, other=blocks - 1, table_at=2, blocks=blocks, table=rows)
    image[block : block + len(first)] = first
    image[2 * block : 2 * block + len(rows)] = rows
    backup_at = blocks - 1 - table_blocks
    last = header(at=blocks - 1, other=1, table_at=backup_at, blocks=blocks, table=rows)
    image[backup_at * block : backup_at * block + len(rows)] = rows
    image[(blocks - 1) * block : (blocks - 1) * block + len(last)] = last
    return bytes(image)


def parse(row: bytes) -> Partition:
    """Return what a row of a table says."""
    kind, name, first, last, _, label = struct.unpack("<16s16sQQQ72s", row)
    return Partition(
        type=uuid.UUID(bytes_le=kind),
        id=uuid.UUID(bytes_le=name),
        first=first,
        last=last,
        label=label.decode("utf-16-le").rstrip("\0"),
    )
