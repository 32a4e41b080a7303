"""Formats of a disk image beside raw: qcow2 for virtual machines, raw.zst for downloads.

All come from the raw image and hold the same disk.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.lib import atomicfile
from bulkhead.model.errors import HostError

if TYPE_CHECKING:
    from bulkhead.build.tools import Tools

ZSTD_LEVEL = 9


class Format(Enum):
    """What a disk image can be written as; the value is also the file name's suffix."""

    RAW = "raw"
    QCOW2 = "qcow2"
    RAW_ZST = "raw.zst"


TOOL_SETS = {Format.QCOW2: "qcow2", Format.RAW_ZST: "image"}
"""The tool set that `write` needs for a format; raw needs none."""


def write(raw: Path, out: Path, *, form: Format, tools: Tools | None = None) -> None:
    """Write the raw image `raw` as `form` to `out`; it appears whole or not at all.

    Args:
        raw: a raw disk image.
        out: the result.
        form: its format.
        tools: the tool tree of `TOOL_SETS`; none for raw.

    Raises:
        HostError: a tool failed, the disk is full, or `tools` is missing.
    """
    if form is not Format.RAW and tools is None:
        raise HostError(f"writing {form.value} needs the tool set {TOOL_SETS[form]!r}")
    with atomicfile.scratch_directory(out) as scratch:
        result = scratch / "disk"
        if form is Format.RAW or tools is None:
            copy_sparse(raw, result)
        elif form is Format.QCOW2:
            # One coroutine: clusters are allocated in the order of the disk,
            # so that the file is the same every time.
            argv = ["qemu-img", "convert", "-m", "1", "-f", "raw", "-O", "qcow2", str(raw), str(result)]  # fmt: skip
            tools.run(argv, reads=[raw], writes=[scratch])
        else:
            # The number of threads does not change the result as long as there is one at least.
            argv = ["zstd", f"-{ZSTD_LEVEL}", "-T0", "--quiet", "--no-progress", str(raw), "-o", str(result)]  # fmt: skip
            tools.run(argv, reads=[raw], writes=[scratch])
        os.chmod(result, 0o644)
        os.replace(result, out)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file; what is a hole in `source` is one in `target`.

    Raises:
        HostError: a file cannot be read or written.
    """
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            size = os.fstat(reader.fileno()).st_size
            writer.truncate(size)
            for start, end in _data(reader.fileno(), size):
                _copy_range(reader.fileno(), writer.fileno(), start, end)
    except OSError as error:
        raise HostError(f"cannot copy {source} to {target}: {error.strerror}") from error


def _data(descriptor: int, size: int) -> list[tuple[int, int]]:
    """Return where an open file has data: pairs of start and end."""
    ranges: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        at = os.lseek(descriptor, start, os.SEEK_HOLE)
        ranges.append((start, at))
    return ranges


def _copy_range(reader: int, writer: int, start: int, end: int) -> None:
    while start < end:
        chunk = os.pread(reader, min(end - start, 1 << 22), start)
        if not chunk:
            raise OSError(None, "the file became shorter while it was copied")
        start += os.pwrite(writer, chunk, start)
