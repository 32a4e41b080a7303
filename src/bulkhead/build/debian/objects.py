"""The content-addressed cache of downloaded artifacts.

Any number of processes may fetch into one cache. An object appears under its
SHA-256 only after its size and hash were checked; until then it is a `.part`
file beside it, locked by whoever writes it, and the next run carries on where
it ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from bulkhead.build.debian import checked, keep, origins
from bulkhead.build.debian.space import needs_space
from bulkhead.build.debian.transport import (
    CHUNK,
    PARALLEL,
    Missing,
    Stopped,
    Transport,
    Unreachable,
    none_gave,
)
from bulkhead.lib.progress import Progress, Task
from bulkhead.model.errors import RemoteError, Untrusted
from bulkhead.model.lock import LockedFile, LockedPackage
from bulkhead.model.repository import DIRECTORY_PREFIX

Artifact = LockedPackage | LockedFile


def object_path(cache: Path, sha256: str) -> Path:
    """Return where the bytes with this hash are, or will be.

    Raises:
        Untrusted: it is no hash, and could be a path that leads out of the cache.
    """
    try:
        checked.sha256(sha256)
    except ValueError as error:
        raise Untrusted(f"nothing is kept under this name: {error}", where=str(cache)) from error
    return cache / "objects" / sha256[:2] / sha256


def fetch(
    artifacts: Sequence[Artifact],
    urls: Callable[[Artifact], Iterator[str]],
    *,
    cache: Path,
    progress: Progress,
) -> list[Artifact]:
    """Fetch, in parallel, what is not in the cache yet; return what no server has.

    Args:
        artifacts: what is wanted.
        urls: gives the addresses of one, best first.
        cache: the cache directory.
        progress: where to show progress.

    Raises:
        Untrusted: no server gave the bytes that the lock names, and one gave others.
        RemoteError: a server cannot be reached, and no other one has it.
        HostError: no space left.
    """
    missing = {a.sha256: a for a in artifacts if not _present(object_path(cache, a.sha256), a.size)}
    if not missing:
        return []
    total = sum(artifact.size for artifact in missing.values())
    with progress.task(f"downloading {len(missing)} files", total=total) as task:
        worker = _Worker(cache, urls, task)
        with ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="fetch") as pool:
            # The largest first: none is left to run alone at the end.
            order = sorted(missing.values(), key=lambda artifact: -artifact.size)
            jobs = {pool.submit(worker.fetch, artifact): artifact for artifact in order}
            _wait(jobs, worker.stop)
    return [artifact for job, artifact in jobs.items() if not job.result()]


def _wait(jobs: dict[Future[bool], Artifact], stop: threading.Event) -> None:
    """Wait for all jobs; on the first failure or an interrupt, call off the others."""
    try:
        done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        for job in done:
            job.result()
    except BaseException:
        stop.set()
        for job in jobs:
            job.cancel()
        raise


def _present(path: Path, size: int) -> bool:
    try:
        present = path.stat().st_size == size
    except FileNotFoundError:
        return False
    if present:
        keep.touch(path)
    return present


class _Worker:
    def __init__(self, cache: Path, urls: Callable[[Artifact], Iterator[str]], task: Task) -> None:
        self.stop = threading.Event()
        self._cache = cache
        self._urls = urls
        self._task = task
        self._transport = Transport(stop=self.stop)
        # The snapshot archive is a last resort: do not wait for it.
        self._impatient = Transport(tries=1, stop=self.stop)

    def fetch(self, artifact: Artifact) -> bool:
        """Bring one artifact into the cache; return False if no server has it."""
        path = object_path(self._cache, artifact.sha256)
        with needs_space(path, artifact.size):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._part(path, artifact.size) as part:
                return part is None or self._try_urls(artifact, path, part)

    @contextmanager
    def _part(self, path: Path, size: int) -> Iterator[BufferedRandom | None]:
        """Lock and open the .part file; None if someone else completed the object meanwhile."""
        name = path.with_name(f".{path.name}.part")
        while True:
            with name.open("a+b") as part:
                while not _try_lock(part):
                    if self.stop.wait(0.05):
                        raise Stopped
                if _present(path, size):
                    name.unlink(missing_ok=True)
                    yield None
                    return
                # Whoever had the lock may have renamed or removed the file that we opened.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(part.fileno()), name.stat()):
                        yield part
                        return

    def _try_urls(self, artifact: Artifact, path: Path, part: BufferedRandom) -> bool:
        missing = False
        failures: list[RemoteError] = []
        for url in self._urls(artifact):
            # Once a server said that it has left, the others are only asked in passing.
            past = origins.is_snapshot(url)
            patient = not missing and not past
            try:
                self._download(url, artifact, part, self._transport if patient else self._impatient)
            except Missing as error:
                missing = missing or not past
                failures.append(error)
            except (Unreachable, Untrusted) as error:
                failures.append(error)
            else:
                self._finish(artifact, path, part)
                return True
        if any(isinstance(error, Untrusted) for error in failures):
            raise none_gave("what the lock names", failures, where=artifact.name)
        # A server that is out of reach matters only if no other one has answered.
        unreachable = [error for error in failures if isinstance(error, Unreachable)]
        if unreachable and not missing:
            raise unreachable[0]
        return False

    def _download(
        self, url: str, artifact: Artifact, part: BufferedRandom, transport: Transport
    ) -> None:
        """Append to the .part file until it has the artifact's bytes."""
        for attempt in transport.attempts(url):
            with attempt:
                resumed = part.seek(0, os.SEEK_END) > 0
                self._receive(url, artifact, part, transport)
                problem = _problem(part, artifact)
                if problem is not None and resumed:
                    # What an earlier run or another server left may be to blame: once more from the start.
                    part.truncate(0)
                    self._receive(url, artifact, part, transport)
                    problem = _problem(part, artifact)
                if problem is None:
                    return
                part.truncate(0)
                raise Untrusted(problem, where=url)
        raise AssertionError("attempts() raises when there are none left")

    def _receive(
        self, url: str, artifact: Artifact, part: BufferedRandom, transport: Transport
    ) -> None:
        """Append what the server gives from the end of the .part file on.

        Raises:
            urllib3.exceptions.HTTPError: it ended early, or may have.
        """
        from urllib3.exceptions import HTTPError

        offset = part.seek(0, os.SEEK_END)
        if offset >= artifact.size:
            return
        if url.startswith(DIRECTORY_PREFIX):
            part.truncate(0)
            _copy(Path(url.removeprefix(DIRECTORY_PREFIX)), part)
            return
        with transport.open(url, offset=offset) as response:
            if response.status == 416:  # what is there ends before `offset`
                part.truncate(0)
                return
            if response.status != 206 and offset:
                part.truncate(0)
                offset = 0
            for chunk in response.stream(CHUNK):
                if self.stop.is_set():
                    raise Stopped
                part.write(chunk)
                self._task.advance(len(chunk))
                offset += len(chunk)
                if offset > artifact.size:
                    break
            told = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        part.flush()
        # Otherwise urllib3 has noticed; without a length the end looks like a broken connection.
        if offset < artifact.size and not told:
            raise HTTPError(f"it ended after {offset} of {artifact.size} bytes")

    def _finish(self, artifact: Artifact, path: Path, part: BufferedRandom) -> None:
        os.fchmod(part.fileno(), 0o444)
        os.rename(path.with_name(f".{path.name}.part"), path)
        self._task.note(artifact.name)


def _copy(path: Path, part: BufferedRandom) -> None:
    try:
        with path.open("rb") as file:
            shutil.copyfileobj(file, part, CHUNK)
    except FileNotFoundError as error:
        raise Missing("is not there (any more)", where=str(path)) from error


def _try_lock(file: BufferedRandom) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _problem(part: BufferedRandom, artifact: Artifact) -> str | None:
    """Return what is wrong with the downloaded bytes, or None."""
    size = part.seek(0, os.SEEK_END)
    if size != artifact.size:
        return f"has {'more than ' if size > artifact.size else ''}{size} bytes, the lock says {artifact.size}"
    part.seek(0)
    actual = hashlib.file_digest(part, "sha256").hexdigest()
    if actual != artifact.sha256:
        return f"has SHA-256 {actual}, the lock says {artifact.sha256}: someone changed it"
    return None
