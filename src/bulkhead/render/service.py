"""What a renderer is made of: files, and the service whose files they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from bulkhead.model.errors import UserError

Settings = Mapping[str, object]
"""The whole tree, validated, without an outer `settings`."""

Verb = Literal["restart", "try-restart", "reload-or-try-restart", "lockdown"]


class RenderError(UserError):
    """A setting cannot be written into a file; `where` is its key."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the settings want it."""

    path: str
    """Absolute, below `/etc`."""
    data: bytes
    mode: int = 0o644
    secret: bool = False
    """Its content is never shown: no difference, no log."""
    base: str | None = None
    """A file of the image whose bytes come first."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is done when files of a service have changed."""

    verb: Verb
    unit: str = ""
    """The systemd unit, for the verbs that have one."""

    def __str__(self) -> str:
        return f"{self.verb} {self.unit}".strip()


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Something that settings concern: what it reads and what makes it read again."""

    name: str
    keys: tuple[str, ...]
    """Settings that concern it, each with all that is below: `network.hostname`."""
    render: Callable[[Settings], tuple[File, ...]]
    """All its files. Raises RenderError."""
    files: Mapping[str, str] = {}
    """Names of its files and their paths, as the API shows them. A path that ends with `/` is a
    directory of ours alone."""
    steps: tuple[Step, ...] = ()
    """In this order."""
    notes: Callable[[Settings], tuple[str, ...]] = lambda settings: ()
    """What people should know of settings that are valid and that this machine's programs cannot
    follow, one line each, beginning with the key. Few and short, whatever the settings are: they are
    in every answer."""


class ConfigurationFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as the API shows it."""

    path: str
    service: str
    """Name of the service whose file it is."""
