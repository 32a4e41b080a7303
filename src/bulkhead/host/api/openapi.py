"""The OpenAPI document, from the table of endpoints and the types in it (OpenAPI 3.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from inspect import cleandoc

import msgspec

from bulkhead import __version__
from bulkhead.host.api.endpoint import Endpoint
from bulkhead.model.api import BODY_LIMIT, PREFIX, SOCKET
from bulkhead.model.problem import Problem

_TEMPLATE = "#/components/schemas/{name}"
_REASONS = {
    400: "The request is wrong.",
    401: "The token is missing or wrong (not on the Unix socket).",
    403: "Settings are locked down until the next start of the machine.",
    404: "There is no such thing.",
    408: "The request did not arrive in time.",
    409: "Not in this state.",
    413: f"The body is longer than {BODY_LIMIT} bytes.",
    422: "Nothing to commit, or this system cannot do it.",
    423: "A command of updates runs.",
    500: "The machine failed; the text says how.",
    503: "Too many connections.",
    507: "The disk is full; nothing has changed.",
}
_ALWAYS = (401, 408, 413, 500, 503)


def document(endpoints: Sequence[Endpoint]) -> dict[str, object]:
    """Return the document."""
    types = [t for e in endpoints for t in (e.body, e.answer) if t not in (None, str)]
    schemas, components = msgspec.json.schema_components(
        [*types, Problem], ref_template=_TEMPLATE, schema_hook=_anything
    )
    known = dict(zip(map(_key, [*types, Problem]), schemas, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, known)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bulkhead's node API",
            "version": __version__,
            "description": f"HTTP/1.1 on {SOCKET}. Everything outside {PREFIX} is as in "
            "Bottlerocket. What settings there are is not in here, for variants differ: "
            f"GET {PREFIX}/schema has it.",
        },
        "paths": paths,
        "components": {"schemas": {name: _dedented(part) for name, part in components.items()}},
    }


def _dedented(part: dict[str, object]) -> dict[str, object]:
    """Take away the indentation of the source, which Pythons before 3.13 leave in docstrings."""
    words = part.get("description")
    return {**part, "description": cleandoc(words)} if isinstance(words, str) else part


def _anything(kind: type) -> dict[str, object]:
    if kind is not object:
        raise NotImplementedError  # msgspec then says that it does not know the type
    return {"description": "Anything."}  # an empty one is not taken


def _key(kind: object) -> str:
    return repr(kind)


def _operation(endpoint: Endpoint, known: dict[str, dict[str, object]]) -> dict[str, object]:
    names = "_".join(re.findall(r"\w+", endpoint.path)) or "root"
    made: dict[str, object] = {
        "operationId": f"{endpoint.method.lower()}_{names}",
        "summary": endpoint.summary,
        "responses": {
            str(endpoint.status): _success(endpoint, known),
            **{str(status): _failure(endpoint, status, known) for status in _statuses(endpoint)},
        },
    }
    if parameters := list(_parameters(endpoint)):
        made["parameters"] = parameters
    if endpoint.body is not None:
        schema = known[_key(endpoint.body)]
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return made


def _statuses(endpoint: Endpoint) -> Iterable[int]:
    return sorted({*endpoint.errors, *_ALWAYS})


def _success(endpoint: Endpoint, known: dict[str, dict[str, object]]) -> dict[str, object]:
    if endpoint.answer is None:
        return {"description": "Done."}
    if endpoint.answer is str:
        return {
            "description": "Text.",
            "content": {"application/text": {"schema": {"type": "string"}}},
        }
    schema = known[_key(endpoint.answer)]
    return {"description": "The answer.", "content": {"application/json": {"schema": schema}}}


def _failure(
    endpoint: Endpoint, status: int, known: dict[str, dict[str, object]]
) -> dict[str, object]:
    # The guard and the server in front of the endpoints know nothing of their forms.
    text = {"text/plain": {"schema": {"type": "string"}}}
    problem = {"application/json": {"schema": known[_key(Problem)]}}
    own = endpoint.path.startswith(PREFIX) and status not in (401, 503)
    return {"description": _REASONS[status], "content": problem if own else text}


def _parameters(endpoint: Endpoint) -> Iterable[dict[str, object]]:
    _, components = msgspec.json.schema_components([endpoint.query])
    (described,) = components.values()
    for field, kind in described.get("properties", {}).items():
        in_path = f"{{{field}}}" in endpoint.path
        shape = {key: value for key, value in kind.items() if key != "default"}
        if "anyOf" in shape:  # a parameter is there or not; it is never null
            (shape,) = (choice for choice in shape["anyOf"] if choice != {"type": "null"})
        yield {
            "name": field,
            "in": "path" if in_path else "query",
            "required": in_path,
            "schema": shape | ({"default": kind["default"]} if kind.get("default") else {}),
        }
