"""`bulkhead ctl` for programs, and what it says about the node itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.cli.ctl import COMMANDS
from bulkhead.client import connection
from bulkhead.client.connection import Missing
from bulkhead.lib import conditions
from bulkhead.lib.dirs import repository_root
from bulkhead.model import boot
from bulkhead.model.apply import ApplyRequest, ApplyResult
from bulkhead.model.errors import RemoteError, UserError
from bulkhead.model.health import Condition
from tests.support.ctl import Ctl, broken, restarted, run, served


@pytest.fixture
def ctl(tmp_path: Path) -> Iterator[Ctl]:
    """Serve a node on which nothing has been set."""
    with served(tmp_path) as made:
        yield made


JSON_COMMANDS = {
    "get": ["get"], "set": ["set", "motd=x"], "unset": ["unset", "motd"], "apply": ["apply"],
    "diff": ["diff", "t"], "commit": ["commit", "t"], "discard": ["discard", "t"],
    "pending": ["pending"], "history": ["history"], "rollback": ["rollback", "0"],
    "reapply": ["reapply"], "status": ["status"], "os": ["os"], "reboot": ["reboot"],
}  # fmt: skip


def test_every_command_that_prints_data_has_json() -> None:
    """All but those whose output is somebody else's."""
    assert JSON_COMMANDS.keys() == COMMANDS.keys() - {"exec", "raw"}


@pytest.mark.parametrize("name", JSON_COMMANDS)
def test_prints_json(ctl: Ctl, tmp_path: Path, name: str) -> None:
    """One JSON value on standard output and nothing else."""
    with socket.socket(socket.AF_UNIX) as systemd:
        systemd.bind(str(tmp_path / "reboot.sock"))
        systemd.listen()
        ctl.ok("set", "motd=a")
        ctl.ok("set", "motd=b", "--tx", "t")
        said = ctl.ok(*JSON_COMMANDS[name], "--json", input='[settings]\nmotd = "c"')

    assert json.loads(said) is not None


def test_status_says_how_it_is(ctl: Ctl) -> None:
    """System, settings, what is pending."""
    ctl.ok("set", "motd=a")
    ctl.ok("set", "motd=b", "--tx", "mine")

    assert ctl.ok("status") == (
        "system    Bulkhead 1.2.3 (standalone)\nsettings  commit 1\npending   mine\n"
    )


def test_settings_that_cannot_be_used_show_in_the_status(ctl: Ctl) -> None:
    """What the node does without is told, with what is in force instead."""
    ctl.ok("set", "motd=a")
    ctl.ok("set", "motd=b")
    (ctl.api.places.settings / "commits" / "2.json").write_bytes(b"")
    said = ctl.ok("status")

    assert "settings  commit 1\n" in said
    assert "error     settings cannot be read: it is damaged: Input data was truncated\n" in said


def test_a_failed_start_shows_in_the_status(ctl: Ctl) -> None:
    """What did not take effect is there, with exit code 1 for programs."""
    result = msgspec.json.encode(broken(ApplyRequest(action="apply")))
    ctl.api.places.applied.write_bytes(result)
    said = ctl.run("status")

    assert said.exit_code == 1
    assert "applied   NOT all of it, see below\n" in said.stdout
    assert "ntp: it exited 1: no such host\n" in said.stderr


@pytest.mark.parametrize(("code", "exit_code"), [(boot.PENDING, 0), (boot.FELL_BACK, 1)])
def test_boot_parameters_that_are_not_in_force_show_in_the_status(
    ctl: Ctl, code: str, exit_code: int
) -> None:
    """What waits for a start is no failure; what was tried in vain is one, for programs too."""
    told = Condition(code=code, title="it runs without", severity="warning", text="Restart it.")
    conditions.write(ctl.api.places.boot / "parameters.json", (told,))
    said = ctl.run("status")

    assert said.exit_code == exit_code
    assert "warning   it runs without\n" in said.stdout


def test_raw_is_like_bottlerockets(ctl: Ctl) -> None:
    """The body as it is; errors in the words that programs look for."""
    assert json.loads(ctl.ok("raw", "get", "/os"))["version_id"] == "1.2.3"
    ctl.ok("raw", "PATCH", "/settings?tx=t", "--data", '{"motd": "x"}')
    assert json.loads(ctl.ok("raw", "POST", "/tx/commit?tx=t")) == ["settings.motd"]
    failed = ctl.run("raw", "-v", "GET", "/updates/status")

    assert failed.exit_code == 1
    assert failed.stderr.startswith(
        "status 404\nFailed GET request to '/updates/status': "
        "Status 404 when GETing /updates/status: "
    )


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_pending(ctl: Ctl) -> None:
    """Interrupted while the node is at work, the transaction is dropped."""
    asked, go_on = threading.Event(), threading.Event()

    def slow(request: ApplyRequest) -> ApplyResult:
        asked.set()
        go_on.wait(20)
        return restarted(request)

    ctl.agent.answer = slow
    running = ctl.start("set", "motd=x", "--dry-run")
    assert asked.wait(20)
    assert len(ctl.client.transactions()) == 1
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=20)
    go_on.set()

    assert running.returncode == 130
    assert "interrupted" in errors
    assert ctl.client.transactions() == []
    assert ctl.client.history() == []


@pytest.mark.slow
def test_completes_names_of_settings(ctl: Ctl) -> None:
    """With and without the leading `settings.`; names that people choose end it."""
    found = []
    for typed in ("settings.network.hostn", "ntp.t", "kernel.sys"):
        environment = {
            **os.environ, "PYTHONPATH": str(repository_root() / "src"), "COMP_CWORD": "3",
            "_BULKHEAD_COMPLETE": "bash_complete", "COMP_WORDS": f"bulkhead ctl get {typed}",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-P", "-m", "bulkhead"], env=environment, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        found.append(done.stdout)

    assert found == [
        "plain,settings.network.hostname\n", "plain,ntp.time-servers\n", "plain,kernel.sysctl\n",
    ]  # fmt: skip


def test_a_node_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the socket, and the unit to look at."""
    monkeypatch.setattr(connection, "PATIENCE_S", 0.1)
    result = run("--socket", str(tmp_path / "none"), "get")

    assert isinstance(result.error, RemoteError)
    assert result.error.where == str(tmp_path / "none")
    assert "bulkhead-api.socket" in str(result.error.hint)


def test_without_a_socket_it_is_the_machine_of_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None runs here; the message says how to start one."""
    monkeypatch.setenv("BULKHEAD_STATE", str(tmp_path))
    result = run("get")

    assert str(result.error) == "no machine is running\n  hint: start one with: bulkhead up"


def test_a_locked_node_says_so(ctl: Ctl) -> None:
    """After lockdown nothing can be set, and the status tells."""
    ctl.ok("raw", "POST", "/actions/lockdown")
    result = ctl.run("set", "motd=x")

    assert isinstance(result.error, UserError)
    assert "settings  as in the image, locked until the next start\n" in ctl.ok("status")


def test_history_that_is_not_there_is_missing(ctl: Ctl) -> None:
    """For programs that use the client."""
    with pytest.raises(Missing):
        ctl.client.commit_at(3)
