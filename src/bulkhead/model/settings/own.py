"""A group of settings that a variant brings along: what its `group.toml` says.

Beside it are the templates and either `schema.json`, a JSON Schema, or
`group.py`, a module like those of Bulkhead's own groups. Only the shape is
here: `build.settings` reads and checks such a directory and places it in the
image, `from_schema` understands the schema, `render` fills the templates.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,40}$(?!\n)")]
_FILE_NAME = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}$(?!\n)"


class _Table(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    pass


class File(_Table, frozen=True):
    """A file that is made from the settings."""

    template: Annotated[str, Meta(pattern=_FILE_NAME)]
    """File name of a Jinja2 template beside `group.toml`. It sees the group's settings by their names
    (`-` becomes `_`), and all settings as `settings`."""
    path: Annotated[str, Meta(pattern=r"^/etc(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9@._-]+)+$(?!\n)")]
    """Where it goes: an absolute path below `/etc`."""
    mode: Annotated[str, Meta(pattern=r"^0[0-7]{3}$(?!\n)")] = "0644"


class Service(_Table, frozen=True):
    """A unit that reads these files."""

    unit: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9:_.\\@-]{1,240}\.(?:service|socket|timer|target|path|mount)$(?!\n)"
        ),
    ]
    action: Literal["restart", "try-restart", "reload-or-try-restart"] = "try-restart"
    """What happens to it when a file has changed: `try-restart` leaves a stopped unit alone."""


class Migration(_Table, frozen=True):
    """How the settings' names changed; each one raises the group's schema version by one."""

    renamed: dict[str, str] = {}
    """The new key by the old one, both inside the group: `"old" = "new.place"`."""
    added: tuple[str, ...] = ()
    """Keys that are new: an older image does not get to see them."""


class OwnGroup(_Table, frozen=True):
    """The file itself; the directory's name is the group's."""

    description: str
    """One sentence."""
    defaults: dict[str, object] = {}
    """Values of the group that hold until somebody sets others."""
    secrets: tuple[str, ...] = ()
    """Keys whose values are never shown: `token`, `users.<name>.password`."""
    files: tuple[File, ...] = ()
    services: tuple[Service, ...] = ()
    """Units, in the order in which they are acted on."""
    before: tuple[str, ...] = ()
    """Names of Bulkhead's services that are acted on after this group's; it comes last otherwise."""
    migrations: tuple[Migration, ...] = ()
    """Oldest first. One that has been released is never changed."""

    @property
    def schema(self) -> int:
        """The version of the form that its settings have."""
        return 1 + len(self.migrations)
