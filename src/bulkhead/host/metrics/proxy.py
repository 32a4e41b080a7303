"""The way to a server: through the proxy of the settings, or past it. Pure."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

from bulkhead.model.errors import UserError

PORT = 80
"""Of a proxy without one, as curl and Go have it for `http://`."""


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """A proxy that passes connections on (CONNECT)."""

    host: str
    port: int
    headers: Mapping[str, str]
    """Who we are, if its URL says so. A secret."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def of(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a server; None if it is reached without one.

    Args:
        scheme: of the URL. `network.https-proxy` is for `https` alone, as with every program that
            reads its variables.
        host: the server.
        port: its port.
        environment: with `HTTPS_PROXY` and `NO_PROXY`.

    Raises:
        UserError: the proxy's URL is of no use; it is not quoted, as a password may be in it.
    """
    text = environment.get("HTTPS_PROXY", "")
    if scheme != "https" or not text or _past(host, port, environment.get("NO_PROXY", "")):
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme != "http" or not parts.hostname:
        raise UserError("expected a URL that starts with http://", where="settings.network.https-proxy",
                        hint="metrics cannot go through a proxy that itself is reached by TLS")  # fmt: skip
    headers = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + b64encode(pair.encode()).decode()
    return Proxy(host=parts.hostname, port=parts.port or PORT, headers=headers)


def _past(host: str, port: int, names: str) -> bool:
    """Tell whether a server is among hosts, domains and networks, as `network.no-proxy` lists them."""
    return any(
        _matches(name.strip().lower(), host.lower().rstrip("."), port) for name in names.split(",")
    )


def _matches(name: str, host: str, port: int) -> bool:
    if name == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        pass  # one of them is a name
    front, colon, end = name.rpartition(":")
    if colon and end.isdecimal():
        if int(end) != port:
            return False
        name = front.strip("[]")
    name = name.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
