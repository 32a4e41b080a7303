"""A tree as a tar stream, the same bytes for the same tree.

mkfs.erofs reads this stream, so owners and modes are exact without any
privilege. Identical files become hard links: an image stores their bytes
once, and the page cache of the node holds them once.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from bulkhead.build.tree import Entry, Kind, Tree
from bulkhead.model.errors import HostError

CHUNK = 1 << 20

Identity = tuple[str, int, int, int]
"""What must be equal for two paths to share one inode: SHA-256, mode, uid, gid."""

# Sources are content-addressed and never change, so a digest stays true for
# as long as size and time of change do; a build that writes the same tree
# twice (image, then a report on it) reads the bytes for hashing once.
_digests: dict[tuple[Path, int, int], str] = {}


def write(tree: Tree, out: BinaryIO, *, epoch: int) -> None:
    """Write `tree` to `out` as a GNU tar stream: sorted paths, numeric owners, one time for all.

    Raises:
        HostError: a file's bytes cannot be read, or changed while being read.
    """
    with tarfile.open(
        # Not the locale's encoding: an image is the same whoever builds it.
        fileobj=out, mode="w|", format=tarfile.GNU_FORMAT, encoding="utf-8",
    ) as archive:  # fmt: skip
        if "" not in tree:
            archive.addfile(_header("", Entry(kind=Kind.DIRECTORY, mode=0o755), epoch))
        shareable = _sizes_seen_twice(tree)
        first: dict[Identity, str] = {}
        for path, entry in tree.items():
            header = _header(path, entry, epoch)
            if entry.kind is not Kind.FILE:
                archive.addfile(header)
                continue
            if header.size in shareable:
                identity = (_digest(path, entry), entry.mode, entry.uid, entry.gid)
                earlier = first.setdefault(identity, path)
                if earlier != path:
                    header.type, header.linkname, header.size = tarfile.LNKTYPE, earlier, 0
                    archive.addfile(header)
                    continue
            _add_file(archive, path, entry, header)


def _header(path: str, entry: Entry, epoch: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path or ".")
    header.mode, header.uid, header.gid, header.mtime = entry.mode, entry.uid, entry.gid, epoch
    if entry.kind is Kind.DIRECTORY:
        header.type = tarfile.DIRTYPE
    elif entry.kind is Kind.SYMLINK:
        header.type, header.linkname = tarfile.SYMTYPE, entry.target or ""
    else:
        header.size = _size(path, entry)
    return header


def _add_file(archive: tarfile.TarFile, path: str, entry: Entry, header: tarfile.TarInfo) -> None:
    try:
        with _open(entry) as content:
            # addfile() stops at the header's size, so only a file that
            # became shorter is noticed there; a longer one was cut.
            archive.addfile(header, content)
            grew = content.read(1) != b""
    except OSError as error:
        raise HostError(
            f"cannot read {path!r} of the tree: {error}", where=_where(entry)
        ) from error
    if grew:
        raise HostError(f"{path!r} of the tree grew while it was read", where=_where(entry))


def _open(entry: Entry) -> BinaryIO:
    if entry.source is not None:
        return entry.source.open("rb")
    return BytesIO(entry.read())


def _size(path: str, entry: Entry) -> int:
    try:
        return entry.size()
    except OSError as error:
        raise HostError(
            f"cannot read {path!r} of the tree: {error}", where=_where(entry)
        ) from error


def _where(entry: Entry) -> str | None:
    return str(entry.source) if entry.source is not None else None


def _sizes_seen_twice(tree: Tree) -> frozenset[int]:
    """Return the sizes that more than one file has: only those need hashing."""
    counts = Counter(_size(path, entry) for path, entry in tree.items() if entry.kind is Kind.FILE)
    return frozenset(size for size, count in counts.items() if count > 1)


def _digest(path: str, entry: Entry) -> str:
    if entry.source is None:
        return hashlib.sha256(entry.read()).hexdigest()
    try:
        status = os.stat(entry.source)
        key = (entry.source, status.st_size, status.st_mtime_ns)
        if key not in _digests:
            with entry.source.open("rb") as content:
                _digests[key] = hashlib.file_digest(content, "sha256").hexdigest()
        return _digests[key]
    except OSError as error:
        raise HostError(
            f"cannot read {path!r} of the tree: {error}", where=_where(entry)
        ) from error
