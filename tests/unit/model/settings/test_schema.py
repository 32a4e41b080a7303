"""The JSON Schema of settings: whatever Bulkhead takes is right by it, for editors and other programs."""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from msgspec import Meta

from bulkhead.lib.dirs import repository_root
from bulkhead.model.settings.groups import GENERAL, Groups, SettingsError
from bulkhead.model.settings.keys import Settings
from bulkhead.model.settings.values import only, rule
from tests.support.settings import trees
from tests.unit.model.settings.test_bottlerocket import EXAMPLES

ALL = Groups(GENERAL)
PUBLISHED = repository_root() / "docs" / "reference" / "settings.schema.json"
VALIDATOR = jsonschema_rs.Draft202012Validator(ALL.json_schema())


def problems(settings: Settings) -> list[str]:
    """Return what a validator of JSON Schemas has against some settings."""
    return [error.message for error in VALIDATOR.iter_errors(settings)]


@given(trees(ALL))
def test_what_bulkhead_takes_is_right_by_the_schema(settings: Settings) -> None:
    """The schema is never stricter than the node."""
    try:
        normal = ALL.check(settings)
    except SettingsError:
        return

    assert problems(normal) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_bottlerockets_settings_are_right_by_the_schema(name: str) -> None:
    """What their users have can be checked in an editor."""
    assert problems(tomllib.loads(EXAMPLES[name])) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"montd": "x"},
        {"motd": None},
        {"motd": 1},
        {"network": {"hostnam": "a"}},
        {"network": {"hostname": "A"}},
        {"network": {"interfaces": {"eth0": {"mtu": 10}}}},
        {"network": {"interfaces": {"a/b": {}}}},
        {"kernel": {"lockdown": "x"}},
        {"oci-defaults": {"capabilities": {"sys_admin": True}}},
        {"container-registry": {"mirrors": [{}]}},
    ],
)
def test_the_schema_finds_most_of_what_is_wrong(settings: Settings) -> None:
    """Unknown names, wrong types, patterns, bounds, and what is missing in an item of a list."""
    assert problems(settings)
    with pytest.raises(SettingsError):
        ALL.check(settings)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (Literal["b", "a"], {"enum": ["a", "b"]}),
        (
            Annotated[str, Meta(pattern="^x", min_length=2), Meta(max_length=9)],
            {"pattern": "^x", "minLength": 2, "maxLength": 9},
        ),
        (Annotated[str, rule("an address", schema={"format": "ip"})], {"format": "ip"}),
    ],
)
def test_a_table_says_which_names_it_has(names: object, said: dict[str, object]) -> None:
    """All that a name is held to, with any version of msgspec."""
    assert only(names).extra_json_schema == {"propertyNames": said}


def test_the_published_schema_is_one() -> None:
    """The file in the reference is a schema of its dialect and says what its keys are for."""
    published = jsonschema_rs.Draft202012Validator(PUBLISHED.read_text())

    assert published.is_valid({"motd": "x"})
    assert not published.is_valid({"montd": "x"})
