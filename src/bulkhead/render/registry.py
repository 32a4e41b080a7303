"""Mirrors and credentials of registries: for our container service, and for containerd's CRI.

CRI reads a directory for each registry
(https://github.com/containerd/containerd/blob/release/1.7/docs/hosts.md).
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from bulkhead.model.runtime_defaults import FOLDER, REGISTRIES, Credential, Mirror, Registries
from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings
from bulkhead.render.text import HEAD, line, toml_string, url

PATH = f"{FOLDER}/{REGISTRIES}"
HOSTS = "/etc/containerd/certs.d/"
# A host, perhaps with a port; it becomes the name of a directory.
_REGISTRY = re.compile(
    r"\*|(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:]{2,39}\])(?::[0-9]{1,5})?"
)


class _Mirror(msgspec.Struct, frozen=True, kw_only=True):
    registry: str = ""
    endpoint: tuple[str, ...] = ()


class _Credential(msgspec.Struct, frozen=True, kw_only=True):
    registry: str = ""
    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""


def render(settings: Settings) -> tuple[File, ...]:
    """Return all files; none if no registry is set."""
    key = "container-registry"
    mirrors = [
        Mirror(
            registry=_registry(m.registry, f"{key}.mirrors"),
            endpoints=tuple(url(item, f"{key}.mirrors") for item in m.endpoint),
        )
        for m in read.get(settings, f"{key}.mirrors", tuple[_Mirror, ...]) or ()
        if m.endpoint
    ]
    credentials = [
        _credential(item)
        for item in read.get(settings, f"{key}.credentials", tuple[_Credential, ...]) or ()
    ]
    if not mirrors and not credentials:
        return ()
    registries = Registries(mirrors=tuple(mirrors), credentials=tuple(credentials))
    whole = msgspec.json.format(msgspec.json.encode(registries), indent=2) + b"\n"
    files = [File(path=PATH, data=whole, mode=0o600, secret=True)]
    names = [mirror.registry for mirror in mirrors]
    if len(names) > len(set(names)):
        raise RenderError("names a registry twice", where=f"settings.{key}.mirrors")
    return (*files, *map(_hosts, mirrors))


def _registry(name: str, key: str) -> str:
    if not _REGISTRY.fullmatch(name):
        raise RenderError(f"{name!r} is no name of a registry", where=f"settings.{key}")
    return name


def _credential(item: _Credential) -> Credential:
    """Return user and password, also of `auth`: base64 of both with a colon between (as Docker has it)."""
    key = "container-registry.credentials"
    user, password = item.username, item.password
    if item.auth and not user:
        try:
            user, colon, password = (
                base64.b64decode(item.auth, validate=True).decode().partition(":")
            )
        except (binascii.Error, ValueError) as error:
            raise RenderError("auth is not base64 of text", where=f"settings.{key}") from error
        if not colon:
            raise RenderError("auth is not user:password in base64", where=f"settings.{key}")
    return Credential(
        registry=_registry(_host(item.registry), key),
        username=line(user, key),
        password=line(password, key),
        identity_token=line(item.identitytoken, key),
    )


def _host(registry: str) -> str:
    """Return the host of what may be a URL."""
    rest = registry.partition("://")[2] or registry
    return rest.partition("/")[0]


def _hosts(mirror: Mirror) -> File:
    key = "container-registry.mirrors"
    # Docker's hub answers by another name than its images have.
    server = {"docker.io": "registry-1.docker.io"}.get(mirror.registry, mirror.registry)
    text = HEAD
    if server != "*":
        text += f"server = {toml_string(f'https://{server}', key)}\n"
    for endpoint in mirror.endpoints:
        whole = endpoint if "://" in endpoint else f"http://{endpoint}"
        text += f'\n[host.{toml_string(whole, key)}]\ncapabilities = ["pull", "resolve"]\n'
    folder = "_default" if mirror.registry == "*" else mirror.registry
    return File(path=f"{HOSTS}{folder}/hosts.toml", data=text.encode())


SERVICE = Service(
    name="container-registry",
    keys=("container-registry",),
    render=render,
    files={"registries": PATH, "containerd-hosts": HOSTS},
    # Both are read for each image.
)
