"""Build steps with memory: the same inputs give the stored output.

A step is a name, the hash of everything that it depends on, and a function
that fills a directory. The builder's own source counts as an input, so a
changed builder never returns what an older one made.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import msgspec

import bulkhead
from bulkhead.build import durable
from bulkhead.lib import cachelock
from bulkhead.lib.dirs import repository_root

KEEP_S = 14 * 24 * 3600


def key(*parts: object) -> str:
    """Return the SHA-256 of values that msgspec can encode."""
    encoded = msgspec.json.encode(parts, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()


# Our packages that the builder runs; what runs on a node is hashed with the image's content.
PARTS = ("build", "model", "lib", "render")


@cache
def builder_fingerprint() -> str:
    """Return the hash of the source files that decide what the builder makes."""
    package = Path(bulkhead.__file__).parent
    digest = hashlib.sha256()
    sources = [p for part in PARTS for p in (package / part).rglob("*.py")]
    native = [p for p in (repository_root() / "native").rglob("*") if p.is_file()]
    for path in sorted([*sources, *native]):
        digest.update(f"{path.relative_to(repository_root())}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def folder_fingerprint(folder: Path) -> str:
    """Return the hash of a directory's content: names, executable bits, link targets and bytes."""
    return key(file_fingerprints(folder))


def file_fingerprints(folder: Path) -> dict[str, str]:
    """Return a hash for each file and link below a directory, by relative path."""
    found = {}
    for path in content(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = key("link", os.readlink(path))
        elif path.is_file():
            executable = bool(path.stat().st_mode & 0o100)
            found[name] = key("file", executable, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def content(folder: Path) -> Iterator[Path]:
    """Return what is below a directory, sorted, without bytecode that Python left there."""
    for path in sorted(folder.rglob("*")):
        if "__pycache__" not in path.relative_to(folder).parts:
            yield path


def add_fingerprints(found: dict[str, str], more: Mapping[str, str]) -> None:
    """Add hashes to others; two of the same name become one that depends on both."""
    for name, digest in more.items():
        found[name] = key(found[name], digest) if name in found else digest


def cached(cache_dir: Path, step: str, inputs: str, make: Callable[[Path], None]) -> Path:
    """Return the directory that `make` fills, from the cache when it is there.

    Args:
        cache_dir: the cache's root.
        step: name of the step.
        inputs: hash of everything that the output depends on, but the builder itself.
        make: fills the empty directory that it is given; interrupted or
            failed, it leaves nothing behind.
    """
    cachelock.use(cache_dir)
    path = cache_dir / "steps" / step / key(inputs, builder_fingerprint())
    if not path.is_dir():
        with durable.new_directory(path) as scratch:
            make(scratch)
    os.utime(path)
    return path


def forget_old(cache_dir: Path) -> None:
    """Remove step outputs that nobody has used for two weeks."""
    import shutil

    limit = time.time() - KEEP_S
    for path in (cache_dir / "steps").glob("*/*"):
        if path.stat().st_mtime < limit:
            shutil.rmtree(path, ignore_errors=True)
