"""Gathers what repositories offer now: verified releases and their package indexes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path

import msgspec

from bulkhead.build.debian import directory, index, keep, release
from bulkhead.build.debian.index import Index
from bulkhead.build.debian.release import Release
from bulkhead.build.debian.space import needs_space
from bulkhead.build.debian.transport import Transport, bases, none_gave
from bulkhead.lib import atomicfile
from bulkhead.lib.progress import Progress
from bulkhead.model.errors import RemoteError, Untrusted, UserError
from bulkhead.model.lock import SuiteSnapshot
from bulkhead.model.repository import DIRECTORY_PREFIX, Repository

RELEASE_LIMIT = 16 << 20
INDEX_SIZE = 32 << 20
"""About what the largest index takes in the cache."""
SUFFIXES = (".xz", ".gz", ".bz2", "")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One index: a component of a suite, or a directory."""

    repository: str
    suites: tuple[str, ...]
    """The names by which requests and pins may mean it: suite and codename."""
    priority: int
    index: Index


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the repositories of a request offer."""

    sources: tuple[Source, ...]
    snapshots: tuple[SuiteSnapshot, ...]


def gather(
    repositories: Sequence[Repository], *, architecture: str, cache: Path, progress: Progress
) -> Offer:
    """Download and verify the indexes of all repositories; what is in the cache is not asked again.

    Raises:
        Untrusted: a signature, hash, date or suite is wrong.
        RemoteError: a server cannot be reached or serves nonsense.
        UserError: a repository is described wrongly.
    """
    _check(repositories)
    transport = Transport()
    reader = _Reader(transport, architecture, cache, progress, threading.Lock())
    with (
        progress.task("reading package indexes"),
        ThreadPoolExecutor(max_workers=4, thread_name_prefix="index") as pool,
    ):
        jobs = []
        for repository in repositories:
            if repository.location.startswith(DIRECTORY_PREFIX):
                jobs.append(pool.submit(reader.directory, repository))
            else:
                jobs += [
                    pool.submit(reader.suite, repository, suite) for suite in repository.suites
                ]
        try:
            offers = [job.result() for job in jobs]
        except BaseException:
            transport.stop.set()
            raise
    keep.forget_old(cache)
    return Offer(
        sources=tuple(source for offer in offers for source in offer.sources),
        snapshots=tuple(snapshot for offer in offers for snapshot in offer.snapshots),
    )


def _check(repositories: Sequence[Repository]) -> None:
    names = [repository.name for repository in repositories]
    if not names:
        raise UserError("no repositories to take packages from")
    for repository in repositories:
        where = f"repository {repository.name}"
        if names.count(repository.name) > 1:
            raise UserError("two repositories have this name", where=where)
        if not repository.location.startswith(DIRECTORY_PREFIX) and not repository.suites:
            raise UserError("names no suites", where=where)


class _Reader:
    def __init__(
        self,
        transport: Transport,
        architecture: str,
        cache: Path,
        progress: Progress,
        parsing: threading.Lock,
    ) -> None:
        self._transport = transport
        self._architecture = architecture
        self._cache = cache
        self._progress = progress
        # Parsing holds the interpreter; several at once would only take more memory.
        self._parsing = parsing

    def directory(self, repository: Repository) -> Offer:
        """Read a directory of .deb files."""
        path = Path(repository.location.removeprefix(DIRECTORY_PREFIX))
        records = directory.records(path, architecture=self._architecture)
        source = Source(
            repository=repository.name,
            suites=(),
            priority=repository.priority,
            index=index.decode(index.make(records)),
        )
        return Offer(sources=(source,), snapshots=())

    def suite(self, repository: Repository, suite: str) -> Offer:
        """Read one suite, from the first of the repository's addresses that gives what is signed.

        Raises:
            Untrusted: none does, and at least one gave something else.
            RemoteError: none has it.
        """
        failures: list[RemoteError] = []
        for base in bases(repository.location):
            try:
                with needs_space(self._cache / "indexes", INDEX_SIZE):
                    return self._suite(repository, suite, base)
            except RemoteError as error:
                failures.append(error)
        raise none_gave("it", failures, where=f"suite {suite!r} of repository {repository.name}")

    def _suite(self, repository: Repository, suite: str, base: str) -> Offer:
        top = f"{base}/{suite.rstrip('/')}" if suite.endswith("/") else f"{base}/dists/{suite}"
        top = top.rstrip("/")
        found = self._release(repository, suite, f"{top}/InRelease")
        paths = self._index_paths(repository, suite, found, top)
        sources = [
            Source(
                repository=repository.name,
                suites=tuple(dict.fromkeys((suite, found.suite, found.codename))),
                priority=_priority(repository, found),
                index=self._index(found, top, path),
            )
            for path in paths
        ]
        snapshot = SuiteSnapshot(
            repository=repository.name,
            suite=suite,
            date=found.date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            sha256=found.sha256,
        )
        return Offer(sources=tuple(sources), snapshots=(snapshot,))

    def _release(self, repository: Repository, suite: str, url: str) -> Release:
        """Return the suite's release: never an older one than was seen at this address before."""
        certs = release.certificates(repository.keys, where=repository.name)
        data = self._transport.get(url, limit=RELEASE_LIMIT)
        new = release.verify(data, certs, suite=suite, where=url)
        kept = self._cache / "indexes" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.release"
        try:
            old = release.verify(kept.read_bytes(), certs, suite=suite, where=str(kept))
        except (FileNotFoundError, RemoteError):
            old = None  # never seen, expired, or signed by keys that are no longer trusted
        if old is not None and old.date > new.date:
            self._progress.notice(
                f"{url} is older ({new.date:%Y-%m-%d %H:%M}) than what it served before "
                f"({old.date:%Y-%m-%d %H:%M}); staying with the newer one"
            )
            return old
        kept.parent.mkdir(parents=True, exist_ok=True)
        atomicfile.write(kept, data)
        return new

    def _index_paths(
        self, repository: Repository, suite: str, found: Release, top: str
    ) -> list[str]:
        """Return the paths of the package indexes to read, as the release file lists them."""
        architectures = [self._architecture, *(() if found.all_included else ("all",))]
        folders = [
            f"{component}/binary-{architecture}/"
            for component in repository.components
            for architecture in architectures
        ]
        paths = []
        for folder in [""] if suite.endswith("/") else folders:
            names = (f"{folder}Packages{suffix}" for suffix in SUFFIXES)
            path = next((name for name in names if name in found.files), None)
            if path is None and not folder.endswith("binary-all/"):
                components = {p.partition("/")[0] for p in found.files if "/binary-" in p}
                raise UserError(
                    f"has no packages for {folder.rstrip('/') or self._architecture!r}",
                    where=f"repository {repository.name}, {top}",
                    hint=f"it has: {', '.join(sorted(components))}; "
                    f"for: {', '.join(found.architectures)}",
                )
            if path is not None:
                paths.append(path)
        return paths

    def _index(self, found: Release, top: str, path: str) -> Index:
        size, sha256 = found.files[path]
        if (known := index.cached(sha256, cache=self._cache)) is not None:
            return known
        url = f"{top}/{path}"
        if found.by_hash:
            # The plain name may already hold the next version when the mirror is being updated.
            url = f"{top}/{path.rpartition('/')[0]}/by-hash/SHA256/{sha256}"
        data = self._transport.get(url, limit=size)
        if len(data) != size or (actual := hashlib.sha256(data).hexdigest()) != sha256:
            raise Untrusted(
                f"is not what the signed release file lists ({size} bytes, SHA-256 {sha256}): "
                f"{len(data)} bytes, {actual if len(data) == size else 'incomplete'}",
                where=url,
            )
        with self._parsing:
            encoded = index.parse(
                data, suffix=Path(path).suffix, architecture=self._architecture, where=url
            )
            index.store(sha256, encoded, cache=self._cache)
            return index.decode(encoded)


def _priority(repository: Repository, found: Release) -> int:
    """As apt: a repository may ask to be used only on request (1) or for what it has already (100)."""
    if not found.not_automatic:
        return repository.priority
    return min(repository.priority, 100 if found.but_automatic_upgrades else 1)
