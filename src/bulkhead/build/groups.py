"""The settings of a variant: which groups a node has, its defaults, and the variant's own groups.

Everything is checked here, when the image is made: on a node nobody could put
it right. An own group is a directory with a `group.toml`, templates, and
either `schema.json` or `group.py`; see docs/how-to/add-settings.md.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path

import msgspec

from bulkhead.build import steps, tomlfile, variants
from bulkhead.build.tree import Tree, file, file_from
from bulkhead.build.variants import Resolved
from bulkhead.lib import groups as shipped
from bulkhead.lib import suggest
from bulkhead.model.errors import UserError
from bulkhead.model.settings import from_schema, keys
from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.declared import Type, require_sound
from bulkhead.model.settings.groups import GENERAL, Group, Groups
from bulkhead.model.settings.keys import Settings
from bulkhead.model.settings.own import Name, OwnGroup
from bulkhead.render import own as render
from bulkhead.render import services
from bulkhead.render.service import Service

PLACE = shipped.HERE.as_posix().lstrip("/")
MODULES = f"usr/lib/python3/dist-packages/{shipped.MODULES}"


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """A group that the variant brings along."""

    name: str
    folder: Path
    described: OwnGroup
    group: Group


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What a node of the variant can be told, and what it is told by its image."""

    groups: Groups
    names: tuple[str, ...]
    """Bulkhead's groups among them."""
    own: tuple[Own, ...]
    defaults: Settings

    @property
    def services(self) -> tuple[Service, ...]:
        """All services that its settings concern, in their order."""
        made = [
            (
                render.service(
                    item.name, item.described, group=_giver(item.group),
                    template=partial(_template, item.folder),
                ),
                item.described,
            )
            for item in self.own
        ]  # fmt: skip
        return render.placed(services.SERVICES, made)


def choose(resolved: Resolved) -> Chosen:
    """Read the groups of a variant and check its default settings.

    Raises:
        UserError: there is no such group, an own group is wrong, or a default
            is, or the variant brings a file that settings write; with the
            file that says so.
    """
    asked = resolved.variant.settings_groups
    own = tuple(read(Path(item)) for item in asked if "/" in item)
    names = tuple(item for item in asked if "/" not in item)
    for name in names:
        if name not in GENERAL:
            raise UserError(
                f"there is no group of settings {name!r}", where=_says(resolved, name),
                hint=suggest.hint(name, GENERAL)
                or f"known: {', '.join(GENERAL)}; one of your own needs a slash: ./settings/{name}",
            )  # fmt: skip
    groups = Groups(names, own={item.name: _giver(item.group) for item in own})
    defaults: Settings = {}
    for item in own:
        if item.described.defaults:
            defaults[item.name] = item.described.defaults
    defaults = keys.merge(defaults, resolved.variant.settings)
    try:
        checked = groups.check(defaults, complete=True)
    except SettingsError as error:
        raise UserError(
            f"{error.where}: {error.what}", where=_where(resolved, own, error), hint=error.hint
        ) from error
    chosen = Chosen(groups=groups, names=names, own=own, defaults=checked)
    _check_rootfs(resolved, chosen.services)
    return chosen


def read(folder: Path) -> Own:
    """Read one group that a variant brings along.

    Raises:
        UserError: something in the directory is wrong or missing.
    """
    name, path = folder.name, folder / "group.toml"
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        raise UserError(
            f"a group of settings cannot be called {name!r}", where=str(folder),
            hint="use small letters, digits and dashes, with a letter first",
        ) from error  # fmt: skip
    if name in (*GENERAL, "settings"):
        raise UserError(
            f"there is a group {name!r} already", where=str(folder), hint="choose another name"
        )
    described = tomlfile.read(path, OwnGroup)
    _check_files(described, folder)
    _check_order(described, path)
    _check_migrations(described, path)
    group = _declared(name, folder, described)
    return Own(name=name, folder=folder, described=described, group=group)


def place(agent: Tree, chosen: Chosen) -> None:
    """Write into the agent tree what its programs read about settings; see `lib.groups`."""
    listed = shipped.Shipped(groups=chosen.names, own=tuple(item.name for item in chosen.own))
    agent.put(f"{PLACE}/groups.json", file(_json(listed)))
    agent.put(f"{PLACE}/defaults.json", file(_json(chosen.defaults)))
    for item in chosen.own:
        folder = f"{PLACE}/groups/{item.name}"
        agent.put(f"{folder}/group.json", file(_json(item.described)))
        for name in {f.template for f in item.described.files}:
            agent.put(f"{folder}/{name}", file_from(item.folder / name))
        if (module := item.folder / "group.py").is_file():
            target = f"{MODULES}/{shipped.module_name(item.name)}.py"
            agent.put(target, file_from(module))
            agent.put(f"{MODULES}/__init__.py", file(b""))
        else:
            agent.put(f"{folder}/schema.json", file_from(item.folder / "schema.json"))


def folders(asked: Sequence[str]) -> list[Path]:
    """Return the directories of own groups among the groups that a variant asks for."""
    return [Path(item) for item in asked if "/" in item]


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted") + b"\n"


