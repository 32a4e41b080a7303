"""Names of container images, as people write them and as registries want them."""

from __future__ import annotations

import re

from bulkhead.model.errors import UserError

DEFAULT_REGISTRY = "docker.io"
# What Docker's hub is called, by whom.
_HUB = (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io")

_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def normalize(text: str) -> str:
    """Return the full form of an image's name: `nginx` is `docker.io/library/nginx:latest`.

    The first part is a registry if it looks like a host: with a dot, a port
    or upper-case letters, or `localhost`. A name with a digest gets no tag.

    Raises:
        UserError: it is not a name.
    """
    host, rest = _split(text)
    match = _REFERENCE.fullmatch(f"{host}/{rest}")
    if match is None or len(text) > 255:
        raise UserError(
            f"an image cannot be named {text!r}",
            hint="write [REGISTRY/]NAME[:TAG], in lower-case letters, as in nginx:1.27",
        )
    path, tag, digest = match["path"], match["tag"], match["digest"]
    if host == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    suffix = f":{tag}" if tag else ("" if digest else ":latest")
    return f"{host}/{path}{suffix}" + (f"@{digest}" if digest else "")


def _split(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if slash and looks_like_host:
        return ("docker.io" if first == "index.docker.io" else first), rest
    return DEFAULT_REGISTRY, text


def registry(reference: str) -> str:
    """Return the registry of a full name, with its port."""
    return reference.partition("/")[0]


def same_registry(one: str, other: str) -> bool:
    """Tell whether two hosts are one registry, whatever Docker's hub is called."""
    return _plain(one) == _plain(other)


def _plain(host: str) -> str:
    # The port of https may be written or not.
    name = host.lower().removesuffix(":443")
    return DEFAULT_REGISTRY if name in _HUB else name


def tag(reference: str) -> str:
    """Return the tag of a full name; "" if it has only a digest."""
    name = reference.partition("@")[0].rpartition("/")[2]
    return name.partition(":")[2]


def short_name(reference: str) -> str:
    """Return the last part of the path: what a container is named after."""
    return (
        reference.rpartition("@")[0].rpartition("/")[2].partition(":")[0]
        or (reference.rpartition("/")[2].partition(":")[0])
    )


def familiar(reference: str) -> str:
    """Return a full name as people write it."""
    return reference.removeprefix("docker.io/library/").removeprefix("docker.io/")
