"""Where two files that should be the same differ first, in words that lead to the cause."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bulkhead.build.tools import Tools
from bulkhead.lib.run import CommandFailed

CHUNK = 1 << 20
SECTOR = 512
_LARGEST_TABLE = 1 << 20


class Partition(msgspec.Struct, frozen=True):
    """A partition of a disk image."""

    label: str
    start: int
    end: int
    """First byte after it."""


def first_difference(a: Path, b: Path) -> int | None:
    """Return the offset of the first byte that differs, or None when the files are equal.

    A file that ends early differs where it ends.
    """
    with a.open("rb") as left, b.open("rb") as right:
        offset = 0
        while True:
            one, other = left.read(CHUNK), right.read(CHUNK)
            if one != other:
                return offset + _within(one, other)
            if not one:
                return None
            offset += len(one)


def _within(one: bytes, other: bytes) -> int:
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def partitions(disk: Path) -> list[Partition]:
    """Return the partitions of a raw disk image; none when it has no sane GPT (UEFI 2.10, 5.3)."""
    with disk.open("rb") as file:
        file.seek(SECTOR)
        header = file.read(92)
        if len(header) < 92 or header[:8] != b"EFI PART":
            return []
        first, count, size = struct.unpack_from("<QII", header, 72)
        if not 128 <= size <= 4096 or count * size > _LARGEST_TABLE:
            return []
        file.seek(first * SECTOR)
        table = file.read(count * size)
    found = []
    for start in range(0, len(table) - 127, size):
        kind, _, begin, last = struct.unpack_from("<16s16sQQ", table, start)
        if uuid.UUID(bytes_le=kind).int:
            label = table[start + 56 : start + 128].decode("utf-16-le", "replace").rstrip("\0")
            found.append(Partition(label, begin * SECTOR, (last + 1) * SECTOR))
    return found


def partition_at(disk: Path, offset: int) -> str | None:
    """Return in words in which partition of a disk image an offset is, or None outside of all."""
    for partition in partitions(disk):
        if partition.start <= offset < partition.end:
            return f"byte {offset - partition.start} of partition {partition.label!r}"
    return None


def root_difference(a: Path, b: Path, *, tools: Tools) -> str | None:
    """Return in words which path differs first between two erofs images.

    None when all that can be seen of the files is the same, so that only
    owners, times or the layout of the image differ.

    Args:
        a: the image in question.
        b: what it should be.
        tools: with fsck.erofs.
    """
    with tempfile.TemporaryDirectory(dir=b.parent, prefix=".compare.") as name:
        found, wanted = Path(name) / "found", Path(name) / "wanted"
        try:
            extract(b, wanted, tools=tools)
            extract(a, found, tools=tools)
            return tree_difference(found, wanted)
        except CommandFailed as error:
            # It stops at the first file that it cannot read; that one is there in part.
            if found.is_dir() and (first := tree_difference(found, wanted, only_common=True)):
                return f"damaged: {first}"
            return f"it is no sound erofs: {error}"
        finally:
            make_removable(Path(name))


def extract(image: Path, folder: Path, *, tools: Tools) -> None:
    """Write the files of an erofs image to a new directory; owners are not kept.

    Raises:
        CommandFailed: the image is damaged; what came before that is there.
    """
    folder.mkdir()
    argv = ["fsck.erofs", f"--extract={folder}", "--force", "--no-preserve-owner", str(image)]
    tools.run(argv, reads=[image], writes=[folder])


def make_removable(folder: Path) -> None:
    """Let ordinary users delete what `extract` made."""
    for path, directories, _ in os.walk(folder):
        os.chmod(path, 0o700)
        for name in directories:
            if not os.path.islink(os.path.join(path, name)):
                os.chmod(os.path.join(path, name), 0o700)


def tree_difference(a: Path, b: Path, *, only_common: bool = False) -> str | None:
    """Return in words which path differs first between two directories, or None.

    Args:
        a: the directory in question.
        b: what it should be.
        only_common: look only at the content of what is in both.
    """
    left, right = dict(_entries(a)), dict(_entries(b))
    if only_common:
        left = {path: (*right[path][:2], left[path][2]) for path in left.keys() & right.keys()}
        right = {path: right[path] for path in left}
    for path in sorted(left.keys() | right.keys()):
        if path not in right:
            return f"/{path} should not be there"
        if path not in left:
            return f"/{path} is missing"
        if left[path] != right[path]:
            return f"/{path}: {_change(left[path], right[path])}"
    return None


def _entries(folder: Path) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yield for each path: kind, mode, and content or target."""
    for above, directories, names in os.walk(folder):
        for name in [*directories, *names]:
            path = Path(above) / name
            status = path.lstat()
            if path.is_symlink():
                entry = ("link", "", repr(os.readlink(path)))
            elif path.is_dir():
                entry = ("directory", f"{status.st_mode & 0o7777:04o}", "")
            else:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                content = f"{status.st_size} bytes, SHA-256 {digest[:16]}…"
                entry = ("file", f"{status.st_mode & 0o7777:04o}", content)
            yield path.relative_to(folder).as_posix(), entry


def _change(found: tuple[str, str, str], wanted: tuple[str, str, str]) -> str:
    kind, mode, content = (
        f"{a}, should be {b}" if a != b else "" for a, b in zip(found, wanted, strict=True)
    )
    if kind:
        return f"is a {kind}"
    return (
        f"mode {mode}" if mode else f"{'leads to' if found[0] == 'link' else 'content'} {content}"
    )
