"""The declared type of a setting: what it is, what is inside it, what it is called in words.

Types are those that msgspec knows: structs, `dict[key, value]`, tuples,
unions, literals, text, numbers and booleans, with rules and marks of `values`
around them. msgspec judges single values by them; this module adds what it
has no words for.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from bulkhead.model.settings.keys import Key
from bulkhead.model.settings.values import SECRET

_SHAPES: dict[object, str] = {bool: "boolean", int: "integer", float: "number", str: "text"}
_WORDS = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}


class Type:
    """A declared type without its wrappings: `Annotated`, and the None of an unset field."""

    def __init__(self, declared: object) -> None:
        metas: list[Meta] = []
        base = declared
        while True:
            choices = _without_none(base)
            if get_origin(base) is Annotated:
                base, *found = get_args(base)
                metas += [meta for meta in found if isinstance(meta, Meta)]
            elif choices is not None and len(choices) == 1:
                base = choices[0]
            else:
                break
        self.declared = declared
        self.base = base
        self.metas = tuple(metas)
        self.choices: tuple[Type, ...] = tuple(Type(c) for c in choices) if choices else (self,)
        """The types that a value may have: one, except for a union."""

    def mark(self, name: str) -> object | None:
        """Return what a rule or a mark says, the outermost if several do."""
        found = (meta.extra.get(name) for meta in reversed(self.metas) if meta.extra)
        return next((value for value in found if value is not None), None)

    @property
    def secret(self) -> bool:
        """Whether its values are never shown."""
        return self.mark("secret") is not None

    @property
    def shape(self) -> str:
        """What its values are: table, list, boolean, integer, number or text."""
        origin = get_origin(self.base)
        if is_struct(self.base) or origin is dict:
            return "table"
        if origin is tuple:
            return "list"
        if origin is Literal:
            return "text"
        if self.base not in _SHAPES:
            raise TypeError(f"settings have no values of type {self.base!r}")
        return _SHAPES[self.base]

    def inside(self, name: str) -> Type | None:
        """Return the type at a key of this table; None if there is no such key."""
        for choice in self.choices:
            if is_struct(choice.base):
                found = fields(choice.base).get(name)
            elif get_origin(choice.base) is dict and fits(name, Type(get_args(choice.base)[0])):
                found = Type(get_args(choice.base)[1])
            else:
                found = None
            if found is not None:
                return Type(Annotated[found.declared, SECRET]) if self.secret else found
        return None

    def item(self, index: int) -> Type | None:
        """Return the type of an item of this list; None if the list ends before it."""
        arguments = get_args(self.base)
        if arguments[-1] is Ellipsis:
            return Type(arguments[0])
        return Type(arguments[index]) if index < len(arguments) else None

    def lengths(self) -> tuple[int, float]:
        """Return how many items this list has at least and at most."""
        arguments = get_args(self.base)
        if arguments[-1] is not Ellipsis:
            return len(arguments), len(arguments)
        low = max((meta.min_length or 0 for meta in self.metas), default=0)
        high = min((meta.max_length for meta in self.metas if meta.max_length), default=math.inf)
        return low, high

    def names(self) -> tuple[str, ...]:
        """Return the only texts that it can be; none if it may be others."""
        return get_args(self.base) if get_origin(self.base) is Literal else ()

    def holds_secrets(self) -> bool:
        """Tell whether its values are secret or have secrets in them."""
        if self.secret:
            return True
        if len(self.choices) > 1:
            return any(choice.holds_secrets() for choice in self.choices)
        if is_struct(self.base):
            return any(field.holds_secrets() for field in fields(self.base).values())
        if self.shape in ("table", "list"):
            return any(Type(a).holds_secrets() for a in get_args(self.base) if a is not Ellipsis)
        return False


def is_struct(kind: object) -> bool:
    """Tell whether a type is a table with fields."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


