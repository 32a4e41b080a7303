"""Package indexes in the form in which the resolver reads them.

Parsing the 68,000 paragraphs of Debian's index takes seconds; a second lock
should not. So what was parsed is kept beside the cache's objects, keyed by
the index's SHA-256, with each package still encoded until it is asked for.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from bulkhead.build.debian import checked, deb822, keep, relations
from bulkhead.lib import atomicfile
from bulkhead.model.errors import RemoteError

FORMAT = 2
"""Part of the cached files' names: count it up whenever `Record` changes, or what one may have."""

LONGEST_VERSION = 1000

LIMIT = 512 << 20
"""Bytes of a decompressed index; the largest of Debian's has 60 MB."""

_OPENERS: dict[str, Callable[[io.BytesIO], io.BufferedIOBase]] = {
    ".xz": lzma.LZMAFile,
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One version of a package, as an index describes it; relations are not parsed yet."""

    name: str
    version: str
    architecture: str
    source: str
    path: str
    size: int
    sha256: str
    priority: str
    depends: str
    """`Pre-Depends` and `Depends`."""
    provides: str
    conflicts: str
    """`Conflicts` and `Breaks`."""


_FIELDS = (
    "Package", "Version", "Architecture", "Source", "Filename", "Size", "SHA256", "Priority",
    "Pre-Depends", "Depends", "Provides", "Conflicts", "Breaks",
)  # fmt: skip


class Index(msgspec.Struct, frozen=True, array_like=True):
    """All packages of one index."""

    packages: dict[str, msgspec.Raw]
    """Encoded lists of records by name."""
    providers: dict[str, list[str]]
    """Names of the packages that provide a name."""

    def records(self, name: str) -> list[Record]:
        """Return all versions of the package called `name`."""
        raw = self.packages.get(name)
        return [] if raw is None else _RECORDS.decode(raw)


_RECORDS = msgspec.msgpack.Decoder(list[Record])
_INDEX = msgspec.msgpack.Decoder(Index)


def record(fields: Mapping[str, str], *, path: str, size: int, sha256: str) -> Record:
    """Make a record of a paragraph of an index, or of a package's control file.

    Raises:
        KeyError: a field is missing that every package has.
        ValueError: its name or version cannot be one.
    """
    name, version = fields["Package"], fields["Version"]
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:100]!r} cannot be a package's name")
    # Python refuses numbers of more than 4300 digits, which nobody would expect of a comparison.
    if not 0 < len(version) <= LONGEST_VERSION:
        raise ValueError(f"version of {name!r} has {len(version)} characters")
    source, _, source_version = fields.get("Source", name).partition(" ")
    return Record(
        name=name,
        version=version,
        architecture=fields["Architecture"],
        source=f"{source} ({source_version.strip('() ') or version})",
        path=path,
        size=size,
        sha256=sha256,
        priority=fields.get("Priority", "optional"),
        depends=_join(fields, "Pre-Depends", "Depends"),
        provides=fields.get("Provides", ""),
        conflicts=_join(fields, "Conflicts", "Breaks"),
    )


def _join(fields: Mapping[str, str], *names: str) -> str:
    return ", ".join(fields[name] for name in names if name in fields)


def make(records: Iterable[Record]) -> bytes:
    """Return the encoded index of these packages."""
    packages: dict[str, list[Record]] = {}
    providers: dict[str, dict[str, None]] = {}
    for row in records:
        packages.setdefault(row.name, []).append(row)
        for name in _provided(row):
            providers.setdefault(name, {})[row.name] = None
    return msgspec.msgpack.encode((packages, {name: list(by) for name, by in providers.items()}))


def _provided(row: Record) -> list[str]:
    """Return what else a package counts as; nothing when it says so in a broken way.

    One such package is no reason to refuse all others. `universe.Candidate`
    refuses it, with its name, where it would be chosen.
    """
    try:
        return [group[0].name for group in relations.parse(row.provides)]
    except RemoteError:
        return []


def decode(encoded: bytes) -> Index:
    """Read what `make` returned."""
    return _INDEX.decode(encoded)


def cached(sha256: str, *, cache: Path) -> Index | None:
    """Return the index whose published file has this hash, if it was parsed before."""
    path = _path(sha256, cache)
    try:
        found = decode(path.read_bytes())
        keep.touch(path)
        return found
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def parse(data: bytes, *, suffix: str, architecture: str, where: str) -> bytes:
    """Parse a verified `Packages` file into an encoded index.

    Args:
        data: the file.
        suffix: how it is compressed: `.xz`, `.gz`, `.bz2` or nothing.
        architecture: others than this one and `all` are left out.
        where: its URL, for messages.

    Raises:
        RemoteError: it is not a package index, or says of a package what cannot be.
    """
    try:
        text = _plain(data, suffix).decode()
    except (lzma.LZMAError, zlib.error, OSError, EOFError, ValueError) as error:
        raise RemoteError(f"is not a package index: {error!r}", where=where) from error
    return make(_parse(text, architecture, where))


def _plain(data: bytes, suffix: str) -> bytes:
    if not suffix:
        return data
    with _OPENERS[suffix](io.BytesIO(data)) as stream:
        plain = stream.read(LIMIT + 1)
    if len(plain) > LIMIT:
        raise ValueError(f"more than {LIMIT} bytes when decompressed")
    return plain


def _parse(text: str, architecture: str, where: str) -> Iterator[Record]:
    for fields in deb822.paragraphs(text, _FIELDS):
        try:
            if fields["Architecture"] in (architecture, "all"):
                yield record(
                    fields,
                    path=checked.path(fields["Filename"]),
                    size=checked.size(fields["Size"]),
                    sha256=checked.sha256(fields["SHA256"]),
                )
        except KeyError as error:
            raise _bad(f"it has no field {error}", fields, where) from error
        except ValueError as error:
            raise _bad(str(error), fields, where) from error


def _bad(why: str, fields: Mapping[str, str], where: str) -> RemoteError:
    name = fields.get("Package", "without a name")
    return RemoteError(f"package {name[:100]}: {why}", where=where)


def store(sha256: str, encoded: bytes, *, cache: Path) -> None:
    """Remember an encoded index by the hash of the published file."""
    path = _path(sha256, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomicfile.write(path, encoded)


def _path(sha256: str, cache: Path) -> Path:
    return cache / "indexes" / f"{sha256}.{FORMAT}.msgpack"
