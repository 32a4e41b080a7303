"""Makes declared types from a JSON Schema, for groups of settings that a variant brings along.

Types rather than a validator of JSON Schemas: a setting has to be found by
its key (to guess what a text means, to hide a secret, to list all keys), and
one walk then says what is wrong in the same words for every group. What has
no counterpart among the types is refused when the image is built, so a schema
never means less on a node than it seems to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta

from bulkhead.model.errors import UserError
from bulkhead.model.settings.check import suggest
from bulkhead.model.settings.values import (
    NEEDED,
    SECRET,
    Base64,
    Hostname,
    IpAddress,
    IpNetwork,
    Url,
    is_line,
    only,
)

Schema = Mapping[str, object]

_ALWAYS = {
    "type", "title", "description", "default", "examples", "writeOnly", "$comment", "$schema",
    "$id", "$defs",
}  # fmt: skip
_KEYWORDS = {
    "string": {"pattern", "minLength", "maxLength", "format", "enum", "contentEncoding", "x-lines"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "boolean": set(),
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties", "propertyNames"},
}
_FORMATS: dict[str, object] = {
    "ip": IpAddress, "ip-network": IpNetwork, "hostname": Hostname, "uri": Url,
}  # fmt: skip
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?")
_ELSE = "what needs more than this is declared in group.py"


class SchemaError(UserError):
    """A schema is wrong, or says what no declared type can say; `where` is the place in it."""


class _Part(msgspec.Struct, frozen=True):
    """A part of a schema, and what it describes."""

    schema: Schema
    key: tuple[str, ...]
    where: str
    refs: tuple[str, ...] = ()
    """References that were followed to get here."""
    item: bool = False
    """It is inside a list, so it is always set as a whole."""

    def inside(self, schema: object, name: str, where: str, *, item: bool = False) -> _Part:
        if not isinstance(schema, Mapping):
            raise SchemaError("a schema is an object", where=f"{self.where}/{where}")
        return _Part(
            schema, (*self.key, name) if name else self.key, f"{self.where}/{where}", self.refs,
            self.item or item,
        )  # fmt: skip

    def wrong(self, what: str, hint: str | None = None) -> NoReturn:
        raise SchemaError(what, where=self.where, hint=hint)

    def number(self, keyword: str) -> float | None:
        value = self.schema.get(keyword)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**63:
            self.wrong(f"{keyword} has to be a number below 2^63, not {value!r}")
        return value

    def count(self, keyword: str) -> int | None:
        value = self.number(keyword)
        if value is not None and (value != int(value) or value < 0):
            self.wrong(f"{keyword} has to be a whole number from 0, not {value!r}")
        return None if value is None else int(value)


def declared(schema: Schema, *, secrets: frozenset[str] = frozenset()) -> object:
    """Return the type of a group whose settings a JSON Schema describes.

    Args:
        schema: as it was read from JSON.
        secrets: keys inside the group that are never shown, besides those that
            the schema marks with `writeOnly`; `<name>` stands for free names.

    Raises:
        SchemaError: the schema is wrong, or a secret is not in it.
    """
    reader = _Reader(schema, secrets)
    made = reader.read(_Part(schema, (), "#"))
    for secret in sorted(secrets - reader.keys):
        raise SchemaError(
            f"there is no {secret!r} that could be secret", where="#",
            hint=suggest(secret, sorted(reader.keys)),
        )  # fmt: skip
    return made


class _Reader:
    def __init__(self, root: Schema, secrets: frozenset[str]) -> None:
        self._root = root
        self._secrets = secrets
        self.keys: set[str] = set()
        self._makers = {
            "string": _string, "integer": _integer, "number": _number, "boolean": lambda _: bool,
            "array": self._array, "object": self._object,
        }  # fmt: skip

    def read(self, part: _Part) -> object:
        part = self._followed(part)
        kind = part.schema.get("type", "string" if "enum" in part.schema else None)
        if not isinstance(kind, str) or kind not in _KEYWORDS:
            part.wrong(f"type has to be one of {', '.join(sorted(_KEYWORDS))}, not {kind!r}", _ELSE)
        known = _KEYWORDS[kind] | _ALWAYS
        for keyword in part.schema:
            if keyword not in known:
                hint = suggest(keyword, sorted(known)) or _ELSE
                part.wrong(f"{keyword!r} is not understood beside type {kind!r}", hint)
        made = self._makers[kind](part)
        key = ".".join(part.key)
        self.keys.add(key)
        secret = key in self._secrets or part.schema.get("writeOnly") is True
        return Annotated[made, SECRET] if secret else made

    def _followed(self, part: _Part) -> _Part:
        while (target := part.schema.get("$ref")) is not None:
            if not isinstance(target, str) or not target.startswith("#/$defs/"):
                part.wrong(f"$ref has to be #/$defs/NAME, not {target!r}")
            if target in part.refs:
                part.wrong(f"{target} contains itself; settings end somewhere")
            parts = self._root.get("$defs")
            name = target.removeprefix("#/$defs/")
            found = parts.get(name) if isinstance(parts, Mapping) else None
            if not isinstance(found, Mapping):
                part.wrong(f"there is no {target}")
            beside = {key: value for key, value in part.schema.items() if key != "$ref"}
            part = _Part({**found, **beside}, part.key, target, (*part.refs, target), part.item)
        return part

    def _array(self, part: _Part) -> object:
        item = self.read(part.inside(part.schema.get("items"), "", "items", item=True))
        low, high = part.count("minItems"), part.count("maxItems")
        made = tuple.__class_getitem__((item, ...))
        return Annotated[made, Meta(min_length=low, max_length=high)] if low or high else made

    def _object(self, part: _Part) -> object:
        properties, others = part.schema.get("properties"), part.schema.get("additionalProperties")
        if properties is None:
            return self._free(part, others)
        if others not in (None, False) or "propertyNames" in part.schema:
            part.wrong("has names of its own and free ones; settings have one or the other", _ELSE)
        required = part.schema.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            part.wrong("properties is an object and required a list")
        for name in required:
            if name not in properties:
                part.wrong(f"requires {name!r}, which it does not have")
        return self._struct(part, properties, required)

    def _struct(self, part: _Part, properties: Schema, required: list[object]) -> object:
        made: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        for number, (name, inner) in enumerate(properties.items()):
            if not _NAME.fullmatch(name):
                part.wrong(f"{name!r} cannot be a setting's name: small letters, digits and dashes")
            kind = self.read(part.inside(inner, name, f"properties/{name}"))
            names[f"f{number}"] = name
            if name in required and part.item:
                made.append((f"f{number}", kind))
            else:
                needed = Annotated[kind, NEEDED] if name in required else kind
                made.append((f"f{number}", needed | None, None))  # type: ignore[operator] # a type
        return msgspec.defstruct(
            "".join(word.title() for word in part.key[-1:]) or "Group", made, frozen=True,
            kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename=names,
        )  # fmt: skip

    def _free(self, part: _Part, others: object) -> object:
        if not isinstance(others, Mapping):
            part.wrong("has neither properties nor a schema in additionalProperties")
        of_names = part.schema.get("propertyNames", {"type": "string", "minLength": 1})
        if not isinstance(of_names, Mapping):
            part.wrong("propertyNames is a schema")
        names = _string(part.inside({"type": "string", **of_names}, "", "propertyNames"))
        value = self.read(part.inside(others, "<name>", "additionalProperties"))
        return Annotated[dict.__class_getitem__((names, value)), only(names)]


def _string(part: _Part) -> object:
    schema = part.schema
    if "enum" in schema:
        values = schema["enum"]
        if (
            not isinstance(values, list)
            or not all(isinstance(v, str) for v in values)
            or not values
        ):
            part.wrong("enum is a list of texts")
        return Literal.__getitem__(tuple(values))
    if "format" in schema or "contentEncoding" in schema:
        return _formatted(part)
    pattern = schema.get("pattern")
    try:
        re.compile(pattern if isinstance(pattern, str) else "")
    except re.error as error:
        part.wrong(f"pattern cannot be read: {error}")
    if pattern is not None and not isinstance(pattern, str):
        part.wrong("pattern is a text")
    lines = schema.get("x-lines") is True
    low, high = part.count("minLength"), part.count("maxLength")
    says = "text" if lines else "one line of text"
    says += "" if pattern is None else f", like {pattern}"
    says += "" if low is None else f", at least {low} characters"
    says += "" if high is None else f", at most {high} characters"
    meta = Meta(
        pattern=pattern, min_length=low, max_length=high,
        extra={"says": says, "check": None if lines else is_line},
    )  # fmt: skip
    return Annotated[str, meta]


def _formatted(part: _Part) -> object:
    for keyword in ("pattern", "minLength", "maxLength", "x-lines"):
        if keyword in part.schema:
            part.wrong(f"has a format and {keyword!r}; only one of them can hold", _ELSE)
    if part.schema.get("contentEncoding", "base64") != "base64":
        part.wrong("contentEncoding can only be base64")
    if "format" not in part.schema:
        return Base64
    form = part.schema["format"]
    if form not in _FORMATS:
        part.wrong(f"format {form!r} is not known", f"known: {', '.join(_FORMATS)}")
    return _FORMATS[str(form)]


def _integer(part: _Part) -> object:
    low, high = part.number("minimum"), part.number("maximum")
    whole = [None if value is None else int(value) for value in (low, high)]
    return Annotated[int, Meta(ge=whole[0], le=whole[1])]


def _number(part: _Part) -> object:
    return Annotated[float, Meta(ge=part.number("minimum"), le=part.number("maximum"))]
