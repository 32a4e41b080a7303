"""What goes beyond Bottlerocket, over the real service with a real store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.host.api import applier
from bulkhead.host.api.node import os_info
from bulkhead.lib import conditions
from bulkhead.model.api import ApiHealth
from bulkhead.model.apply import ApplyRequest, ApplyResult
from bulkhead.model.health import Condition
from tests.support.api import Api
from tests.support.apply_agent import Agent, broken, done

OWN = "/bulkhead/v1"
WHO = f"uid {os.getuid()}, pid {os.getpid()}"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Serve a node on which nothing has been set."""
    with Api(tmp_path) as made:
        yield made


@pytest.fixture
def agent(api: Api) -> Iterator[Agent]:
    """Answer to what is to be applied."""
    with Agent(api.places.apply) as made:
        yield made


def commit(api: Api, settings: dict[str, object], query: str = "") -> dict[str, object]:
    """Set and commit through the own endpoint; return its answer."""
    assert api.call("PATCH /settings?tx=t", settings).status == 204
    answer = api.call(f"POST {OWN}/commit?tx=t{query}", {})
    assert answer.status == 200, answer
    found = answer.json()
    assert isinstance(found, dict)
    return found


def test_unset_returns_to_the_images_default(api: Api) -> None:
    """The node's own value goes, with all below it, and the default shows again."""
    api.set({"motd": "mine", "network": {"hostname": "web-1", "https-proxy": "http://proxy:3128"}})
    unset = api.call(f"PATCH {OWN}/unset?tx=u", {"keys": ["settings.motd", "network"]})
    difference = api.call(f"GET {OWN}/diff?tx=u").json()
    committed = api.call("POST /tx/commit?tx=u").json()

    assert (unset.status, unset.raw) == (204, b"")
    assert difference == [
        {"key": "settings.motd", "old": "mine", "new": "Welcome to Bulkhead!"},
        {"key": "settings.network.hostname", "old": "web-1", "new": None},
        {"key": "settings.network.https-proxy", "old": "http://proxy:3128", "new": None},
    ]
    assert committed == ["settings.motd", "settings.network"]
    assert api.call("GET /settings").json() == {"motd": "Welcome to Bulkhead!"}


def test_a_misspelt_key_takes_no_effect_again(api: Api) -> None:
    """Nothing would be made to take effect, and that looked like luck."""
    answer = api.call(f"POST {OWN}/apply", {"keys": ["settings.motd", "ntp.time-server"]})

    assert answer.status == 400
    assert b"did you mean 'time-servers'?" in answer.raw


def test_a_plan_changes_nothing(api: Api, agent: Agent) -> None:
    """The agent is asked what it would do with the settings as they would be."""
    api.call("PATCH /settings?tx=t", {"motd": "planned"})
    answer = api.call(f"POST {OWN}/plan?tx=t")

    assert answer.json() == {
        "changes": [
            {"key": "settings.motd", "old": "Welcome to Bulkhead!", "new": "planned"}
        ],
        "apply": {"ok": True, "number": 1, "time": "2026-01-02T03:04:05Z"},
    }  # fmt: skip
    assert agent.requests == [
        ApplyRequest(action="plan", keys=("settings.motd",), settings={"motd": "planned"})
    ]
    assert api.call("GET /settings").json() == {"motd": "Welcome to Bulkhead!"}
    assert api.call("GET /tx?tx=t").json() == {"motd": "planned"}
    assert api.call(f"GET {OWN}/history").json() == []


