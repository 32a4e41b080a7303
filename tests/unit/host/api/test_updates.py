"""Commands of updates in the background, with updaters that do as the test says."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.model.updates import (
    Command,
    Failed,
    Image,
    Outcome,
    Prepared,
    Refreshed,
    Switched,
    UpdateStatus,
)
from tests.support.api import Answer, Api

NEW = Image(arch="x86_64", version="2.0.0", variant="standalone")
ACTIONS = {
    "refresh": "POST /actions/refresh-updates", "prepare": "POST /actions/prepare-update",
    "activate": "POST /actions/activate-update", "deactivate": "POST /actions/deactivate-update",
}  # fmt: skip


class Scripted:
    """An updater that finds one newer version; it can be held up and can fail."""

    def __init__(self) -> None:
        self.held = False
        self.fails: Exception | Failed | None = None

    async def run(self, command: Command, status: UpdateStatus) -> Outcome:
        """Do nothing, as asked."""
        while self.held:
            await asyncio.sleep(0.005)
        if isinstance(self.fails, Exception):
            raise self.fails
        if self.fails is not None:
            return self.fails
        if command is Command.REFRESH:
            return Refreshed(available=("2.0.0", "1.0.0"), chosen=NEW)
        return Prepared(image=NEW) if command is Command.PREPARE else Switched()


@pytest.fixture
def updater() -> Scripted:
    """Return what the service runs."""
    return Scripted()


@pytest.fixture
def api(tmp_path: Path, updater: Scripted) -> Iterator[Api]:
    """Serve a node that can be updated."""
    with Api(tmp_path, updater=updater) as made:
        yield made
        updater.held = False


def status(api: Api) -> dict[str, object]:
    """Poll as clients do: 423 means that it still works."""
    for _ in range(500):
        answer = api.call("GET /updates/status")
        if answer.status != 423:
            break
        time.sleep(0.01)
    found = answer.json()
    assert isinstance(found, dict), answer
    return found


def act(api: Api, name: str) -> tuple[Answer, dict[str, object]]:
    """Send a command and wait until it has ended; return the answer and the status."""
    answer = api.call(ACTIONS[name])
    return answer, status(api)


def test_an_update_from_the_first_refresh_to_the_other_slot_and_back(api: Api) -> None:
    """Each command answers at once with 204, and is found as the last one when it has ended."""
    states, seen = [], set()
    for name in ("refresh", "prepare", "activate", "deactivate", "activate", "refresh"):
        answer, found = act(api, name)
        last = found["most_recent_command"]
        assert (answer.status, answer.raw) == (204, b"")
        assert isinstance(last, dict)
        assert (last["cmd_type"], last["cmd_status"]) == (name, "Success")
        assert (last["exit_status"], last["stderr"]) == (0, "")
        assert last["timestamp"] not in seen
        seen.add(last["timestamp"])
        states.append(found["update_state"])

    assert states == ["Available", "Staged", "Ready", "Staged", "Ready", "Ready"]
    assert {key: value for key, value in found.items() if key != "most_recent_command"} == {
        "update_state": "Ready",
        "available_updates": ["2.0.0", "1.0.0"],
        "chosen_update": {"arch": "x86_64", "version": "2.0.0", "variant": "standalone"},
        "active_partition": {
            "image": {"arch": os.uname().machine, "version": "1.2.3", "variant": "standalone"},
            "next_to_boot": False,
        },
        "staging_partition": {
            "image": {"arch": "x86_64", "version": "2.0.0", "variant": "standalone"},
            "next_to_boot": True,
        },
    }


def test_while_a_command_runs_everything_is_locked(api: Api, updater: Scripted) -> None:
    """423 for the status and for every command, and the status afterwards is the command's."""
    act(api, "refresh")
    updater.held = True
    first = api.call(ACTIONS["prepare"])
    locked = [api.call(request) for request in ("GET /updates/status", *ACTIONS.values())]
    updater.held = False

    assert first.status == 204
    assert [(a.status, a.type, a.text) for a in locked] == [
        (423, "text/plain", "a command of updates is running; try again later")
    ] * 5
    assert status(api)["update_state"] == "Staged"


def test_the_lock_of_another_program_counts(api: Api) -> None:
    """Whoever holds the lock file, the API waits for nobody and starts nothing."""
    act(api, "refresh")
    with (api.places.run / "updates.lock").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        locked = api.call("GET /updates/status"), api.call(ACTIONS["refresh"])
    freed = api.call("GET /updates/status")

    assert [answer.status for answer in locked] == [423, 423]
    assert freed.status == 200


def test_a_failed_command_leaves_the_state(api: Api, updater: Scripted) -> None:
    """What went wrong is in the last command, as a number and text."""
    act(api, "refresh")
    updater.fails = Failed(exit_status=143, stderr="killed")
    _, found = act(api, "prepare")
    last = found["most_recent_command"]

    assert found["update_state"] == "Available"
    assert isinstance(last, dict)
    assert {k: last[k] for k in ("cmd_type", "cmd_status", "exit_status", "stderr")} == {
        "cmd_type": "prepare", "cmd_status": "Failed", "exit_status": 143, "stderr": "killed",
    }  # fmt: skip


def test_an_updater_that_crashes_lets_go(
    api: Api, updater: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    """The status stays, the journal has the reason, and the next command may run."""
    _, before = act(api, "refresh")
    updater.fails = RuntimeError("a bug")
    _, after = act(api, "prepare")
    updater.fails = None
    _, again = act(api, "prepare")

    assert after == before
    assert again["update_state"] == "Staged"
    assert "prepare failed; the status stays as it was" in caplog.text


@pytest.mark.parametrize("torn", [b"", b"{", b"\xff", b'{"update_state": "Lost"}'])
def test_a_torn_status_is_as_none(api: Api, torn: bytes) -> None:
    """The file is on a tmpfs and ours; if it is wrong all the same, clients refresh."""
    (api.places.run / "updates.json").write_bytes(torn)
    answer = api.call("GET /updates/status")
    _, found = act(api, "refresh")

    assert answer.status == 404
    assert found["update_state"] == "Available"


def test_without_an_updater_it_is_said(tmp_path: Path) -> None:
    """A refresh fails in words, instead of finding nothing for ever."""
    with Api(tmp_path) as api:
        answer, found = act(api, "refresh")
    last = found["most_recent_command"]

    assert answer.status == 204
    assert isinstance(last, dict)
    assert {k: last[k] for k in ("cmd_type", "cmd_status", "exit_status", "stderr")} == {
        "cmd_type": "refresh", "cmd_status": "Failed", "exit_status": 1,
        "stderr": "refresh: this system has no updater yet; install a new image to update it",
    }  # fmt: skip
