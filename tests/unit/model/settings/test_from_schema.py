"""Groups that a JSON Schema declares: what is understood, and what is refused rather than ignored."""

from __future__ import annotations

import pytest

from bulkhead.model.settings import from_schema
from bulkhead.model.settings.declared import Type
from bulkhead.model.settings.groups import HIDDEN, Group, Groups, SettingsError
from bulkhead.model.settings.keys import Settings

USER: dict[str, object] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "password": {"type": "string", "writeOnly": True},
        "mode": {"enum": ["read", "write"]},
    },
    "required": ["name"],
}
SCHEMA: dict[str, object] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"user": USER},
    "properties": {
        "greeting": {"type": "string", "maxLength": 10},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "ratio": {"type": "number", "minimum": 0, "maximum": 1},
        "on": {"type": "boolean"},
        "token": {"type": "string"},
        "key": {"type": "string", "contentEncoding": "base64"},
        "text": {"type": "string", "x-lines": True},
        "server": {"type": "string", "format": "ip"},
        "users": {"type": "object", "additionalProperties": {"$ref": "#/$defs/user"},
                  "propertyNames": {"pattern": "^[a-z]+$"}},
        "list": {"type": "array", "items": {"$ref": "#/$defs/user"}, "maxItems": 2},
    },
}  # fmt: skip


def groups(schema: dict[str, object], *secrets: str) -> Groups:
    """Return groups with one that a schema declares."""
    kind = Type(from_schema.declared(schema, secrets=frozenset(secrets)))
    return Groups(["motd"], own={"own": lambda: Group("own", kind)})


OWN = groups(SCHEMA, "token")


def test_takes_what_the_schema_allows() -> None:
    """Every keyword that is understood lets right values through."""
    settings: Settings = {
        "own": {
            "greeting": "hello", "port": 80, "ratio": 0.5, "on": True, "token": "x",
            "key": "aGVsbG8=", "text": "a\nb", "server": "2001:db8::1",
            "users": {"ann": {"name": "ann", "mode": "read"}},
            "list": [{"name": "bob", "password": "x"}],
        }
    }  # fmt: skip

    assert OWN.check(settings, complete=True) == settings


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"greeting": "a\nb"}, 'own.greeting: expected one line of text, at most 10 characters, got "a\\nb"'),
        ({"greeting": "x" * 11}, "own.greeting: expected one line of text, at most 10 characters, "
         f'got "{"x" * 11}"'),
        ({"port": 0}, "own.port: expected a whole number from 1 to 65535, got 0"),
        ({"ratio": 2}, "own.ratio: expected a number from 0 to 1, got 2"),
        ({"on": 1}, "own.on: expected true or false, got 1"),
        ({"key": "?"}, 'own.key: expected base64, got "?"'),
        ({"server": "x"}, 'own.server: expected an IPv4 or IPv6 address, got "x"'),
        ({"token": 1}, "own.token: expected one line of text, got something else, which is not shown"),
        ({"users": {"A": {}}}, 'own.users: the name "A" cannot be: expected one line of text, like '
         "^[a-z]+$"),
        ({"users": {"ann": {"name": "1"}}}, "own.users.ann.name: expected one line of text, like "
         '^[a-z]+$, got "1"'),
        ({"users": {"ann": {"mode": "rw"}}}, 'own.users.ann.mode: expected "read" or "write", got "rw"'),
        ({"list": [{"mode": "read"}]}, "own.list[0].name: is missing, and the rest means nothing "
         "without it"),
        ({"list": [{"name": "a"}] * 3}, "own.list: expected a list of at most 2, each item a table, "
         "got a list of 3"),
        ({"lst": []}, "own.lst: there is no such setting\n  hint: did you mean 'list'?"),
    ],
)  # fmt: skip
def test_refuses_what_the_schema_refuses(value: object, message: str) -> None:
    """The words are those of Bulkhead's own groups, with the key in full."""
    with pytest.raises(SettingsError) as caught:
        OWN.check({"own": value})

    assert str(caught.value) == f"settings.{message}"


def test_what_a_schema_requires_is_needed_in_the_end() -> None:
    """A part of a table may be set first; when all is known, it has to be whole."""
    part: Settings = {"own": {"users": {"ann": {"mode": "read"}}}}

    assert OWN.check(part) == part
    with pytest.raises(SettingsError, match=r"own\.users\.ann\.name: is missing"):
        OWN.check(part, complete=True)


def test_secrets_of_a_schema_are_hidden() -> None:
    """Those that it marks and those that the group names."""
    assert OWN.is_secret(("own", "token"))
    assert OWN.is_secret(("own", "users", "ann", "password"))
    assert not OWN.is_secret(("own", "users", "ann", "name"))
    assert OWN.redact({"own": {"token": "x", "list": [{"name": "a", "password": "y"}]}}) == {
        "own": {"token": HIDDEN, "list": [{"name": "a", "password": HIDDEN}]}
    }


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": ["string", "null"]}, "#/properties/x: type has to be one of"),
        ({}, "#/properties/x: type has to be one of"),
        ({"type": "string", "oneOf": []}, "#/properties/x: 'oneOf' is not understood beside type"),
        ({"type": "integer", "multipleOf": 2}, "'multipleOf' is not understood"),
        ({"type": "integer", "minimum": "1"}, "minimum has to be a number below 2\\^63, not '1'"),
        ({"type": "integer", "minimum": 2**63}, "minimum has to be a number below 2\\^63"),
        ({"type": "string", "minLength": 1.5}, "minLength has to be a whole number from 0"),
        ({"type": "string", "pattern": "("}, "pattern cannot be read"),
        ({"type": "string", "pattern": 1}, "pattern is a text"),
        ({"type": "string", "enum": [1]}, "enum is a list of texts"),
        ({"type": "string", "enum": []}, "enum is a list of texts"),
        ({"type": "string", "format": "email"}, "format 'email' is not known"),
        ({"type": "string", "format": "ip", "pattern": "a"}, "has a format and 'pattern'"),
        ({"type": "string", "contentEncoding": "gzip"}, "contentEncoding can only be base64"),
        ({"type": "array"}, "#/properties/x/items: a schema is an object"),
        ({"type": "object"}, "has neither properties nor a schema in additionalProperties"),
        ({"type": "object", "additionalProperties": True}, "has neither properties nor a schema"),
        ({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
         "has names of its own and free ones"),
        ({"type": "object", "properties": {"a_b": {"type": "string"}}},
         "'a_b' cannot be a setting's name"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]},
         "requires 'b', which it does not have"),
        ({"$ref": "other.json"}, "\\$ref has to be #/\\$defs/NAME"),
        ({"$ref": "#/$defs/none"}, "there is no #/\\$defs/none"),
        ({"$ref": "#/$defs/loop"}, "#/\\$defs/loop contains itself"),
        ("x", "#/properties/x: a schema is an object"),
    ],
)  # fmt: skip
def test_a_schema_never_means_less_than_it_says(part: object, message: str) -> None:
    """What is not understood is an error when the image is built, not a check that never happens."""
    loop = {"type": "array", "items": {"$ref": "#/$defs/loop"}}

    with pytest.raises(from_schema.SchemaError, match=message):
        groups({"type": "object", "properties": {"x": part}, "$defs": {"loop": loop}})


def test_a_secret_has_to_be_there() -> None:
    """A misspelt secret would be shown."""
    with pytest.raises(
        from_schema.SchemaError, match="there is no 'tokn' that could be secret"
    ) as caught:
        groups(SCHEMA, "tokn")

    assert caught.value.hint == "did you mean 'token'?"