def test_a_commit_says_who_and_how_it_went(api: Api, agent: Agent) -> None:
    """The history has the peer that the kernel names, the message and the change."""
    api.call("PATCH /settings?tx=t", {"motd": "one"})
    found = api.call(f"POST {OWN}/commit?tx=t", {"message": "for the launch"}).json()
    history = api.call(f"GET {OWN}/history").json()

    assert isinstance(found, dict)
    entry = found["commit"]
    assert {k: entry[k] for k in ("number", "who", "message", "keys", "changed", "os_version")} == {
        "number": 1, "who": WHO, "message": "for the launch", "keys": ["settings.motd"],
        "changed": [{"key": "settings.motd", "old": None, "new": "one"}], "os_version": "1.2.3",
    }  # fmt: skip
    assert found["rolled_back"] is False
    assert found["apply"]["ok"] is True
    assert history == [entry]
    assert api.call(f"GET {OWN}/history/1").json() == entry
    assert agent.requests == [ApplyRequest(action="apply", keys=("settings.motd",))]


def test_a_failed_apply_is_kept_unless_told_otherwise(api: Api, agent: Agent) -> None:
    """The answer names the service and its words; the settings stay committed."""
    agent.answer = broken
    found = commit(api, {"motd": "one"})

    assert found["rolled_back"] is False
    assert found["apply"] == {
        "ok": False, "number": 1,
        "services": [
            {"name": "ntp", "units": ["systemd-timesyncd.service"], "status": "failed",
             "action": "restart systemd-timesyncd.service", "error": "it exited 1"},
        ],
    }  # fmt: skip
    assert api.call("GET /settings").json() == {"motd": "one"}


def test_a_failed_apply_is_rolled_back_when_wanted(api: Api, agent: Agent) -> None:
    """The settings before it are committed and applied again, and the history shows both."""
    commit(api, {"motd": "good"})
    agent.answer = lambda request: broken(request) if len(agent.requests) == 2 else done(request)
    found = commit(api, {"motd": "bad"}, "&on-failure=rollback")
    history = api.call(f"GET {OWN}/history").json()

    assert found["rolled_back"] is True
    assert api.call("GET /settings").json() == {"motd": "good"}
    assert isinstance(history, list)
    assert [(h["number"], h.get("restores"), h["message"]) for h in history] == [
        (3, 1, "commit 2 could not be applied"), (2, None, None), (1, None, None),
    ]  # fmt: skip
    assert [request.action for request in agent.requests] == ["apply"] * 3


def test_a_commit_of_somebody_else_is_not_rolled_back(api: Api, agent: Agent) -> None:
    """What was committed while services restarted stays, and so does what it was built on."""

    def meanwhile(request: ApplyRequest) -> ApplyResult:
        if len(agent.requests) == 1:
            api.call("PATCH /settings?tx=other", {"network": {"hostname": "other"}})
            assert api.call("POST /tx/commit?tx=other").status == 200
        return broken(request)

    agent.answer = meanwhile
    found = commit(api, {"motd": "bad"}, "&on-failure=rollback")

    assert found["rolled_back"] is False
    assert api.call("GET /settings").json() == {"motd": "bad", "network": {"hostname": "other"}}


def test_a_commit_that_changes_nothing_takes_nothing_back(api: Api, agent: Agent) -> None:
    """No new commit was made, so an apply that fails must not undo the one before."""
    commit(api, {"motd": "good"})
    agent.answer = broken
    found = commit(api, {"motd": "good"}, "&on-failure=rollback")

    assert found["rolled_back"] is False
    assert api.call("GET /settings").json() == {"motd": "good"}


def test_rollback_brings_an_older_commit_back(api: Api, agent: Agent) -> None:
    """Any number of the history, and 0 for the image's defaults."""
    for word in ("one", "two", "three"):
        commit(api, {"motd": word})
    first = api.call(f"POST {OWN}/rollback", {"to": 1}).json()
    motd = api.call("GET /settings").json()
    api.call(f"POST {OWN}/rollback", {"to": 0})

    assert isinstance(first, dict)
    assert (first["commit"]["number"], first["commit"]["restores"]) == (4, 1)
    assert motd == {"motd": "one"}
    assert api.call("GET /settings").json() == {"motd": "Welcome to Bulkhead!"}
    assert agent.requests[-1].keys == ("settings.motd",)


