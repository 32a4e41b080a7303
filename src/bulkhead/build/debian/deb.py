"""Unpacks a .deb into a tree, without running anything and without writing outside the cache.

The bytes of a package are data from elsewhere even when they are signed: a
member's name never becomes a path on this machine. Files are stored under
numbers in `cache/unpacked/SHA256`, and an index beside them says which path
each belongs to; the second `unpack` of a package only reads that index, and
looks whether the files are there and have their sizes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import zstandard

from bulkhead.build import durable, folderlock
from bulkhead.build.debian import archive, deb822, keep, untar
from bulkhead.build.debian.space import needs_space
from bulkhead.build.debian.untar import Refused
from bulkhead.build.tree import Entry, Kind, Tree
from bulkhead.model.errors import HostError, Untrusted

FORMAT = 2
"""Part of the cached directories' names: count it up whenever `_Stored` changes."""

MAX_BYTES = 4 << 30
"""Of the decompressed data archive: everything in it."""
MAX_MEMBERS = 200_000
MAX_PATH_BYTES = 64 << 20
"""Of all paths and targets of links together: they are kept in memory."""
MAX_CONTROL_BYTES = 16 << 20
MAX_OWNER = (1 << 32) - 2
"""Linux counts users and groups in 32 bits; the last number means none."""

SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
"""Maintainer scripts: programs that dpkg would run. `config` is debconf's."""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A .deb, taken apart."""

    name: str
    version: str
    control: Mapping[str, str]
    """Fields of the control file."""
    scripts: Mapping[str, str]
    """Everything else of the control archive as text, by file name: the maintainer scripts
    (see `SCRIPTS`), and `conffiles`, `triggers`, `md5sums`, `shlibs` and so on."""
    tree: Tree
    """What it installs, at the paths of the package (`bin/…` where it says so). Owners and
    modes are the archive's, setuid bits included."""


class _Row(msgspec.Struct, array_like=True):
    """One path of the index. Short field names would not make it smaller: it is an array."""

    path: str
    kind: int
    mode: int
    uid: int
    gid: int
    value: str
    """A symbolic link's target, or the name of the file with a file's bytes."""
    size: int = 0
    """Of that file."""


class _Stored(msgspec.Struct, array_like=True):
    control: dict[str, str]
    scripts: dict[str, str]
    rows: list[_Row]


_KINDS = (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK)
_FILE, _DIRECTORY, _SYMLINK = range(3)
_DECODER = msgspec.msgpack.Decoder(_Stored)
_INDEX = "index.msgpack"


def unpack(deb: Path, *, sha256: str, cache: Path) -> Package:
    """Return the content of a package. Safe to call from any number of threads and processes.

    Args:
        deb: the file.
        sha256: what its bytes must be; checked when it is unpacked for the first time.
        cache: the cache directory; the tree's files are in it.

    Raises:
        Untrusted: other bytes than expected, or content that no package may have.
        HostError: it cannot be read, or there is no space left.
    """
    place = cache / "unpacked" / f"{sha256}.{FORMAT}"
    stored = _read(place)
    if stored is None and place.exists():
        _remove_broken(place)
        stored = _read(place)
    if stored is None:
        stored = _unpack(deb, sha256, place)
    else:
        keep.touch(place)
    return _package(stored, place)


def control(deb: Path) -> dict[str, str]:
    """Return the fields of a package's control file.

    Raises:
        Untrusted: it is not a package.
        HostError: it cannot be read.
    """
    with _open(deb) as file, _refusals(deb):
        return _control(archive.members(file, where=deb)[0])[0]


def _read(place: Path) -> _Stored | None:
    """Return what is stored in `place`, or None unless all of it is there.

    A disk that was damaged, or whoever tidied up, may have taken a part; the sizes show most of
    that for the price of looking.
    """
    base = str(place)
    try:
        stored = _DECODER.decode((place / _INDEX).read_bytes())
        whole = all(
            os.stat(f"{base}/{row.value}").st_size == row.size
            for row in stored.rows
            if row.kind == _FILE
        )
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None
    return stored if whole else None


