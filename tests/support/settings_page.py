"""The reference of all settings, made from the models: a page for people and a JSON Schema for editors."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import get_args

import msgspec

from bulkhead.build import groups, variants
from bulkhead.model.settings import declared, keys
from bulkhead.model.settings.declared import Type
from bulkhead.model.settings.groups import GENERAL, Groups
from bulkhead.model.settings.keys import Key
from bulkhead.render import services

INTRODUCTION = """\
All settings that Bulkhead knows. A variant says which groups its nodes have (`settings-groups` in
[variant.toml](variants.md)) and may [add its own](../how-to/add-settings.md). Names and rules are those of Bottlerocket;
`network.interfaces` and `firewall` are Bulkhead's. `<name>` stands for a name of your own choice, 🔒 for a value that
is never shown. An unset setting is absent, never null. The same as a JSON Schema, for editors and other programs:
[settings.schema.json](settings.schema.json).

Services are those that a change concerns; a node [keeps its settings](../explanation/settings-store.md) across updates.
A setting without a service is checked, kept and shown, but nothing on a node acts on it yet.
"""


class Row(msgspec.Struct, frozen=True):
    """One key."""

    key: Key
    kind: Type
    words: str


def page(note: str) -> str:
    """Return the page."""
    parts = ["# Settings\n\n", note, INTRODUCTION]
    for name in GENERAL:
        module = import_module(f"bulkhead.model.settings.{name.replace('-', '_')}")
        parts.append(f"\n## {name}\n\n{inspect.cleandoc(module.__doc__ or '')}\n\n")
        parts.append("| Key | Value | | Services |\n|---|---|---|---|\n")
        parts += [_line(row) for row in rows(Groups([name]).kind(name), (name,), "")]
    return "".join(parts)


def schema() -> str:
    """Return the JSON Schema, with what the fields' docstrings say."""
    all_groups = Groups(GENERAL)
    made = all_groups.json_schema()
    parts = made["$defs"]
    assert isinstance(parts, dict)
    for name in GENERAL:
        for kind in _structs(all_groups.kind(name)):
            properties = parts[kind.__name__]["properties"]
            for field, words in field_words(kind).items():
                if words:
                    properties[field]["description"] = words
    return msgspec.json.format(msgspec.json.encode(made), indent=1).decode() + "\n"


def rows(kind: Type, above: Key, words: str) -> Iterator[Row]:
    """Yield every key below a type; tables whose values are all alike are one row."""
    table = next((choice for choice in kind.choices if choice.shape == "table"), None)
    if table is None:
        yield Row(above, kind, words)
    elif declared.is_struct(table.base):
        assert isinstance(table.base, type)
        said = field_words(table.base)
        for name in declared.fields(table.base):
            inner = kind.inside(name)
            assert inner is not None
            yield from rows(inner, (*above, name), said[name])
    else:
        of_name, of_value = map(Type, get_args(table.base))
        value = kind.inside(next(iter(of_name.names()), "x")) or of_value
        yield from rows(value, (*above, "<name>"), words)


@cache
def field_words(kind: type) -> dict[str, str]:
    """Return what the docstrings below a table's fields say, by the names of settings."""
    source = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    node = next(n for n in source.body if isinstance(n, ast.ClassDef) and n.name == kind.__name__)
    said: dict[str, str] = {}
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            words = after.value if isinstance(after, ast.Expr) else None
            text = words.value if isinstance(words, ast.Constant) else ""
            said[item.target.id] = " ".join(str(text).split())
    names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    return {names[name]: text for name, text in said.items()}


def _structs(kind: Type) -> Iterator[type]:
    for choice in kind.choices:
        if declared.is_struct(choice.base):
            assert isinstance(choice.base, type)
            yield choice.base
            for field in declared.fields(choice.base).values():
                yield from _structs(field)
        elif choice.shape in ("list", "table"):
            for inner in get_args(choice.base):
                yield from _structs(Type(inner)) if inner is not Ellipsis else ()


def _line(row: Row) -> str:
    key = keys.format(row.key).removeprefix("settings.").replace('"<name>"', "<name>")
    secret = " 🔒" if row.kind.secret else ""
    concerned = ", ".join(service.name for service in services.affected([row.key]))
    cells = (f"`{key}`{secret}", _value(row), _words(row), concerned)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _value(row: Row) -> str:
    text = declared.describe(row.kind)
    item = row.kind.item(0) if row.kind.choices[0].shape == "list" else None
    if item is not None and declared.is_struct(item.base):
        assert isinstance(item.base, type)
        fields = ", ".join(
            f"`{name}`{' 🔒' if field.secret else ''} ({declared.describe(field)})"
            for name, field in declared.fields(item.base).items()
        )
        return f"a list of tables: {fields}"
    return text


def _words(row: Row) -> str:
    default = keys.lookup(_defaults(), row.key)
    said = row.words
    if default is not None:
        said += f" Default: `{msgspec.json.encode(default).decode()}`."
    return said.strip()


@cache
def _defaults() -> keys.Settings:
    return groups.choose(variants.load("standalone")).defaults
