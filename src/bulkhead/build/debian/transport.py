"""HTTP for repositories: one pool of connections, retries, proxies, limits.

The only place of the builder that talks to the network. urllib3 takes 70 ms
to import, so a build that needs no network does not import it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bulkhead.lib import mirrors
from bulkhead.model.errors import RemoteError, Untrusted, UserError
from bulkhead.model.repository import MIRRORED

if TYPE_CHECKING:
    import urllib3

log = logging.getLogger(__name__)

CHUNK = 1 << 18
PARALLEL = 8
FIRST_PAUSE_S = 0.2
"""Between the first two tries; each further pause is three times as long."""


class Missing(RemoteError):
    """The server answered that it does not have this (404 or 410)."""


class Unreachable(RemoteError):
    """No usable answer, although it was tried several times."""


def none_gave(what: str, failures: Sequence[RemoteError], *, where: str) -> RemoteError:
    """Return one error for what several addresses failed to give, that says what each gave.

    Args:
        what: what was wanted.
        failures: one for each address, at least one.
        where: what it was wanted for.

    Returns:
        The only failure, or one that is `Untrusted` when one of them is.
    """
    if len(failures) == 1:
        return failures[0]
    kind = Untrusted if any(isinstance(error, Untrusted) for error in failures) else RemoteError
    lines = "".join(f"\n    {error.where}: {error.what}" for error in failures)
    hint = next((error.hint for error in failures if error.hint), None)
    return kind(f"no server gave {what}:{lines}", where=where, hint=hint)


class Stopped(Exception):  # not an error: the work was called off
    """Another thread failed or the user interrupted; raised out of waits and transfers."""


class Transport:
    """Gets bytes by URL. Safe from any thread; share one per task.

    Args:
        tries: how often a failing transfer is tried.
        stop: set it to end all waits and transfers with `Stopped`.
    """

    def __init__(self, *, tries: int = 4, stop: threading.Event | None = None) -> None:
        self.tries = tries
        self.stop = stop or threading.Event()
        self._unreachable: dict[str, Unreachable] = {}

    def get(self, url: str, *, limit: int, accept: str | None = None) -> bytes:
        """Return the body of `url`, which must not be longer than `limit` bytes.

        Raises:
            Missing: the server does not have it.
            Unreachable: no usable answer after all tries.
            RemoteError: it is longer than `limit`.
        """
        for attempt in self.attempts(url):
            with attempt, self.open(url, accept=accept) as response:
                body = bytearray()
                for chunk in response.stream(CHUNK):
                    if self.stop.is_set():
                        raise Stopped
                    body += chunk
                    if len(body) > limit:
                        raise RemoteError(f"more than the expected {limit} bytes", where=url)
                return bytes(body)
        raise AssertionError("attempts() raises when there are none left")

    def attempts(self, url: str) -> Iterator[Attempt]:
        """Yield one context per try; a transfer error inside ends the try, the last one raises.

        Raises:
            UserError: `url` is none.
        """
        host = _host(url)
        for number in range(1, self.tries + 1):
            if host in self._unreachable:
                raise self._unreachable[host]
            yield Attempt(url, last=number == self.tries, unreachable=self._unreachable)
            if self.stop.wait(FIRST_PAUSE_S * 3 ** (number - 1)):
                raise Stopped

    @contextmanager
    def open(
        self, url: str, *, offset: int = 0, accept: str | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """Request `url`, from `offset` on if the server can (status 206 then).

        Raises:
            Missing: the server does not have it.
            urllib3.exceptions.HTTPError: everything else; see `attempts`.
        """
        from urllib3.exceptions import HTTPError

        headers = {"User-Agent": "bulkhead", "Accept-Encoding": "identity"}
        if accept:
            headers["Accept"] = accept
        if offset:
            headers["Range"] = f"bytes={offset}-"
        log.debug("get %s from %d", url, offset)
        response = _pool(_proxy(url)).request(
            "GET", url, headers=headers, preload_content=False, decode_content=False
        )
        try:
            if response.status in (404, 410):
                raise Missing("is not there (any more)", where=url)
            if response.status not in (200, 206, 416):
                raise HTTPError(f"HTTP status {response.status}")
            yield response
        finally:
            # A response that was not read to its end would block the connection.
            response.close()


class Attempt:
    """Context of one try of a transfer; swallows errors that may go away by themselves."""

    def __init__(self, url: str, *, last: bool, unreachable: dict[str, Unreachable]) -> None:
        self._url = url
        self._last = last
        self._unreachable = unreachable

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        from urllib3.exceptions import HTTPError, MaxRetryError

        if not isinstance(error, HTTPError):
            return False
        log.debug("%s: %s", self._url, error)
        if not self._last:
            return True
        failure = Unreachable(
            f"cannot be downloaded: {_reason(error)}", where=self._url,
            hint="check the network; BULKHEAD_MIRROR names another mirror of Debian",
        )  # fmt: skip
        if isinstance(error, MaxRetryError):
            # Not even an answer: everything else from this host would wait as long.
            self._unreachable[_host(self._url)] = failure
        raise failure from error


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError as error:
        raise UserError(
            f"is no web address: {error}", where=url,
            hint="look at the repository's location, the file's url, or BULKHEAD_MIRROR",
        ) from error  # fmt: skip


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", None)
    text = str(cause if isinstance(cause, Exception) else error)
    # urllib3 starts its messages with the repr of the connection.
    return re.sub(r"^<?\w*Connection\w*\(.*?\)(?: at 0x\w+)?>?: ", "", text) or type(error).__name__


@lru_cache
def _pool(proxy: str | None) -> urllib3.PoolManager:
    import urllib3

    # `attempts` does the trying again; a total would count redirects too.
    retries = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)
    timeout = urllib3.Timeout(connect=10, read=60)
    if proxy is None:
        return urllib3.PoolManager(maxsize=PARALLEL, retries=retries, timeout=timeout)
    return urllib3.ProxyManager(proxy, maxsize=PARALLEL, retries=retries, timeout=timeout)


def _proxy(url: str) -> str | None:
    """Return the proxy that `http_proxy`, `https_proxy`, `no_proxy` ask for."""
    import urllib.request

    parts = urlsplit(url)
    if parts.hostname is None or urllib.request.proxy_bypass(parts.hostname):
        return None
    proxies: dict[str, str] = urllib.request.getproxies()
    return proxies.get(parts.scheme)


def bases(location: str) -> list[str]:
    """Return the URLs at which a repository's `location` may be found, best first.

    Raises:
        UserError: it is neither a role nor an address.
    """
    if location in MIRRORED:
        return mirrors.candidates(location)
    if location.startswith(("http://", "https://")):
        return [location.rstrip("/")]
    raise UserError(
        f"{location!r} is no location of a repository",
        hint=f"use {', '.join(MIRRORED)}, an http(s) address, or dir:PATH",
    )
