"""Registries of container images: mirrors of them, and who the node is there."""

from __future__ import annotations

import binascii
from typing import Annotated

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import SECRET, SingleLine, Table, Url, rule

# It becomes the name of a directory.
Registry = Annotated[
    str,
    rule("a registry, as in docker.io or registry.example.com:5000, or * for all",
         pattern=r"\*|(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:]{2,39}\])(?::[0-9]{1,5})?"),
]  # fmt: skip
Secret = Annotated[SingleLine, SECRET]


class Mirror(Table, frozen=True):
    """Where images of one registry are looked for first."""

    registry: Registry
    """Which one; `*` for every one that has no mirror of its own."""
    endpoint: tuple[Url, ...] | None = None
    """Mirrors, tried in this order and before the registry itself."""


class Credentials(Table, frozen=True):
    """Who the node is at one registry: a user name and password, or one of the tokens."""

    registry: Registry
    username: SingleLine | None = None
    password: Secret | None = None
    auth: Secret | None = None
    """Base64 of `username:password`, as in Docker's configuration."""
    identitytoken: Secret | None = None


class ContainerRegistry(Table, frozen=True):
    """Registries."""

    mirrors: tuple[Mirror, ...] | None = None
    credentials: tuple[Credentials, ...] | None = None


def check(registries: ContainerRegistry, *, complete: bool) -> None:
    """Refuse what cannot be meant: two entries for one registry, half of a login."""
    del complete
    for name in ("mirrors", "credentials"):
        seen: set[str] = set()
        for index, entry in enumerate(getattr(registries, name) or ()):
            if entry.registry in seen:
                raise SettingsError(
                    ("container-registry", name, index, "registry"),
                    f"{entry.registry} is in this list twice",
                )
            seen.add(entry.registry)
    for index, login in enumerate(registries.credentials or ()):
        if login.auth is not None and not _is_login(login.auth):
            raise SettingsError(
                ("container-registry", "credentials", index, "auth"),
                "is not base64 of a user name, a colon and a password",
            )
        where = ("container-registry", "credentials", index)
        if (login.username is None) != (login.password is None):
            raise SettingsError(where, "has one of username and password; a login needs both")


def _is_login(text: str) -> bool:
    try:
        return ":" in binascii.a2b_base64(text, strict_mode=True).decode()
    except (binascii.Error, ValueError):
        return False


Model = ContainerRegistry
