"""The OpenAPI document says what is served, no more and no less.

Write it again with `BULKHEAD_WRITE_DOCS=1 ./bulkhead check unit`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

import jsonschema_rs
import pytest
from starlette.routing import Route

from bulkhead.host.api import app, openapi
from bulkhead.lib.dirs import repository_root
from bulkhead.model.updates import Command, Image, Outcome, Refreshed, UpdateStatus
from tests.support.api import Answer, Api
from tests.support.apply_agent import Agent

PAGE = repository_root() / "docs" / "reference" / "openapi.json"


class Operation(TypedDict, total=False):
    """What the document says about a method of a path."""

    responses: dict[str, dict[str, dict[str, dict[str, object]]]]
    parameters: list[dict[str, object]]


class Document(TypedDict):
    """What this test reads of it."""

    paths: dict[str, dict[str, Operation]]
    components: dict[str, object]


class Found:
    """An updater that finds a newer version."""

    async def run(self, command: Command, status: UpdateStatus) -> Outcome:
        """Find it."""
        image = Image(arch="x86_64", version="2.0.0", variant="standalone")
        return Refreshed(available=("2.0.0",), chosen=image)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Serve a node on which everything answers."""
    with Api(tmp_path_factory.mktemp("a"), updater=Found()) as made, Agent(made.places.apply):
        made.places.applied.write_text('{"ok": true}')
        yield made


@pytest.fixture(scope="module")
def document(api: Api) -> Document:
    """Return what is committed."""
    text = json.dumps(openapi.document(app.endpoints(api.node)), indent=1) + "\n"
    if os.environ.get("BULKHEAD_WRITE_DOCS"):
        PAGE.write_text(text)
    return cast(Document, json.loads(PAGE.read_text()))


def in_order(value: object) -> object:
    """Return a document with the choices of every `anyOf` sorted."""
    if isinstance(value, list):
        return [in_order(each) for each in value]
    if not isinstance(value, dict):
        return value
    sorted_value = {key: in_order(each) for key, each in value.items()}
    if isinstance(choices := sorted_value.get("anyOf"), list):
        sorted_value["anyOf"] = sorted(choices, key=json.dumps)
    return sorted_value


def test_the_committed_document_is_that_of_the_source(api: Api, document: Document) -> None:
    """What people read is what the table of endpoints says, and what a node serves."""
    made = json.loads(json.dumps(openapi.document(app.endpoints(api.node))))
    if sys.version_info < (3, 14):
        assert document == made
    else:  # with a newer msgspec than the image's, which has another order
        assert in_order(document) == in_order(made)
    assert api.call("GET /bulkhead/v1/openapi.json").json() == made