@cache
def fields(kind: type[msgspec.Struct]) -> dict[str, Type]:
    """Return the fields of a table by the names that they have in settings."""
    return {field.encode_name: Type(field.type) for field in msgspec.structs.fields(kind)}


@cache
def required(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the fields that a table always has: those of the items of lists."""
    return tuple(f.encode_name for f in msgspec.structs.fields(kind) if f.required)


def fits(value: object, kind: Type) -> bool:
    """Tell whether a value that is no table or list is as declared."""
    try:
        msgspec.convert(value, kind.declared)
    except msgspec.ValidationError:
        return False
    if isinstance(value, str):
        checks = (meta.extra.get("check") for meta in kind.metas if meta.extra)
        return all(check(value) for check in checks if check is not None)
    # TOML has them, JSON has not, and no setting means them.
    return value not in (float("inf"), float("-inf")) and value == value  # noqa: PLR0124 - not a number


def walk(kind: Type, above: Key) -> Iterator[tuple[Key, Type]]:
    """Yield every key at and below a type, with its type; `<name>` stands for names that are free."""
    table = next((choice for choice in kind.choices if choice.shape == "table"), None)
    if table is None:
        yield above, kind
    elif is_struct(table.base):
        for name in fields(table.base):
            inner = kind.inside(name)
            assert inner is not None
            yield from walk(inner, (*above, name))
    else:
        of_name, of_value = map(Type, get_args(table.base))
        for name in of_name.names() or ("<name>",):
            inner = Type(Annotated[of_value.declared, SECRET]) if kind.secret else of_value
            yield from walk(inner, (*above, name))


def require_sound(kind: Type) -> None:
    """Refuse types that this module or msgspec cannot judge values by.

    A union of a text and a list that both have rules makes msgspec 0.22 read
    foreign memory.

    Raises:
        TypeError: there is such a type in it; the text says which.
    """
    shapes = {choice.shape for choice in kind.choices}
    ruled = any(meta.pattern or meta.max_length for c in kind.choices for meta in c.metas)
    if {"list", "text"} <= shapes and ruled:
        raise TypeError(f"a text with rules beside a list: {kind.declared}")
    for choice in kind.choices:
        if is_struct(choice.base):
            for field in fields(choice.base).values():
                require_sound(field)
        elif choice.shape in ("list", "table"):
            for inner in get_args(choice.base):
                if inner is not Ellipsis:
                    require_sound(Type(inner))


def describe(kind: Type) -> str:
    """Return what a value of a type is, as errors say it after "expected"."""
    if (says := kind.mark("says")) is not None:
        return str(says)
    if len(kind.choices) > 1:
        return " or ".join(dict.fromkeys(describe(choice) for choice in kind.choices))
    arguments = get_args(kind.base)
    if get_origin(kind.base) is Literal:
        *some, last = (f'"{choice}"' for choice in arguments)
        return f"{', '.join(some)} or {last}" if some else last
    if kind.shape == "list":
        if arguments[-1] is Ellipsis:
            return f"a list{_length(kind)}, each item {describe(Type(arguments[0]))}"
        return "a list of " + " and ".join(describe(Type(item)) for item in arguments)
    return _WORDS.get(kind.shape, f"a {kind.shape}".replace("a text", "text")) + _bounds(kind)


def _bounds(kind: Type) -> str:
    low = next((meta.ge for meta in kind.metas if meta.ge is not None), None)
    high = next((meta.le for meta in kind.metas if meta.le is not None), None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f" of at least {low}"
    return "" if high is None else f" of at most {high}"


def _length(kind: Type) -> str:
    low = next((meta.min_length for meta in kind.metas if meta.min_length), None)
    high = next((meta.max_length for meta in kind.metas if meta.max_length), None)
    return ("" if low is None else f" of at least {low}") + (
        "" if high is None else f" of at most {high}"
    )


def _without_none(kind: object) -> tuple[object, ...] | None:
    if get_origin(kind) not in (Union, types.UnionType):
        return None
    return tuple(choice for choice in get_args(kind) if choice is not types.NoneType)
