"""What a client may send by mistake or on purpose: it is told, and nothing is left half-done."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.api import Api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Serve a node until the last test here is done."""
    with Api(tmp_path_factory.mktemp("a")) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_changes(api: Api) -> Iterator[None]:
    yield
    assert api.call("GET /settings").json() == {"motd": "Welcome to Bulkhead!"}
    assert api.call("GET /tx").json() == {}


def nested(depth: int) -> bytes:
    """Return an object inside an object, and so on."""
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the request cannot be read"),
        (b"{", "the request cannot be read"),
        (b'{"motd": "x"} trailing', "the request cannot be read"),
        (b'{"motd": "\xff"}', "the request cannot be read"),
        (b'{"motd": "\\ud800"}', "the request cannot be read"),
        (b"\x00" * 10, "the request cannot be read"),
        (b"null", "the request cannot be read"),
        (b'"motd"', "the request cannot be read"),
        (b'{"motd": NaN}', "the request cannot be read"),
        (b'{"motd": ["a"]}', "settings.motd"),
        (b'{"motd": {"a": "b"}}', "settings.motd"),
        (b'{"motd": 1e400}', ""),
        (b'{"motd": ' + b"9" * 5000 + b"}", ""),
        (b'{"": "x"}', 'settings.""'),
        (b'{"mot": "x"}', "did you mean"),
        (b'{"motd": "x", "motd2": "y"}', "motd2"),
        (b'{"ntp": {"time-servers": "no list"}}', "settings.ntp.time-servers"),
        (b'{"kernel": {"sysctl": {"../../etc/passwd": "x"}}}', "settings.kernel.sysctl"),
        (nested(65), "nested deeper than 64 levels"),
        (nested(900), "nested deeper than 64 levels"),
        (nested(100_000), "nested too deeply"),
        (b'{"a":' + b"[" * 100_000, "the request cannot be read"),
    ],
)
def test_bad_settings_are_refused_in_words(api: Api, body: bytes, words: str) -> None:
    """400 and one line of text, without a traceback."""
    answer = api.call("PATCH /settings", raw=body)

    assert answer.status == 400, answer
    assert answer.type == "text/plain"
    assert words in answer.text
    assert "\n" not in answer.text.strip()
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {}, {"request_payload": "settings.motd=x"}, {"request_payload": [1]},
        {"request_payload": ["settings.motd"]}, {"request_payload": ["=x"]},
        {"request_payload": ["settings.motd=x", "settings.nothing=y"]},
        {"request_payload": ["settings..motd=x"]}, {"request_payload": ['settings."motd=x']},
        {"request_payload": ["x" * 300 + "=1"]}, {"request_payload": [f"{'a.' * 120}b=1"]},
        {"request_payload": ["settings.motd.deeper=x"]}, {"request_payload": ["settings=x"]},
    ],
)  # fmt: skip
def test_bad_pairs_are_refused(api: Api, body: object) -> None:
    """One that is wrong, and none of them is set."""
    answer = api.call("PATCH /settings/keypair", body)

    assert (answer.status, answer.type) == (400, "text/plain")


@pytest.mark.parametrize(
    "target",
    [
        "PATCH /settings?tx=", "PATCH /settings?tx=%00", "PATCH /settings?tx=a%0Ab",
        f"PATCH /settings?tx={'x' * 200}", "GET /tx?tx=", "POST /tx/commit?tx=", "DELETE /tx?tx=",
    ],
)  # fmt: skip
def test_bad_names_of_transactions_are_refused(api: Api, target: str) -> None:
    """Names are text that can be shown, of a length that can be kept."""
    assert api.call(target, {"motd": "x"}).status == 400


@pytest.mark.parametrize("tx", ["../../escape", "..", ".", "/etc/passwd", "a/b", "%2e%2e%2fx"])
def test_names_of_transactions_are_no_paths(api: Api, tx: str) -> None:
    """Whatever a transaction is called, its file stays where it belongs."""
    before = {p for p in api.directory.rglob("*") if "pending" not in p.parts}
    quoted = tx.replace("%", "%25").replace("/", "%2F")
    assert api.call(f"PATCH /settings?tx={quoted}", {"motd": "x"}).status == 204
    after = {p for p in api.directory.rglob("*") if "pending" not in p.parts}
    assert api.call("GET /tx/list").json() == [tx]
    assert api.call(f"DELETE /tx?tx={quoted}").json() == ["settings.motd"]

    assert after == before


def test_a_hundred_megabytes_are_refused(api: Api) -> None:
    """The client's length is believed at once."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(api.socket))
    connection.sendall(
        b"PATCH /settings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n"
    )
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    connection.close()

    assert answer.startswith(b"HTTP/1.1 413")
    assert answer.endswith(b"the request is longer than 2097152 bytes")


@pytest.mark.parametrize("target", ["GET /os", "POST /tx/apply", "DELETE /tx", "GET /nothing"])
def test_a_body_that_nobody_wants_has_the_same_limit(api: Api, target: str) -> None:
    """An endpoint without a body reads none, and does not let one run on either."""
    assert api.call(target, raw=b"x" * 100).status in (200, 204, 404)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(api.socket))
    connection.sendall(
        f"{target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n".encode()
    )
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    connection.close()

    assert answer.split(b" ")[1] in (b"413", b"404")


def test_as_much_as_is_allowed_is_taken(api: Api) -> None:
    """A body just below the limit is read to its end and judged by what it says."""
    answer = api.call("PATCH /settings", {"motd2": "x" * (2 * 1024 * 1024 - 100)})

    assert answer.status == 400
    assert "settings.motd2" in answer.text
    assert len(answer.text) < 500


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("PUT /settings", 405), ("POST /settings", 405), ("GET /tx/commit", 405),
        ("GET /settings/", 404), ("GET /tx/", 404), ("GET /settings/motd", 404),
        ("GET //settings", 404), ("GET /settings/../os", 404), ("GET /%2e%2e/os", 404),
    ],
)  # fmt: skip
def test_other_paths_and_methods_lead_nowhere(api: Api, request_line: str, status: int) -> None:
    """Nothing is redirected or guessed."""
    answer = api.call(request_line)

    assert (answer.status, answer.type) == (status, "text/plain")
    assert request_line.split(" ")[1].replace("%2e", ".") in answer.text


def test_own_endpoints_tell_errors_as_json(api: Api) -> None:
    """What, where and what to do, in fields."""
    wrong = api.call("PATCH /bulkhead/v1/unset", {"keys": ["settings..motd"]})
    misspelt = api.call("POST /bulkhead/v1/commit?tx=a&on_failure=keep", {})
    nothing = api.call("GET /bulkhead/v1/nothing")

    assert wrong.status == 400
    told = wrong.json()
    assert isinstance(told, dict)
    assert told["error"] == "'settings..motd' is not the name of a setting"
    assert "quotes around a part" in told["hint"]
    assert misspelt.status == 400
    assert misspelt.json() == {
        "error": "the parameters cannot be read: Object contains unknown field `on_failure`"
    }
    assert nothing.status == 404
    assert nothing.json() == {
        "error": "there is no such endpoint", "where": "GET /bulkhead/v1/nothing"
    }  # fmt: skip


def test_errors_are_json_for_those_who_ask(api: Api) -> None:
    """Text is for Bottlerocket's clients; `Accept: application/json` is for all others."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(api.socket))
    connection.sendall(
        b"GET /updates/status HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n"
        b"Connection: close\r\n\r\n"
    )
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    connection.close()

    assert answer.startswith(b"HTTP/1.1 404")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
        "error": "the update status is not initialized; refresh updates first"
    }