@pytest.mark.parametrize(
    ("request_line", "body", "status", "words"),
    [
        (f"POST {OWN}/rollback", {"to": 7}, 404, "commit 7"),
        (f"POST {OWN}/rollback", {"to": -1}, 400, ">= 0"),
        (f"POST {OWN}/rollback", {"to": "1"}, 400, "Expected `int`"),
        (f"POST {OWN}/rollback", {}, 400, "missing required field `to`"),
        (f"POST {OWN}/rollback", {"to": 0, "on-failure": "panic"}, 400, "panic"),
        (f"GET {OWN}/history/7", None, 404, "commit 7"),
        (f"GET {OWN}/history/x", None, 400, "Expected `int`"),
        (f"GET {OWN}/history?limit=0", None, 400, ">= 1"),
        (f"GET {OWN}/history?limit=many", None, 400, "Expected `int`"),
        (f"POST {OWN}/commit?tx=unknown", {}, 422, "unknown"),
        (f"POST {OWN}/commit", {"message": "x" * 5000}, 400, "length <= 4096"),
        (f"PATCH {OWN}/unset", {"keys": []}, 400, "length >= 1"),
        (f"GET {OWN}/apply", None, 404, "nothing has been applied"),
    ],
)
def test_what_cannot_be_is_refused(
    api: Api, request_line: str, body: object, status: int, words: str
) -> None:
    """The status says whose turn it is, the text says why."""
    answer = api.call(request_line, body)

    assert answer.status == status
    assert words in answer.text


def test_secrets_are_hidden_where_changes_are_shown(api: Api) -> None:
    """Differences, plans and the history have stars; the settings themselves are as they are."""
    settings = {"container-registry": {"credentials": [{"registry": "r.example", "username": "u",
                                                     "password": "hunter2"}]}}  # fmt: skip
    assert api.call("PATCH /settings?tx=t", settings).status == 204
    shown = [
        api.call(f"GET {OWN}/diff?tx=t"),
        api.call(f"POST {OWN}/plan?tx=t"),
        api.call(f"POST {OWN}/commit?tx=t", {}),
        api.call(f"GET {OWN}/history"),
        api.call(f"GET {OWN}/history/1"),
    ]

    assert [answer.status for answer in shown] == [200] * 5
    assert [b"hunter2" in answer.raw for answer in shown] == [False] * 5
    assert b"hunter2" in api.call("GET /settings").raw


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "hung up"),
        (b'{"ok": tr', "hung up"),
        (b"garbage\n", "cannot be read"),
        (b'{"ok": "yes"}\n', "cannot be read"),
        (b"x" * 3_000_000 + b"\n", "cannot be read"),
    ],
)
def test_an_agent_that_talks_nonsense_is_told(api: Api, answer: bytes, words: str) -> None:
    """The commit has happened; that it was not applied is in the answer."""
    with Agent(api.places.apply, lambda request: answer):
        found = commit(api, {"motd": "one"})

    apply = found["apply"]
    assert isinstance(apply, dict)
    assert apply["ok"] is False
    assert words in apply["error"]


def test_an_agent_that_is_not_there_is_told(api: Api) -> None:
    """Bottlerocket's endpoints answer as ever, for theirs did not know either; ours says so."""
    found = commit(api, {"motd": "one"})
    theirs = api.set({"motd": "two"}, tx="theirs")

    apply = found["apply"]
    assert isinstance(apply, dict)
    assert apply["error"].startswith("the apply agent cannot be reached: ")
    assert (theirs.status, theirs.json()) == (200, ["settings.motd"])


