"""What variants and container images do alike: choose, unpack and date their packages."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from bulkhead.build.debian import deb, lockfile, locking
from bulkhead.build.debian.locking import Request
from bulkhead.lib.progress import Progress
from bulkhead.model.errors import UserError
from bulkhead.model.lock import Lock


def current_lock(
    path: Path,
    request: Request,
    *,
    locked: bool,
    dry_run: bool = False,
    hint: str,
    cache: Path,
    progress: Progress,
) -> Lock:
    """Return the lock at `path`; make or move it where it does not fit the request.

    Args:
        path: the lock file; it need not exist.
        request: what is wanted.
        locked: fail rather than write it.
        dry_run: only say that it would be written.
        hint: what to do when `locked` forbids it.
        cache: the cache directory.
        progress: where to show progress.

    Raises:
        UserError: with `locked`, when there is none or it is out of date.
        RemoteError: a repository cannot be reached or not be trusted.
    """
    lock = lockfile.read_lock(path) if path.exists() else None
    if lock is not None and locking.is_current(lock, request):
        return lock
    if locked:
        what = "does not fit any more" if lock else "is missing"
        raise UserError(f"the lock file {what}", where=str(path), hint=hint)
    if lock is None:
        lock = locking.resolve(request, cache=cache, progress=progress)
    else:
        lock = locking.update(lock, request, (), cache=cache, progress=progress)
    if not dry_run:
        lockfile.write_lock(path, lock)
    done = "would write" if dry_run else "wrote"
    progress.notice(f"{done} {path}: {len(lock.packages)} packages")
    return lock


def unpack(
    lock: Lock, debs: dict[str, Path], *, cache: Path, progress: Progress
) -> dict[str, deb.Package]:
    """Return the packages of a lock by name; those that were unpacked before come from the cache.

    Raises:
        Untrusted: a package is damaged, or would leave its tree.
        HostError: no space left.
    """
    with (
        progress.task("unpacking packages", total=len(lock.packages), unit="packages") as task,
        ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool,
    ):

        def one(name: str, sha256: str) -> deb.Package:
            package = deb.unpack(debs[name], sha256=sha256, cache=cache)
            task.advance(1)
            return package

        jobs = {p.name: pool.submit(one, p.name, p.sha256) for p in lock.packages}
        return {name: job.result() for name, job in jobs.items()}


def epoch(lock: Lock) -> int:
    """Return the time of an image: SOURCE_DATE_EPOCH, else the date of its lock.

    Raises:
        UserError: SOURCE_DATE_EPOCH is no time.
    """
    asked = asked_epoch()
    return date(lock) if asked is None else asked


def asked_epoch() -> int | None:
    """Return SOURCE_DATE_EPOCH, or None if it is not set.

    Raises:
        UserError: it is no time.
    """
    value = os.environ.get("SOURCE_DATE_EPOCH")
    if not value:
        return None
    if not (value.isascii() and value.isdecimal()) or len(value) > 12:
        raise UserError(
            f"expected seconds since 1970, got {value[:40]!r}", where="SOURCE_DATE_EPOCH"
        )
    return int(value)


def date(lock: Lock) -> int:
    """Return when the newest package index of a lock was made, in seconds since 1970."""
    return max(
        (int(datetime.fromisoformat(suite.date).timestamp()) for suite in lock.suites), default=0
    )
