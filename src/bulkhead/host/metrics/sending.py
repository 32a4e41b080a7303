"""One GET request, and how often it is tried. What the server answers, but for the status, is not read."""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from bulkhead.host.metrics import proxy
from bulkhead.model.errors import RemoteError

LIMIT_S = 20.0
"""For one try: connection, request and answer."""
PAUSES_S = (10.0, 60.0)
"""Before the second try and the third; each up to half as long again, or the fleet comes back at once."""


class Refused(RemoteError):
    """The server's answer will be the same the next time."""


def send(
    url: str,
    target: str,
    *,
    authorities: Path,
    environment: Mapping[str, str],
    limit_s: float = LIMIT_S,
    pauses_s: tuple[float, ...] = PAUSES_S,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Send a request, again after a pause if that may help.

    Args:
        url: of the server.
        target: path and query.
        authorities: certificates that are trusted, in PEM form.
        environment: with the variables of a proxy.
        limit_s: for one try, however slowly the server talks.
        pauses_s: between tries.
        sleep: waits.

    Raises:
        RemoteError: it was not delivered.
        UserError: the proxy's URL is of no use.
    """
    pauses = iter(pauses_s)
    while True:
        try:
            attempt(url, target, authorities=authorities, environment=environment, limit_s=limit_s)
        except RemoteError as error:
            pause = next(pauses, None)
            if isinstance(error, Refused) or pause is None:
                raise
            sleep(pause * (1 + secrets.randbelow(500) / 1000))
        else:
            return


def attempt(
    url: str, target: str, *, authorities: Path, environment: Mapping[str, str], limit_s: float
) -> None:
    """Send a request once. Redirects are not followed: settings say who gets it.

    Raises:
        RemoteError: it was not delivered. No secret is in the message: neither the query of the URL
            nor the proxy's password.
        UserError: the proxy's URL is of no use.
    """
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    connection = _connection(url, authorities, environment, limit_s)
    watch = _Watch(connection, limit_s)
    try:
        with watch:
            connection.request("GET", target, headers={"Connection": "close"})
            status = connection.getresponse().status
    except ssl.SSLCertVerificationError as error:
        raise Refused(
            f"its certificate is not trusted: {error.verify_message}", where=where,
            hint="an authority of your own is added by settings.pki",
        ) from error  # fmt: skip
    # ValueError: a name that IDNA cannot write.
    except (OSError, http.client.HTTPException, ValueError) as error:
        what = f"took longer than {limit_s:g} s" if watch.fired else str(error) or repr(error)
        raise RemoteError(f"cannot be reached: {what}", where=where) from error
    finally:
        connection.close()
    if status >= 500 or status == 429:
        raise RemoteError(f"answered with status {status}", where=where)
    if status >= 300:
        raise Refused(f"answered with status {status}", where=where)


def _connection(
    url: str, authorities: Path, environment: Mapping[str, str], limit_s: float
) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    if not secure:
        return http.client.HTTPConnection(host, port, timeout=limit_s)
    try:
        context = ssl.create_default_context(cafile=str(authorities))
    except OSError as error:
        raise RemoteError(f"no authority can be read: {error}", where=str(authorities)) from error
    # Chain, time and name are checked as ever. Python 3.13 also asks for extensions that an authority
    # made with `openssl req -x509` does not have, which containerd takes (ssl.create_default_context).
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    through = proxy.of(parts.scheme, host, port, environment)
    if through is None:
        return http.client.HTTPSConnection(host, port, timeout=limit_s, context=context)
    made = http.client.HTTPSConnection(through.host, through.port, timeout=limit_s, context=context)
    made.set_tunnel(host, port, headers=dict(through.headers))
    return made


class _Watch:
    """Ends a connection that takes too long as a whole: a time limit of a socket is for each read."""

    def __init__(self, connection: http.client.HTTPConnection, limit_s: float) -> None:
        self.fired = False
        self._connection = connection
        self._timer = threading.Timer(limit_s, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.fired = True
        opened = self._connection.sock
        if opened is not None:
            with suppress(OSError):
                # Not SSLSocket's own: that takes away what the other thread reads from.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)
