"""Conversations with Bottlerocket's clients, replayed against the real service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.lib.dirs import repository_root
from tests.support.api import Answer, Api

FOLDER = repository_root() / "tests" / "conformance" / "api"
CHECKS = {"json", "set", "keys", "has", "text", "empty"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Serve a node on which nothing has been set."""
    with Api(tmp_path) as made:
        yield made


def ask(api: Api, exchange: dict[str, object]) -> Answer:
    """Send one request, again and again if the client would."""
    for _ in range(200):
        answer = api.call(str(exchange["request"]), exchange.get("body"))
        if "until" not in exchange or answer.status == exchange["status"]:
            break
        time.sleep(0.01)
    return answer


def agrees(answer: Answer, exchange: dict[str, object]) -> bool:
    """Tell whether a body is what the exchange says."""
    match exchange:
        case {"json": due}:
            return answer.json() == due
        case {"set": list(due)}:
            found = answer.json()
            return isinstance(found, list) and sorted(found) == sorted(due)
        case {"keys": list(due)}:
            found = answer.json()
            return isinstance(found, dict) and found.keys() == set(due)
        case {"has": dict(due)}:
            found = answer.json()
            return isinstance(found, dict) and {k: found.get(k, "missing") for k in due} == due
        case {"text": str(word)}:
            one_line = answer.text.strip() and "\n" not in answer.text
            return bool(one_line) and answer.type == "text/plain" and word in answer.text
        case _:
            return answer.raw == b""


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_clients_of_bottlerocket_find_what_they_know(api: Api, name: str) -> None:
    """Every status and every body of the conversation is as written."""
    conversation = json.loads((FOLDER / f"{name}.json").read_text())
    for exchange in conversation["exchanges"]:
        assert len(CHECKS & exchange.keys()) == 1, exchange
        answer = ask(api, exchange)

        assert answer.status == exchange["status"], (exchange, answer)
        assert agrees(answer, exchange), (exchange, answer)
