"""A directory of .deb files as a repository: trusted because it is the user's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bulkhead.build.debian import deb, index
from bulkhead.build.debian.index import Record
from bulkhead.model.errors import UserError


def records(path: Path, *, architecture: str) -> list[Record]:
    """Read the control files of all packages in `path`, not below it.

    Raises:
        UserError: it is no directory, or a file in it is not a package.
    """
    found = []
    for file in _packages(path):
        try:
            row = index.record(
                deb.control(file),
                path=file.name,
                size=file.stat().st_size,
                sha256=_sha256(file),
            )
        except KeyError as error:
            raise UserError(f"control file has no field {error}", where=str(file)) from error
        except ValueError as error:
            raise UserError(f"control file: {error}", where=str(file)) from error
        if row.architecture in (architecture, "all"):
            found.append(row)
    return found


def digests(path: Path) -> list[str]:
    """Return the SHA-256 of all packages in `path`, sorted by file name.

    Raises:
        UserError: it is no directory.
    """
    return [_sha256(file) for file in _packages(path)]


def _packages(path: Path) -> list[Path]:
    try:
        return sorted(file for file in path.iterdir() if file.suffix == ".deb")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
