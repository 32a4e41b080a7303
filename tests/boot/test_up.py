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

import msgspec
import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.machine import ports, process, state

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


class Machine(msgspec.Struct, kw_only=True):
    """A machine that `up` brought up, with the demo container."""

    commands: Commands
    status: dict[str, object]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Bring one machine up for several tests: a boot takes long."""
    commands = Commands(tmp_path_factory.mktemp("state"))
    yield Machine(commands=commands, status=commands.run("up"))
    commands.start("down", "--delete").communicate()


@pytest.fixture
def record(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> state.Record:
    """Return what is remembered about the machine."""
    monkeypatch.setenv("BULKHEAD_STATE", machine.commands.env["BULKHEAD_STATE"])
    return state.find()


def test_up_runs_a_container_that_answers(machine: Machine) -> None:
    """One command builds, boots and runs."""
    with urllib.request.urlopen(str(machine.status["demo_url"])) as response:
        page = response.read().decode()

    assert "Welcome to nginx!" in page
    assert (machine.status["already_running"], machine.status["slot"]) == (False, "a")


def test_a_second_up_says_where_the_machine_answers(machine: Machine) -> None:
    """Nothing is built or started again."""
    second = machine.commands.run("up")

    same = ("api", "demo_url", "root_hash", "slot", "accelerator", "ready_s")
    assert second["already_running"]
    assert {key: second[key] for key in same} == {key: machine.status[key] for key in same}


def test_nobody_reaches_the_agent_without_the_token(machine: Machine, record: state.Record) -> None:
    """The port is open to every user of the workstation; the agent is not."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{machine.status['containers']}/v1/containers")
    with refused.value as answer:
        code = answer.code
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{machine.status['api']}/settings")

    assert record.process is not None
    command_line = Path(f"/proc/{record.process.pid}/cmdline").read_text()
    assert code == 401
    assert record.token not in command_line


def test_a_containers_port_is_free_again_when_it_is_gone(
    machine: Machine, record: state.Record
) -> None:
    """Removed under the workstation's eyes, while the demo's and the channels' stay."""
    words = ("--name", "second", "-p", "8123:80", "bulkhead/demo")
    running = machine.commands.start("run", *words)
    output, errors = running.communicate(timeout=300)
    assert (running.returncode, output) == (0, "second\n"), errors
    opened = state.find().host_port(8123)
    held = ports.bind(opened)

    removed = machine.commands.start("rm", "-f", "nosuch", "second")
    output, errors = removed.communicate(timeout=300)

    assert held is None
    assert (removed.returncode, output, errors) == (0, "second\n", "")
    assert state.find().spec.forwards == record.spec.forwards
    holder = ports.bind(opened)
    assert holder is not None
    holder.close()


def ctl(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `bulkhead ctl` against the machine."""
    running = machine.commands.start("ctl", *arguments)
    output, errors = running.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, running.returncode, output, errors)


def test_ctl_changes_settings(machine: Machine) -> None:
    """Through the channel into the node's store, with a history and a way back.

    That they take effect is for test_apply.py.
    """
    first = ctl(machine, "set", 'kernel.sysctl."vm.max_map_count"=270000', "-m", "why", "--json")
    shown = ctl(machine, "get", "kernel", "--json")
    ctl(machine, "rollback", "0")
    history = ctl(machine, "history", "--json")
    wrong = ctl(machine, "set", "kernel.lockdwn=none")

    assert json.loads(first.stdout)["commit"]["who"] == "channel"
    assert json.loads(shown.stdout)["settings"] == {
        "kernel": {"sysctl": {"vm.max_map_count": "270000"}}
    }
    commits = json.loads(history.stdout)
    assert [(commit["message"], commit["restores"]) for commit in commits] == [
        (None, 0), ("why", None),
    ]  # fmt: skip
    assert wrong.returncode == 1
    assert "hint: did you mean 'lockdown'?" in wrong.stderr


def test_ctl_runs_programs_in_containers(machine: Machine) -> None:
    """Output, input, exit code; an unknown container is told with what it may have been."""
    version = ctl(machine, "exec", "demo", "--", "/usr/sbin/nginx", "-v")
    wrong = ctl(machine, "exec", "demo", "/usr/sbin/nginx", "-t", "-c", "/nonexistent")
    unknown = ctl(machine, "exec", "dmeo", "/usr/sbin/nginx", "-v")

    assert (version.returncode, version.stdout[:14], version.stderr) == (0, "nginx version:", "")
    assert wrong.returncode == 1
    assert "/nonexistent" in wrong.stdout
    assert unknown.returncode == 1
    assert "there is no container 'dmeo'; did you mean 'demo'?" in unknown.stderr


def test_down_powers_the_machine_off(machine: Machine, record: state.Record) -> None:
    """The guest ends by itself, and nothing of it is left. The last test of this machine."""
    assert record.process is not None
    stopped = machine.commands.run("down", "--delete")

    assert (stopped["was_running"], stopped["clean"], stopped["deleted"]) == (True, True, True)
    assert not process.is_alive(record.process)
    assert state.names() == []


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