def _remove_broken(place: Path) -> None:
    """Remove an entry of which something is missing, unless somebody has made it anew meanwhile."""
    with needs_space(place, 0), folderlock.alone(place.parent), suppress(FileNotFoundError):
        # In this order: what was not there a moment ago may have been made by now.
        if place.exists() and _read(place) is None:
            shutil.rmtree(place)


def _package(stored: _Stored, place: Path) -> Package:
    name = stored.control["Package"]
    entries = {}
    base = str(place)
    for row in stored.rows:
        entries[row.path] = Entry(
            kind=_KINDS[row.kind],
            mode=row.mode,
            uid=row.uid,
            gid=row.gid,
            target=row.value if row.kind == _SYMLINK else None,
            source=Path(f"{base}/{row.value}") if row.kind == _FILE else None,
            origin=name,
        )
    return Package(
        name=name,
        version=stored.control["Version"],
        control=stored.control,
        scripts=stored.scripts,
        tree=Tree.of(entries),
    )


def _unpack(deb: Path, sha256: str, place: Path) -> _Stored:
    with _open(deb) as file, _refusals(deb):
        actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != sha256:
            raise Untrusted(
                f"has SHA-256 {actual}, expected {sha256}: it was changed after it was downloaded",
                where=str(deb), hint="remove it; it will be downloaded again",
            )  # fmt: skip
        control_member, data_member = archive.members(file, where=deb)
        fields, scripts = _control(control_member)
        if not {"Package", "Version", "Architecture"} <= fields.keys():
            raise Refused("its control file lacks Package, Version or Architecture")
        with needs_space(place, 8 * deb.stat().st_size), durable.new_directory(place) as scratch:
            rows = _Unpacker(scratch).run(data_member)
            stored = _Stored(control=fields, scripts=scripts, rows=rows)
            (scratch / _INDEX).write_bytes(msgspec.msgpack.encode(stored))
    return stored


def _open(deb: Path) -> io.BufferedReader:
    try:
        return deb.open("rb")
    except OSError as error:
        raise HostError(f"cannot be read: {error.strerror}", where=str(deb)) from error


