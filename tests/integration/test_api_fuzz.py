"""Requests that nobody would think of, to every endpoint of the node's API.

schemathesis makes them from the API's own description: as it allows them, and
bent so that it does not. Whatever comes, the answer is one of those that are
described, never a 5xx, and the settings stay readable.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Protocol, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bulkhead.lib.dirs import repository_root
from tests.support.api import TOKEN, Api
from tests.support.apply_agent import Agent

DOCUMENT = json.loads((repository_root() / "docs" / "reference" / "openapi.json").read_text())
OPERATIONS = [
    (method, path)
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
    if path != "/actions/lockdown"  # tried alone: everything after it would be refused
]
# Where nothing can be given, nothing can be given wrongly.
CASES = [
    (method, path, mode)
    for method, path in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE
    or {"parameters", "requestBody"} & DOCUMENT["paths"][path][method].keys()
]
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 60


class Case(Protocol):
    """A request that schemathesis has made, as far as it is used here."""

    def call(self, *, base_url: str, headers: dict[str, str], timeout: float) -> object:
        """Send it."""

    def validate_response(self, response: object, *, checks: list[CheckFunction]) -> None:
        """Fail if the answer is not as described."""


pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Serve a node that has all groups; whoever applies and restarts is there."""
    with Api(tmp_path_factory.mktemp("f")) as made, Agent(made.places.apply):
        made.places.applied.write_text('{"ok": true}')
        reboot = socket.socket(socket.AF_UNIX)
        reboot.bind(str(made.places.reboot))
        reboot.listen(4096)
        yield made
        reboot.close()


@pytest.fixture(scope="module")
def described(api: Api) -> schemathesis.BaseSchema:
    """Return the description, with the settings that there are in the place of any object."""
    document = json.loads(json.dumps(DOCUMENT))
    own = api.node.groups.json_schema()
    content = document["paths"]["/settings"]["patch"]["requestBody"]["content"]
    content["application/json"]["schema"] = {key: own[key] for key in own if key != "$schema"}
    return cast(schemathesis.BaseSchema, schemathesis.openapi.from_dict(document))


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_every_answer_is_as_described(
    api: Api, described: schemathesis.BaseSchema, method: str, path: str, mode: GenerationMode
) -> None:
    """No 5xx, and no status, media type or field that is not in the document."""
    operation = described[path][method.upper()]
    headers = {"Authorization": f"Bearer {TOKEN}"}

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Case) -> None:
        response = case.call(base_url=api.url, headers=headers, timeout=30)
        case.validate_response(response, checks=CHECKS)

    run()

    assert api.call("GET /settings").status == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(body=JSON | st.binary())
def test_any_body_is_taken_or_refused(api: Api, body: object) -> None:
    """JSON of any shape, and bytes that are none: 204 or 400."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    for target in ("PATCH /settings", "PATCH /settings/keypair", "PATCH /bulkhead/v1/unset"):
        assert api.call(f"{target}?tx=any", raw=raw).status in (204, 400)


NAMES = st.sampled_from(("tx", "keys", "prefix", "names", "type", "format", "limit", "on-failure"))


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(
    target=st.sampled_from([f"{m.upper()} {p}" for m, p in OPERATIONS if "reboot" not in p]),
    query=st.lists(st.tuples(NAMES, st.text(st.characters(codec="utf-8")) | st.binary())),
)
def test_any_query_is_understood_or_refused(
    api: Api, target: str, query: list[tuple[str, str | bytes]]
) -> None:
    """Any text and any bytes, percent-encoded, known and unknown names, twice the same."""
    from urllib.parse import urlencode

    assert api.call(f"{target.replace('{number}', '1')}?{urlencode(query)}").status < 500


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(raw=st.binary(min_size=1, max_size=400))
def test_any_bytes_on_the_socket_are_survived(api: Api, raw: bytes) -> None:
    """What is no HTTP is answered with 400 or not at all, and the next client is served."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(api.socket))
    connection.sendall(raw + b"\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    connection.close()

    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405")
    assert api.call("GET /bulkhead/v1/health").status == 200
