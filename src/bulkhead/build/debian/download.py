"""Brings what a lock names into the cache, and does what is needed when it is no longer there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bulkhead.build.debian import locking, objects, origins
from bulkhead.build.debian.locking import Request
from bulkhead.lib.progress import Progress
from bulkhead.model.errors import RemoteError, Untrusted, UserError
from bulkhead.model.lock import Lock, LockedFile, LockedPackage
from bulkhead.model.repository import Repository, debian


class Gone(RemoteError):
    """Locked packages that are neither in their repository nor in Debian's snapshot archive.

    Attributes:
        packages: all of them.
    """

    def __init__(self, packages: Sequence[LockedPackage], *, hint: str) -> None:
        self.packages = tuple(packages)
        names = ", ".join(f"{package.name} {package.version}" for package in packages)
        super().__init__(
            f"no longer in the repository, and the snapshot archive has or gives no copy: {names}",
            hint=hint,
        )


def fetch(
    lock: Lock,
    *,
    sets: Sequence[str] | None = None,
    cache: Path,
    progress: Progress,
    locked: bool = False,
    repositories: Sequence[Repository] = debian(),
) -> dict[str, Path]:
    """Return the .deb files of a lock by package name; download what is not in the cache.

    Args:
        lock: what to fetch.
        sets: only these sets of the lock; everything by default.
        cache: the cache directory.
        progress: where to show progress.
        locked: the caller will not resolve again; only changes a hint.
        repositories: where packages come from, by the names that the lock uses.

    Raises:
        Gone: locked versions are no longer to be had.
        Untrusted: a server gave other bytes than the lock names.
        RemoteError: a server cannot be reached.
        HostError: no space left.
        UserError: no such set, or a repository of the lock is not given.
    """
    packages = _selected(lock, sets)
    finder = origins.Finder(lock, repositories)
    gone = objects.fetch(packages, finder.urls, cache=cache, progress=progress)
    if gone:
        hint = "choose newer versions with: bulkhead lock --update"
        if locked:
            hint += " (--locked forbids doing that now)"
        raise Gone([package for package in gone if isinstance(package, LockedPackage)], hint=hint)
    return {package.name: objects.object_path(cache, package.sha256) for package in packages}


def fetch_files(lock: Lock, *, cache: Path, progress: Progress) -> dict[str, Path]:
    """Return the single files of a lock by name; download what is not in the cache.

    Raises:
        Untrusted: a server gave other bytes than the lock names, or they were changed since.
        RemoteError: a server cannot be reached or no longer has one.
        HostError: no space left.
    """
    gone = objects.fetch(lock.files, origins.FileFinder().urls, cache=cache, progress=progress)
    if gone:
        first = gone[0]
        where = first.url if isinstance(first, LockedFile) else first.path
        raise RemoteError("is not there (any more)", where=where)
    found = {file.name: objects.object_path(cache, file.sha256) for file in lock.files}
    for file in lock.files:
        # A package is checked when it is unpacked; such a file goes into the image as it is.
        with found[file.name].open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
        if actual != file.sha256:
            raise Untrusted(
                f"has SHA-256 {actual}, expected {file.sha256}: it was changed after it was "
                "downloaded",
                where=str(found[file.name]), hint="remove it; it will be downloaded again",
            )  # fmt: skip
    return found


def fetch_or_resolve(
    lock: Lock,
    request: Request,
    *,
    sets: Sequence[str] | None = None,
    cache: Path,
    progress: Progress,
    locked: bool = False,
) -> tuple[Lock, dict[str, Path]]:
    """Fetch a lock; when versions of it are gone, move only those and go on with a notice.

    Returns the lock that was fetched, which is the given one unless something moved.

    Raises:
        Gone: with `locked`, or when the new versions are gone too.
        RemoteError: as `fetch` and `locking.update`.
    """
    try:
        return lock, fetch(
            lock, sets=sets, cache=cache, progress=progress, locked=locked,
            repositories=request.repositories,
        )  # fmt: skip
    except Gone as error:
        if locked:
            raise
        names = [package.name for package in error.packages]
        moved = locking.update(lock, request, names, cache=cache, progress=progress)
    changes = ", ".join(
        f"{change.name} {change.old or 'none'} → {change.new or 'none'}"
        for change in locking.difference(lock, moved)
    )
    progress.notice(f"locked versions have left the mirror; using others: {changes}")
    return moved, fetch(
        moved, sets=sets, cache=cache, progress=progress, repositories=request.repositories
    )


def _selected(lock: Lock, sets: Sequence[str] | None) -> list[LockedPackage]:
    if sets is None:
        return list(lock.packages)
    for name in sets:
        if name not in lock.sets:
            raise UserError(f"the lock has no set {name!r}", hint=f"it has: {', '.join(lock.sets)}")
    wanted = {package for name in sets for package in lock.sets[name]}
    return [package for package in lock.packages if package.name in wanted]