def test_the_document_is_valid(document: Document) -> None:
    """Every schema in it is one, and every reference leads somewhere."""
    for name in cast(dict[str, object], document["components"]["schemas"]):
        jsonschema_rs.validator_for(
            {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        )


def agrees(document: Document, operation: str, answer: Answer) -> None:
    """Assert that an answer is one of those that the document has."""
    method, _, target = operation.partition(" ")
    path = target.partition("?")[0].replace("/history/1", "/history/{number}")
    described = document["paths"][path][method.lower()]["responses"]
    response = described[str(answer.status)]
    if "content" not in response:
        assert answer.raw == b""
        return
    ((media, content),) = response["content"].items()
    assert answer.type == media
    value = answer.text if media.startswith(("text/", "application/text")) else answer.json()
    schema = {**cast(dict[str, object], content["schema"]), "components": document["components"]}
    jsonschema_rs.validate(schema, value)


# In an order in which each has something to answer with.
REQUESTS: list[tuple[str, object, int]] = [
    ("PATCH /settings?tx=a", {"motd": "a", "network": {"hostname": "h"}}, 204),
    ("PATCH /settings/keypair?tx=a", {"request_payload": ["motd=b"]}, 204),
    ("GET /tx?tx=a", None, 200),
    ("GET /v2/tx?tx=a", None, 200),
    ("GET /tx/list", None, 200),
    ("GET /bulkhead/v1/diff?tx=a", None, 200),
    ("POST /bulkhead/v1/plan?tx=a", None, 200),
    ("POST /tx/commit_and_apply?tx=a", None, 200),
    ("PATCH /bulkhead/v1/unset?tx=b", {"keys": ["motd"]}, 204),
    ("POST /bulkhead/v1/commit?tx=b&on-failure=rollback", {"message": "m"}, 200),
    ("GET /bulkhead/v1/history?limit=5", None, 200),
    ("GET /bulkhead/v1/history/1", None, 200),
    ("POST /bulkhead/v1/rollback", {"to": 1}, 200),
    ("PATCH /settings", {"motd": "c"}, 204),
    ("POST /tx/commit", None, 200),
    ("PATCH /settings", {"motd": "d"}, 204),
    ("DELETE /tx", None, 200),
    ("POST /tx/apply?keys=settings.motd", None, 204),
    ("POST /bulkhead/v1/apply", {"keys": None}, 200),
    ("GET /bulkhead/v1/apply", None, 200),
    ("GET /bulkhead/v1/schema", None, 200),
    ("GET /bulkhead/v1/settings?prefix=motd", None, 200),
    ("GET /bulkhead/v1/health", None, 200),
    ("GET /", None, 200),
    ("GET /?prefix=settings.motd", None, 200),
    ("GET /settings?prefix=m", None, 200),
    ("GET /os", None, 200),
    ("GET /services", None, 200),
    ("GET /configuration-files", None, 200),
    ("GET /metadata/affected-services?keys=settings.motd", None, 200),
    ("GET /metadata/setting-generators", None, 200),
    ("GET /v2/metadata/setting-generators", None, 200),
    ("GET /metadata/templates?keys=settings.motd", None, 200),
    ("POST /actions/activate-update", None, 409),
    ("POST /actions/deactivate-update", None, 409),
    ("POST /actions/prepare-update", None, 409),
    ("GET /updates/status", None, 404),
    ("POST /actions/refresh-updates", None, 204),
    ("GET /report", None, 200),
    ("GET /report/cis?type=bottlerocket", None, 422),
    ("GET /report/fips", None, 422),
    ("POST /actions/ephemeral-storage/init", {}, 422),
    ("POST /actions/ephemeral-storage/bind", {}, 422),
    ("GET /actions/ephemeral-storage/list-disks", None, 422),
    ("GET /actions/ephemeral-storage/list-dirs?format=x", None, 400),
    ("POST /actions/network/configure", None, 422),
    ("POST /actions/reboot", None, 500),
    ("POST /actions/lockdown", None, 204),
    ("POST /tx/commit", None, 403),
    ("POST /bulkhead/v1/rollback", {"to": 1}, 403),
]


def test_answers_are_as_described(api: Api, document: Document) -> None:
    """Status, media type and every field, for every endpoint there is."""
    asked = set()
    for request, body, status in REQUESTS:
        answer = api.call(request, body)
        assert answer.status == status, (request, answer)
        agrees(document, request, answer)
        asked.add(request.partition("?")[0].replace("/history/1", "/history/{number}"))

    described = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert asked == described


def test_every_route_is_described(api: Api, document: Document) -> None:
    """No endpoint is left out but the document itself and the WebSocket, which OpenAPI cannot say."""
    routes = app.routes(app.endpoints(api.node), api.node)
    served = {
        f"{method} {route.path}"
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    others = {route.path for route in routes if not isinstance(route, Route)}  # type: ignore[attr-defined]  # all have one

    described = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert served - described == {"GET /bulkhead/v1/openapi.json"}
    assert described <= served
    assert others == {"/exec"}


@pytest.mark.parametrize("path", ["a", "b"])
def test_the_document_is_the_same_on_every_node(api: Api, tmp_path: Path, path: str) -> None:
    """It depends on the version of Bulkhead alone."""
    (tmp_path / path).mkdir()
    other = Api(tmp_path / path)

    assert openapi.document(app.endpoints(other.node)) == openapi.document(app.endpoints(api.node))
