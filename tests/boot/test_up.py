"""`bulkhead up` and `down` as people use them: the command, the machine, the container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.machine import process, state

pytestmark = pytest.mark.timeout(900)


class Commands:
    """Runs `bulkhead` with machines of the test's own."""

    def __init__(self, place: Path) -> None:
        self.env = {
            **os.environ,
            "BULKHEAD_STATE": str(place),
            "PYTHONPATH": str(repository_root() / "src"),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "bulkhead", *arguments],
            env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str) -> dict[str, object]:
        """Run a command and return its JSON."""
        running = self.start(*arguments, "--json")
        output, errors = running.communicate()
        assert running.returncode == 0, errors
        answer: dict[str, object] = json.loads(output)
        return answer


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """Return the commands, and leave no machine behind."""
    monkeypatch.setenv("BULKHEAD_STATE", str(tmp_path))
    made = Commands(tmp_path)
    yield made
    made.start("down", "--delete").communicate()


def test_up_runs_a_container_that_answers(commands: Commands) -> None:
    """One command builds, boots and runs; a second says where; down ends all of it."""
    first = commands.run("up")
    with urllib.request.urlopen(str(first["demo_url"])) as response:
        page = response.read().decode()
    second = commands.run("up")
    record = state.find()
    assert record.process is not None
    stopped = commands.run("down", "--delete")

    assert "Welcome to nginx!" in page
    assert (first["already_running"], first["slot"]) == (False, "a")
    assert second["already_running"]
    assert {key: second[key] for key in ("api", "demo_url", "root_hash")} == {
        key: first[key] for key in ("api", "demo_url", "root_hash")
    }
    assert stopped["clean"]
    assert not process.is_alive(record.process)
    assert state.names() == []


def test_nobody_reaches_the_agent_without_the_token(commands: Commands) -> None:
    """The port is open to every user of the workstation; the agent is not."""
    status = commands.run("up", "--no-demo")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{status['api']}/v1/containers")
    with refused.value as answer:
        code = answer.code

    assert code == 401
    record = state.find()
    assert record.process is not None
    command_line = Path(f"/proc/{record.process.pid}/cmdline").read_text()
    assert record.token not in command_line


def test_ctrl_c_while_it_boots_ends_the_machine(commands: Commands) -> None:
    """An interrupted `up` leaves no machine running, and says that nothing is half-made."""
    running = commands.start("up", "--no-demo")
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("starting the machine"):
            break
    record = state.find()
    assert record.process is not None
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate()

    assert running.returncode == 130
    assert "interrupted; nothing half-made was left" in errors
    assert not process.is_alive(record.process)


def test_two_at_once_do_not_get_in_each_others_way(commands: Commands) -> None:
    """The second command is told at once that the first is at it."""
    running = commands.start("up", "--no-demo")
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("starting the machine"):
            break
    second = commands.start("up", "--no-demo")
    _, errors = second.communicate()
    running.send_signal(signal.SIGINT)
    running.communicate()

    assert second.returncode == 1
    assert errors.startswith(
        "bulkhead: another command is starting or stopping machine 'bulkhead'\n  hint: wait for it"
    )