@contextmanager
def _refusals(deb: Path) -> Iterator[None]:
    """Turn every way in which an archive can be broken into one error that names the file."""
    try:
        yield
    except (
        Refused, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, zstandard.ZstdError,
        gzip.BadGzipFile, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise Untrusted(f"was refused: {error}", where=str(deb)) from error
    except RecursionError as error:
        # tarfile reads what a header for a long name is about by calling itself.
        raise Untrusted("was refused: a name in it has too many headers", where=str(deb)) from error


def _control(member: archive.Member) -> tuple[dict[str, str], dict[str, str]]:
    texts: dict[str, str] = {}
    with untar.reading(member, limit=MAX_CONTROL_BYTES) as tar:
        for info in tar:
            path = _path(info.name)
            if not info.isreg():
                if path == "" and info.isdir():
                    continue
                raise Refused(f"{info.name!r} in its control archive is not a plain file")
            content = tar.extractfile(info)
            if "/" in path or path in texts or content is None:
                raise Refused(f"{info.name!r} in its control archive is out of place")
            # Scripts are ASCII or UTF-8; a template in another encoding does not matter here.
            texts[path] = content.read().decode(errors="replace")
    fields = deb822.first(texts.pop("control", ""))
    return fields, texts


class _Unpacker:
    """Reads `data.tar` once, checking each member before anything of it is stored."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._rows: dict[str, _Row] = {}
        self._path_bytes = 0
        self._files = 0

    def run(self, member: archive.Member) -> list[_Row]:
        with untar.reading(member, limit=MAX_BYTES) as tar:
            for count, info in enumerate(tar):
                if count >= MAX_MEMBERS:
                    raise Refused(f"more than {MAX_MEMBERS} members")
                self._member(tar, info)
                # Otherwise tarfile keeps all of them.
                tar.members = []  # type: ignore[attr-defined]  # public in practice, absent from typeshed
        return [self._rows[path] for path in sorted(self._rows)]

    def _member(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        path = _path(info.name)
        if path == "":
            if not info.isdir():
                raise Refused("its root is not a directory")
            return
        known = self._rows.get(path)
        # Some makers of packages repeat directories, or name them after what is in them.
        if known is not None and not (info.isdir() and known.kind == _DIRECTORY):
            raise Refused(f"{path!r} is in it twice")
        self._check_above(path)
        if info.isdir():
            row = self._row(path, _DIRECTORY, info, "")
        elif info.issym():
            if not info.linkname or "\0" in info.linkname:
                raise Refused(f"the link {path!r} leads nowhere")
            row = self._row(path, _SYMLINK, info, _text(info.linkname))
        elif info.islnk():
            row = self._hard_link(path, info)
        elif info.isreg() and not info.issparse():
            row = self._row(path, _FILE, info, self._store(tar, info), size=info.size)
        else:
            raise Refused(f"{path!r} is a device, a FIFO or something else that no image has")
        self._add(row)

    def _add(self, row: _Row) -> None:
        self._rows[row.path] = row
        self._path_bytes += len(row.path) + len(row.value)
        # Directories that the archive left out count too: a long path names thousands of them.
        if len(self._rows) > MAX_MEMBERS:
            raise Refused(f"more than {MAX_MEMBERS} paths")
        if self._path_bytes > MAX_PATH_BYTES:
            raise Refused(f"paths of more than {MAX_PATH_BYTES} bytes together")

    def _check_above(self, path: str) -> None:
        """Refuse a path below a link or a file; name directories that the archive left out."""
        above = path.rpartition("/")[0]
        while above:
            found = self._rows.get(above)
            if found is None:
                self._add(_Row(above, _DIRECTORY, 0o755, 0, 0, ""))
            elif found.kind != _DIRECTORY:
                raise Refused(f"{path!r} would be written through {above!r}, not a directory")
            above = above.rpartition("/")[0]

    def _hard_link(self, path: str, info: tarfile.TarInfo) -> _Row:
        target = self._rows.get(_path(info.linkname))
        if target is None or target.kind != _FILE:
            raise Refused(f"{path!r} is a hard link to {info.linkname!r}, no file of the package")
        return msgspec.structs.replace(target, path=path)

    def _row(
        self, path: str, kind: int, info: tarfile.TarInfo, value: str, *, size: int = 0
    ) -> _Row:
        if not (0 <= info.uid <= MAX_OWNER and 0 <= info.gid <= MAX_OWNER):
            raise Refused(f"{path!r} has an owner that cannot be: {info.uid}:{info.gid}")
        mode = 0o777 if kind == _SYMLINK else info.mode & 0o7777
        return _Row(path, kind, mode, info.uid, info.gid, value, size)

    def _store(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> str:
        content = tar.extractfile(info)
        assert content is not None
        name = f"{self._files:06}"
        self._files += 1
        with (self._scratch / name).open("wb") as out:
            shutil.copyfileobj(content, out, untar.CHUNK)
        return name


def _path(name: str) -> str:
    """Return a member's path without the leading `./`.

    Raises:
        Refused: it is absolute, leaves the package, or is written in a way that hides where it leads.
    """
    path = _text(name).removeprefix("./").removesuffix("/")
    if path in ("", "."):
        return ""
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise Refused(f"the path {name!r} leads out of the package or is not written plainly")
    if any(character < " " or character == "\x7f" for character in path):
        raise Refused(f"the path {name!r} has control characters in it")
    return path


def _text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Refused(f"the name {name!r} is not UTF-8") from None
    return name