def test_an_agent_that_never_answers_is_given_up(
    api: Api, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client gets its answer although a service hangs."""
    monkeypatch.setattr(applier, "PATIENCE_S", 0.2)
    forgotten = threading.Event()

    def silent(request: ApplyRequest) -> ApplyResult:
        forgotten.wait(10)
        return done(request)

    agent.answer = silent
    found = commit(api, {"motd": "one"})
    forgotten.set()

    apply = found["apply"]
    assert isinstance(apply, dict)
    assert apply["error"] == "the apply agent did not answer within 0.2 s"


def test_the_last_result_is_shown(api: Api) -> None:
    """That of the boot too, which nobody waited for."""
    api.places.applied.write_text('{"ok": false, "error": "no room", "number": 3}')
    found = api.call(f"GET {OWN}/apply")
    api.places.applied.write_text("{")
    torn = api.call(f"GET {OWN}/apply")

    assert found.json() == {"ok": False, "error": "no room", "number": 3}
    assert torn.status == 200
    assert "cannot be read" in torn.text


def test_lockdown_covers_the_own_endpoints(api: Api) -> None:
    """Nothing that changes settings is left open; a new process stays locked down too."""
    api.set({"motd": "one"})
    api.call("PATCH /settings?tx=t", {"motd": "two"})
    api.call("POST /actions/lockdown")
    refused = [
        api.call(f"PATCH {OWN}/unset", {"keys": ["settings.motd"]}),
        api.call(f"POST {OWN}/commit?tx=t", {}),
        api.call(f"POST {OWN}/rollback", {"to": 0}),
    ]

    assert [answer.status for answer in refused] == [403] * 3
    assert refused[0].json() == {
        "error": "settings are locked down: they cannot be changed until the next start of the "
        "machine"
    }
    assert api.call(f"GET {OWN}/health").json() == {
        "version": "0.1.0",
        "read_only": True,
        "conditions": [],
    }
    with Api(api.directory) as again:
        assert again.call(f"POST {OWN}/commit?tx=t", {}).status == 403


def test_the_schema_is_that_of_the_variant(api: Api) -> None:
    """Who writes settings can look up what may be in them."""
    found = api.call(f"GET {OWN}/schema").json()

    assert isinstance(found, dict)
    assert set(found["properties"]) == set(api.node.groups.names)


def test_what_is_wrong_with_the_settings_is_told(api: Api) -> None:
    """A commit that cannot be read is passed over, and whoever asks for the health hears of it."""
    api.set({"motd": "one"})
    api.set({"motd": "two"})
    path = api.places.settings / "commits" / "2.json"
    path.write_bytes(b"")

    health = msgspec.json.decode(api.call(f"GET {OWN}/health").raw, type=ApiHealth)

    [condition] = health.conditions
    assert (condition.code, condition.severity) == ("settings-unreadable", "error")
    assert condition.where == str(path)
    assert api.call("GET /settings?keys=settings.motd").json() == {"motd": "one"}


def test_what_came_of_boot_parameters_and_huge_pages_is_told(api: Api) -> None:
    """Other programs of the node leave it in files, for as long as it holds."""
    found = [
        Condition(code=code, title=code, severity="warning", text="Restart it.")
        for code in ("boot-parameters-pending", "huge-pages-missing")
    ]
    for name, condition in zip(("parameters.json", "hugepages.json"), found, strict=True):
        conditions.write(api.places.boot / name, (condition,))
    told = msgspec.json.decode(api.call(f"GET {OWN}/health").raw, type=ApiHealth).conditions
    (api.places.boot / "parameters.json").write_bytes(b"\xff")
    (api.places.boot / "hugepages.json").unlink()

    assert told == tuple(found)
    assert api.call(f"GET {OWN}/health").json() == {
        "version": "0.1.0",
        "read_only": False,
        "conditions": [],
    }


def test_a_parameter_of_the_settings_cannot_play_another_build(api: Api) -> None:
    """It comes after the image's own words, and a quoted value may have blanks."""
    path = api.places.command_line
    path.write_text(f'{path.read_text().strip()} x="a roothash=666666666666 b"\n')

    assert os_info(api.places).build_id == "abcdef123456"
