"""Reads which settings an image has: `groups.json`, `defaults.json`, and the variant's own groups.

The builder writes these files into the agent tree (`build.settings`), and the
agents of a node read them at `HERE`. A variant's own group is read when its
first setting is looked at, and until then costs nothing but its name.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import msgspec

from bulkhead.model.errors import HostError
from bulkhead.model.settings.declared import Type
from bulkhead.model.settings.groups import Group, Groups
from bulkhead.model.settings.keys import Settings
from bulkhead.model.settings.own import OwnGroup

HERE = Path("/usr/share/bulkhead")
"""Where the files are on a node, inside the agent tree."""
MODULES = "bulkhead_groups"
"""The package that holds the `group.py` of each of the variant's groups."""

T = TypeVar("T")


class Shipped(msgspec.Struct, frozen=True, kw_only=True):
    """`groups.json`."""

    groups: tuple[str, ...]
    """Names of Bulkhead's groups that the variant has."""
    own: tuple[str, ...] = ()
    """Names of those that it brings along; each has a directory `groups/NAME`."""


def load(directory: Path = HERE) -> Groups:
    """Return the groups of an image.

    Raises:
        HostError: the image is incomplete.
    """
    shipped = _read(directory / "groups.json", Shipped)
    return Groups(
        shipped.groups, own={name: partial(_own, name, directory) for name in shipped.own}
    )


def defaults(directory: Path = HERE) -> Settings:
    """Return the image's default settings.

    Raises:
        HostError: the image is incomplete.
    """
    return _read(directory / "defaults.json", Settings)


def own(directory: Path = HERE) -> dict[str, OwnGroup]:
    """Return what the variant's own groups say, by name: files, services, migrations.

    Raises:
        HostError: the image is incomplete.
    """
    shipped = _read(directory / "groups.json", Shipped)
    return {name: _described(name, directory) for name in shipped.own}


def template(group: str, name: str, *, directory: Path = HERE) -> str:
    """Return the text of a template of one of the variant's own groups.

    Raises:
        HostError: the image is incomplete.
    """
    path = directory / "groups" / group / name
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"the image's template cannot be read: {error}", where=str(path)) from error


def module_name(name: str) -> str:
    """Return the module of a group that is declared in Python."""
    return name.replace("-", "_")


def _described(name: str, directory: Path) -> OwnGroup:
    return _read(directory / "groups" / name / "group.json", OwnGroup)


def _own(name: str, directory: Path) -> Group:
    schema = directory / "groups" / name / "schema.json"
    if schema.exists():
        from bulkhead.model.settings import from_schema

        secrets = frozenset(_described(name, directory).secrets)
        kind = from_schema.declared(_read(schema, dict[str, object]), secrets=secrets)
        return Group(name, Type(kind))
    module = import_module(f"{MODULES}.{module_name(name)}")
    return Group(name, Type(module.Model), getattr(module, "check", None))


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise HostError(
            f"the image's settings cannot be read: {error}", where=str(path),
            hint="the image was not built completely; build it again",
        ) from error  # fmt: skip
