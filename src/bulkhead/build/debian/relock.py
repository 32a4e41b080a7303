"""Brings a lock file up to date, and says what that changed: the work of `bulkhead lock`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bulkhead.build.debian import lockfile, locking
from bulkhead.build.debian.locking import Change, Request
from bulkhead.lib.progress import Progress
from bulkhead.model.errors import UserError
from bulkhead.model.lock import Lock


class Relocked(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one lock file; `bulkhead lock --json` prints a list of these."""

    name: str
    """The variant, `container NAME` or `tools NAME`."""
    path: str
    packages: int
    download_size: int
    """Of all packages, in bytes."""
    changes: tuple[Change, ...]
    stale: bool
    """The file was not there, or did not fit the request."""
    written: bool
    """False when the file was right already, or with `--dry-run`."""


def relock(
    name: str,
    path: Path,
    request: Request,
    *,
    update: Sequence[str] | None = (),
    dry_run: bool = False,
    cache: Path,
    progress: Progress,
) -> Relocked:
    """Make the lock at `path` fit `request`.

    Args:
        name: of what it belongs to.
        path: the lock file; it need not exist.
        request: what is wanted.
        update: packages that may move to better versions; None for all.
            With an empty list a lock that fits is left alone, and one that
            does not fit moves as little as possible.
        dry_run: write nothing.
        cache: the cache directory.
        progress: where to show progress.

    Raises:
        UserError: the request cannot be fulfilled, or a package of `update` is not locked.
        RemoteError: a repository cannot be reached or not be trusted.
        HostError: the lock cannot be written.
    """
    old = lockfile.read_lock(path) if path.exists() else None
    if old is None and update:
        raise UserError(
            "there is no lock file yet, so nothing of it can be updated", where=str(path),
            hint="make it first, without --update PACKAGE",
        )  # fmt: skip
    new = _choose(old, request, update, cache=cache, progress=progress)
    # The suites' dates alone are no reason to touch a file that is under version control.
    written = not dry_run and (old is None or _choice(old) != _choice(new))
    if written:
        lockfile.write_lock(path, new)
    return Relocked(
        name=name,
        path=str(path),
        packages=len(new.packages),
        download_size=sum(package.size for package in new.packages),
        stale=old is None or not locking.is_current(old, request),
        changes=tuple(locking.difference(old or _nothing(new), new)),
        written=written,
    )


def _choose(
    old: Lock | None,
    request: Request,
    update: Sequence[str] | None,
    *,
    cache: Path,
    progress: Progress,
) -> Lock:
    if old is None:
        return locking.resolve(request, cache=cache, progress=progress)
    if update is not None and not update and locking.is_current(old, request):
        return old
    return locking.update(old, request, update, cache=cache, progress=progress)


def _choice(lock: Lock) -> Lock:
    return msgspec.structs.replace(lock, suites=())


def _nothing(lock: Lock) -> Lock:
    return msgspec.structs.replace(lock, packages=(), files=(), sets={})
