"""Removes from the cache what nothing has used for a while: the work of `bulkhead clean`.

Everything in the cache can be made or downloaded again. Whoever uses an entry touches it, so its
time says when that was. What this checkout's locks name stays, however old it is, and so does the
Python environment that runs this.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bulkhead.build import oci, tools, variants
from bulkhead.build.debian import lockfile, objects
from bulkhead.lib import cachelock
from bulkhead.model.errors import HostError

# Part: where its entries are. Names with a dot are what a killed process left.
PARTS = {
    "objects": ("objects/*/*", "objects/*/.*"),
    "unpacked": ("unpacked/*", "unpacked/.*"),
    "indexes": ("indexes/*", "indexes/.*"),
    "tools": ("tools/*", "tools/.*"),
    "steps": ("steps/*/*", "steps/*/.*"),
    "bench": ("bench/*", "bench/.*"),
    "kvm": ("kvm/*", "kvm/.*"),
    "verify": (".verify.*",),
    "venvs": ("venvs/*",),
}
# Not even `everything` takes these: programs of other checkouts may run from them now.
BY_AGE_ONLY = ("venvs",)

BLOCK = 512  # unit of st_blocks


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in one part of the cache."""

    name: str
    entries: int
    size: int
    """Bytes on disk of all entries; a file that several share counts for the first part."""
    removed: int
    """Entries that went, or would go with `dry_run`."""


class Cleaned(msgspec.Struct, frozen=True, kw_only=True):
    """What `clean` did; `bulkhead clean --json` prints it."""

    cache: str
    dry_run: bool
    parts: tuple[Part, ...]
    freed: int
    """Bytes on disk that nothing holds any more."""


def clean(
    cache: Path, *, older_than_s: float, everything: bool = False, dry_run: bool = False
) -> Cleaned:
    """Remove entries of the cache that nothing has used for `older_than_s` seconds.

    Args:
        cache: the cache directory.
        older_than_s: what was used since stays.
        everything: remove what is younger, and what this checkout's locks name, too.
        dry_run: only say what would go.

    Raises:
        HostError: a build uses the cache now, or an entry cannot be removed.
    """
    if not cache.is_dir():
        return Cleaned(cache=str(cache), dry_run=dry_run, parts=(), freed=0)
    with cachelock.alone(cache):
        found = {name: list(_entries(cache, patterns)) for name, patterns in PARTS.items()}
        goes = _judge(cache, time.time() - older_than_s, everything=everything)
        doomed = {name: [p for p in paths if goes(name, p)] for name, paths in found.items()}
        parts, freed = _measure(found, doomed)
        if not dry_run:
            for paths in doomed.values():
                for path in paths:
                    _remove(path)
    return Cleaned(cache=str(cache), dry_run=dry_run, parts=parts, freed=freed)


def _entries(cache: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        # pathlib's `*` matches a leading dot, too.
        hidden = pattern.rpartition("/")[2].startswith(".")
        for path in sorted(cache.glob(pattern)):
            if path.name.startswith(".") == hidden:
                yield path


def _judge(cache: Path, oldest: float, *, everything: bool) -> Callable[[str, Path], bool]:
    """Return whether an entry of a part goes."""
    running = Path(sys.prefix).resolve()
    current = {running} if everything else {running, *_locked(cache)}

    def goes(part: str, path: Path) -> bool:
        if path.resolve() in current:
            return False
        if path.name.startswith(".") and part != "venvs":
            return True  # nobody works on it: we have the cache alone
        return (everything and part not in BY_AGE_ONLY) or path.lstat().st_mtime < oldest

    return goes


def _locked(cache: Path) -> Iterator[Path]:
    """Yield what this checkout's locks name: tool trees, and the packages of everything."""
    locks = [tools.lock_path(name) for name in tools.names()]
    locks += [variants.variants_dir() / name / "variant.lock" for name in variants.names()]
    locks += [oci.lock_path(oci.find(name)) for name in oci.names()]
    for name in tools.names():
        yield from (path.resolve() for path in tools.places(name, cache=cache))
    for path in locks:
        for package in lockfile.read_lock(path).packages if path.exists() else ():
            yield objects.object_path(cache, package.sha256).resolve()


def _measure(
    found: dict[str, list[Path]], doomed: dict[str, list[Path]]
) -> tuple[tuple[Part, ...], int]:
    """Return the sizes of all parts, and what is freed when the doomed entries go.

    Tool trees are hard links to unpacked packages: a file's blocks are free when its last name is.
    """
    seen: set[tuple[int, int]] = set()
    gone: Counter[tuple[int, int]] = Counter()
    freed = 0
    parts = []
    for name, paths in found.items():
        size = 0
        dead = set(doomed[name])
        for path in paths:
            for status in _files(path):
                inode, blocks = (status.st_dev, status.st_ino), status.st_blocks * BLOCK
                if inode not in seen:
                    seen.add(inode)
                    size += blocks
                if path in dead:
                    gone[inode] += 1
                    # A directory's links are its children; nothing else can hold it.
                    if stat.S_ISDIR(status.st_mode) or gone[inode] == status.st_nlink:
                        freed += blocks
        parts.append(Part(name=name, entries=len(paths), size=size, removed=len(dead)))
    return tuple(parts), freed


def _files(path: Path) -> Iterator[os.stat_result]:
    """Yield the status of a file, or of a directory and all that is below it."""
    status = path.lstat()
    yield status
    if stat.S_ISDIR(status.st_mode):
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(Path(entry.path))
                else:
                    yield entry.stat(follow_symlinks=False)


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise HostError(f"cannot be removed: {error.strerror}", where=str(path)) from error
