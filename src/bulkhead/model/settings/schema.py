"""Makes the JSON Schema of settings from their declared types."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bulkhead.model.settings.declared import Type

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def of(kinds: Mapping[str, Type]) -> dict[str, object]:
    """Return the schema of a table with a group of settings at each name."""
    shapes, parts = msgspec.json.schema_components(
        [kind.declared for kind in kinds.values()], ref_template="#/$defs/{name}"
    )
    return {
        "$schema": DIALECT,
        "title": "Settings of a node",
        "type": "object",
        "properties": {name: _clean(shape) for name, shape in zip(kinds, shapes, strict=True)},
        "additionalProperties": False,
        "$defs": {name: _clean(part) for name, part in sorted(parts.items())},
    }


def _clean(shape: object) -> object:
    """Take away null: in Python it is an unset field, in settings an unset key is absent."""
    if isinstance(shape, list):
        return [_clean(item) for item in shape]
    if not isinstance(shape, dict):
        return shape
    result = {
        key: _clean(value) for key, value in shape.items() if (key, value) != ("default", None)
    }
    some = result.get("anyOf")
    if isinstance(some, list):
        rest = [item for item in some if item != {"type": "null"}]
        del result["anyOf"]
        result = {**result, **rest[0]} if len(rest) == 1 else {**result, "anyOf": rest}
    if isinstance(pattern := result.get("pattern"), str):
        # Only Python's `$` also matches before a last newline.
        result["pattern"] = pattern.removesuffix(r"(?!\n)")
    return result