def _declared(name: str, folder: Path, described: OwnGroup) -> Group:
    schema, module = folder / "schema.json", folder / "group.py"
    if schema.is_file() == module.is_file():
        both = "both schema.json and group.py" if module.is_file() else "no schema.json or group.py"
        raise UserError(f"has {both}; a group is declared by one of them", where=str(folder))
    if module.is_file():
        if described.secrets:
            raise UserError(
                "secrets are marked in group.py, with Annotated[…, SECRET]",
                where=str(folder / "group.toml"), hint="take the key `secrets` out",
            )  # fmt: skip
        return _from_module(name, module)
    try:
        data = msgspec.json.decode(schema.read_bytes(), type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(f"is not a JSON object: {error}", where=str(schema)) from error
    try:
        kind = from_schema.declared(data, secrets=frozenset(described.secrets))
    except from_schema.SchemaError as error:
        raise UserError(
            f"{error.where}: {error.what}", where=str(schema), hint=error.hint
        ) from error
    return Group(name, Type(kind))


def _from_module(name: str, path: Path) -> Group:
    spec = importlib.util.spec_from_file_location(
        f"{shipped.MODULES}.{shipped.module_name(name)}", path
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # msgspec looks a struct's module up by name to understand its annotations.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        group = Group(name, Type(module.Model), getattr(module, "check", None))
        require_sound(group.kind)
        Groups([], own={name: _giver(group)}).json_schema()
    except Exception as error:
        raise UserError(
            f"cannot be used: {type(error).__name__}: {error}", where=str(path),
            hint="it needs `Model`, a msgspec struct with the group's settings",
        ) from error  # fmt: skip
    return group


def _template(folder: Path, name: str) -> str:
    return (folder / name).read_text("utf-8")


def _giver(group: Group) -> Callable[[], Group]:
    return lambda: group


def _check_files(described: OwnGroup, folder: Path) -> None:
    taken = {file.path for file in services.CONFIGURATION_FILES.values()}
    for item in described.files:
        path = folder / "group.toml"
        if item.path in taken or any(
            item.path.startswith(known) for known in taken if known.endswith("/")
        ):
            raise UserError(
                f"{item.path} is written by Bulkhead itself", where=str(path),
                hint="choose another path, or a drop-in beside it",
            )  # fmt: skip
        taken.add(item.path)
        try:
            _template(folder, item.template)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"the template cannot be read: {error}", where=str(folder / item.template)
            ) from error


def _check_rootfs(resolved: Resolved, known: Sequence[Service]) -> None:
    """Refuse files of the variant that its settings would write over."""
    taken = {path: service for service in known for path in service.files.values()}
    folders = tuple(path for path in taken if path.endswith("/"))
    for where, path in _brought(resolved):
        found = next((folder for folder in folders if path.startswith(folder)), path)
        if found in taken:
            names = " or ".join(f"settings.{key}" for key in taken[found].keys)
            raise UserError(
                f"{path} is written by Bulkhead itself", where=where,
                hint=f"say it in variant.toml with {names}, or choose another path",
            )  # fmt: skip


def _brought(resolved: Resolved) -> Iterator[tuple[str, str]]:
    """Yield where each file of the variant's own is said to be, and its path on a node."""
    for item in resolved.variant.rootfs:
        for path in steps.content(Path(item)):
            if path.is_symlink() or path.is_file():
                yield str(path), f"/{path.relative_to(item).as_posix()}"
    for elsewhere in resolved.variant.files:
        yield str(resolved.files[-1]), f"/{elsewhere.path.lstrip('/')}"


def _check_order(described: OwnGroup, path: Path) -> None:
    known = [service.name for service in services.SERVICES]
    for name in described.before:
        if name not in known:
            raise UserError(
                f"there is no service {name!r} to come before", where=str(path),
                hint=suggest.hint(name, known) or f"known: {', '.join(known)}",
            )  # fmt: skip


def _check_migrations(described: OwnGroup, path: Path) -> None:
    for step in described.migrations:
        for key in (*step.added, *step.renamed, *step.renamed.values()):
            try:
                keys.parse(key)
            except UserError as error:
                raise UserError(
                    f"migrations: {error.what}", where=str(path), hint=error.hint
                ) from error


def _says(resolved: Resolved, name: str) -> str:
    """Return the file that asks for a group."""
    for path in reversed(resolved.files):
        if name in variants.read(path).settings_groups:
            return tomlfile.line(path.read_text(), path, ("settings-groups",))
    return str(resolved.files[-1])


def _where(resolved: Resolved, own: Sequence[Own], error: SettingsError) -> str:
    """Return the file and line of a default that is wrong, or of the table that lacks something."""
    key = tuple(str(part) for part in takewhile(lambda part: isinstance(part, str), error.key))
    for end in range(len(key), 0, -1):
        part = key[:end]
        for path in reversed(resolved.files):
            if keys.lookup(variants.read(path).settings, part) is not None:
                return tomlfile.line(path.read_text(), path, ("settings", *part))
        for item in own:
            if part[0] == item.name and keys.lookup(item.described.defaults, part[1:]) is not None:
                path = item.folder / "group.toml"
                return tomlfile.line(path.read_text(), path, ("defaults", *part[1:]))
    return str(resolved.files[-1])
