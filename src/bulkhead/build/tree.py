"""A root file system as data: what is at each path, who owns it, where its bytes are.

Steps of the builder take a tree and return or change one; nothing is written
to a real root, so no privileges are needed and owners are exact. `tar.py`
turns a tree into the byte stream that mkfs.erofs reads. Bytes stay in the
content-addressed cache until then.

Paths have no leading slash and no trailing one; `""` is the root itself.
Everything is merged-/usr: `bin`, `lib`, `lib64`, `sbin` are symbolic links.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import msgspec

from bulkhead.model.errors import UserError


class Kind(Enum):
    """What a path is. Devices, sockets and FIFOs have no place in an image."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is at one path."""

    kind: Kind
    mode: int
    """Permission bits, such as 0o755; never setuid, setgid or sticky unless a rule says so."""
    uid: int = 0
    gid: int = 0
    target: str | None = None
    """Of a symbolic link."""
    source: Path | None = None
    """Where a file's bytes are; exclusive with `data`."""
    data: bytes | None = None
    """A small file's bytes themselves."""
    origin: str = "bulkhead"
    """The package that it came from, for size reports and SBOMs."""

    def read(self) -> bytes:
        """Return a file's bytes."""
        if self.data is not None:
            return self.data
        if self.source is None:
            raise UserError(f"a {self.kind.value} has no content")
        return self.source.read_bytes()

    def size(self) -> int:
        """Return a file's size in bytes; 0 for everything else."""
        if self.data is not None:
            return len(self.data)
        return self.source.stat().st_size if self.source is not None else 0


def file(data: bytes | str, *, mode: int = 0o644, origin: str = "bulkhead") -> Entry:
    """Return a file with these bytes."""
    raw = data.encode() if isinstance(data, str) else data
    return Entry(kind=Kind.FILE, mode=mode, data=raw, origin=origin)


def file_from(source: Path, *, mode: int = 0o644, origin: str = "bulkhead") -> Entry:
    """Return a file whose bytes are in `source`."""
    return Entry(kind=Kind.FILE, mode=mode, source=source, origin=origin)


def directory(*, mode: int = 0o755, origin: str = "bulkhead") -> Entry:
    """Return a directory."""
    return Entry(kind=Kind.DIRECTORY, mode=mode, origin=origin)


def symlink(target: str, *, origin: str = "bulkhead") -> Entry:
    """Return a symbolic link."""
    return Entry(kind=Kind.SYMLINK, mode=0o777, target=target, origin=origin)


class Tree:
    """A mutable mapping from path to entry. Iteration is in sorted order of paths."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    @classmethod
    def of(cls, entries: dict[str, Entry]) -> Tree:
        """Return a tree of entries whose paths are normal and whose directories are all there.

        Nothing is checked: for readers of indexes that `put` made once.
        """
        tree = cls()
        tree._entries = entries
        return tree

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def get(self, path: str) -> Entry | None:
        """Return the entry at exactly this path (links are not followed), or None."""
        return self._entries.get(path)

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Yield all paths and entries, sorted by path."""
        for path in self:
            yield path, self._entries[path]

    def put(self, path: str, entry: Entry) -> None:
        """Place `entry` at `path`, over whatever is there; make the directories above it.

        Raises:
            UserError: something above `path` is not a directory, or a
                directory with content would become something else.
        """
        path = normal(path)
        old = self._entries.get(path)
        # Only a directory has something below it: looking costs a pass over all paths.
        if (
            entry.kind is not Kind.DIRECTORY
            and old is not None
            and old.kind is Kind.DIRECTORY
            and any(True for _ in self.below(path))
        ):
            raise UserError(
                f"a directory with content cannot become a {entry.kind.value}", where=path
            )
        self._entries[path] = entry
        above = posixpath.dirname(path)
        while above:
            found = self._entries.get(above)
            if found is None:
                self._entries[above] = directory(origin=entry.origin)
            elif found.kind is not Kind.DIRECTORY:
                raise UserError(f"{above!r} above it is a {found.kind.value}", where=path)
            above = posixpath.dirname(above)

    def remove(self, path: str) -> None:
        """Remove `path` and everything below it; it need not exist."""
        for inner in list(self.below(path)):
            del self._entries[inner]
        self._entries.pop(path, None)

    def below(self, path: str) -> Iterator[str]:
        """Yield all paths strictly below `path`."""
        prefix = f"{path}/" if path else ""
        for candidate in sorted(self._entries):
            if candidate.startswith(prefix) and candidate != path:
                yield candidate

    def resolve(self, path: str) -> str | None:
        """Follow symbolic links inside the tree; return the final path, or None if it dangles."""
        for _ in range(40):
            step = self._resolve_once(normal(path))
            if step is None:
                return None
            final, path = step
            if final:
                return path
        return None

    def _resolve_once(self, path: str) -> tuple[bool, str] | None:
        parts = path.split("/") if path else []
        for count in range(1, len(parts) + 1):
            here = "/".join(parts[:count])
            entry = self._entries.get(here)
            if entry is None:
                return None
            if entry.kind is Kind.SYMLINK and entry.target is not None:
                base = posixpath.dirname(here)
                joined = entry.target if entry.target.startswith("/") else f"{base}/{entry.target}"
                return False, normal("/".join([joined, *parts[count:]]))
        return True, path


def normal(path: str) -> str:
    """Return `path` without leading slash, `.` and `..`; never above the root."""
    return posixpath.normpath(f"/{path}").lstrip("/")
