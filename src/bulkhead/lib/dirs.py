"""Where Bulkhead keeps what it can make again (cache) and what it cannot (state).

Both follow the XDG Base Directory Specification and can be moved with
`BULKHEAD_CACHE` and `BULKHEAD_STATE`.

    cache/objects/aa/SHA256     downloaded artifacts, content-addressed, read-only
    cache/indexes/              verified repository indexes
    cache/tools/KEY/            tool trees
    cache/steps/STEP/KEY/       outputs of build steps
    cache/venvs/KEY/            Python environments of the launcher
    cache/.lock                 shared by builds, needed alone to clean (`lib.cachelock`)
    state/machines/NAME/        machines of `bulkhead up`
"""

from __future__ import annotations

import os
from pathlib import Path


def repository_root() -> Path:
    """Return the checkout that this package runs from."""
    return Path(__file__).resolve().parents[3]


def absolute(path: Path) -> Path:
    """Return a path from the root, without `..`.

    A sandbox has what it is given and nothing else, so the directory that a
    `..` goes back from is not there.
    """
    return path.resolve() if ".." in path.parts else path.absolute()


def cache_dir() -> Path:
    """Return the cache directory; it may not exist yet."""
    return _directory("BULKHEAD_CACHE", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """Return the state directory; it may not exist yet."""
    return _directory("BULKHEAD_STATE", "XDG_STATE_HOME", ".local/state")


def _directory(own: str, xdg: str, default: str) -> Path:
    if value := os.environ.get(own):
        return absolute(Path(value))
    base = os.environ.get(xdg)
    # The specification says that relative paths must be ignored.
    if base and os.path.isabs(base):
        return absolute(Path(base) / "bulkhead")
    return absolute(Path.home() / default / "bulkhead")
