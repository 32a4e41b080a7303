"""What nothing has used for a while leaves the cache: it can be made again.

Whoever uses an entry touches it, so entries of builds that run now are never old.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

KEEP_S = 30 * 24 * 3600

PATTERNS = ("indexes/*.msgpack", "objects/*/*", "objects/*/.*.part", "unpacked/*", "unpacked/.*")
"""Below the cache directory. Names with a dot are what a killed process left."""


def touch(path: Path) -> None:
    """Say that an entry was used now; it may have been made read-only, or by someone else."""
    with suppress(OSError):
        os.utime(path)


def forget_old(cache: Path) -> None:
    """Remove entries that nothing has used for `KEEP_S`."""
    oldest = time.time() - KEEP_S
    for pattern in PATTERNS:
        for path in cache.glob(pattern):
            # Another process may be faster.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime >= oldest:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
