"""Where the bytes of a locked artifact may be had, best address first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from bulkhead.build.debian import wheels
from bulkhead.build.debian.transport import Transport, bases
from bulkhead.lib import mirrors, suggest
from bulkhead.model.errors import UserError
from bulkhead.model.lock import Lock, LockedFile, LockedPackage
from bulkhead.model.repository import DIRECTORY_PREFIX, MIRRORED, Repository

SNAPSHOT_VARIABLE = "BULKHEAD_SNAPSHOT"

# The snapshot archive takes its pictures some hours after a release file's date;
# an address between two pictures leads to the one before.
PICTURE_DELAY = timedelta(hours=8)


class Finder:
    """Knows the addresses of a lock's packages.

    Args:
        lock: the lock.
        repositories: the repositories it was made from.
    """

    def __init__(self, lock: Lock, repositories: Sequence[Repository]) -> None:
        self._repositories = {repository.name: repository for repository in repositories}
        self._dates: dict[str, str] = {}
        for snapshot in lock.suites:
            latest = max(snapshot.date, self._dates.get(snapshot.repository, ""))
            self._dates[snapshot.repository] = latest
        for package in lock.packages:
            if package.repository not in self._repositories:
                raise UserError(
                    f"the lock takes {package.name} from repository {package.repository!r}, "
                    "which is not configured",
                    hint=suggest.hint(package.repository, self._repositories),
                )

    def urls(self, package: LockedPackage | LockedFile) -> Iterator[str]:
        """Yield the addresses of a package: mirrors, then Debian's snapshot archive."""
        assert isinstance(package, LockedPackage)
        repository = self._repositories[package.repository]
        path = quote(package.path, safe="/~+:")
        if repository.location.startswith(DIRECTORY_PREFIX):
            yield f"{repository.location}/{package.path}"
            return
        for base in bases(repository.location):
            yield f"{base}/{path}"
        date = self._dates.get(package.repository)
        if repository.location in MIRRORED and date is not None:
            moment = datetime.fromisoformat(date)
            for picture in (moment + PICTURE_DELAY, moment):
                stamp = picture.strftime("%Y%m%dT%H%M%SZ")
                yield f"{_snapshot()}/{repository.location}/{stamp}/{path}"


def _snapshot() -> str:
    return os.environ.get(SNAPSHOT_VARIABLE, mirrors.SNAPSHOT).rstrip("/")


def is_snapshot(url: str) -> bool:
    """Tell whether an address is in the snapshot archive."""
    return url.startswith(f"{_snapshot()}/")


class FileFinder:
    """Knows the addresses of a lock's single files."""

    def __init__(self) -> None:
        self._transport = Transport()

    def urls(self, file: LockedPackage | LockedFile) -> Iterator[str]:
        """Yield the address of a file, or of a wheel in pip's index."""
        assert isinstance(file, LockedFile)
        if file.url.startswith(wheels.PREFIX):
            yield from wheels.urls(file.url, self._transport)
        else:
            yield file.url
