"""A full disk, said so that people know what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bulkhead.model.errors import HostError


@contextmanager
def needs_space(path: Path, size: int) -> Iterator[None]:
    """Turn "no space left" while writing `path` into an error that says how much it takes.

    Args:
        path: what is written.
        size: about how many bytes it takes.

    Raises:
        HostError: the disk is full, or `path` may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = 0
            with suppress(OSError):
                free = shutil.disk_usage(path.parent).free
            raise HostError(
                f"no space left: it takes about {_megabytes(size)}, {_megabytes(free)} are free",
                where=str(path), hint="make room, or set BULKHEAD_CACHE to a larger disk",
            ) from error  # fmt: skip
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise HostError(
                f"cannot be written: {error.strerror}", where=str(path),
                hint="set BULKHEAD_CACHE to a directory of yours",
            ) from error  # fmt: skip
        raise


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
