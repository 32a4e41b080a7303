"""`bulkhead ctl` for tests, against the real API with a real store.

Only what restarts services is stood in for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from click.testing import CliRunner

from bulkhead.cli.ctl import ctl_command
from bulkhead.client.api import Api as Client
from bulkhead.lib.dirs import repository_root
from bulkhead.model.apply import ApplyRequest, ApplyResult, FileChange, ServiceResult
from bulkhead.model.errors import BulkheadError
from tests.support.api import Api
from tests.support.apply_agent import Agent
from tests.support.exec_service import heed_interrupts

NTP = ServiceResult(
    name="ntp", units=("systemd-timesyncd.service",), status="done", duration_s=0.25,
    action="restart systemd-timesyncd.service",
)  # fmt: skip


def restarted(request: ApplyRequest) -> ApplyResult:
    """Answer as if one service was concerned."""
    if request.action == "apply":
        return ApplyResult(ok=True, number=1, services=(NTP,))
    planned = msgspec.structs.replace(NTP, status="planned", duration_s=0)
    file = FileChange(path="/etc/motd", change="write", diff="-old\n+new\n")
    return ApplyResult(ok=True, number=1, services=(planned,), files=(file,))


def broken(request: ApplyRequest) -> ApplyResult:
    """Answer as if it did not come back."""
    failed = msgspec.structs.replace(NTP, status="failed", error="it exited 1: no such host")
    return ApplyResult(ok=False, number=1, services=(failed,))


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str
    error: BaseException | None


def run(*arguments: str, input: str | None = None) -> Outcome:
    """Run the command as `main` does, with the exit code that it would choose."""
    done = CliRunner().invoke(ctl_command, arguments, input=input, standalone_mode=False)
    error = done.exception
    if error is not None and not isinstance(error, click.UsageError | BulkheadError):
        raise error
    code = done.return_value if isinstance(done.return_value, int) else 0
    if error is not None:
        code = error.exit_code
    return Outcome(exit_code=code, stdout=done.stdout, stderr=done.stderr, error=error)


class Ctl:
    """Runs the command against one node."""

    def __init__(self, api: Api, agent: Agent) -> None:
        self.api, self.agent = api, agent
        self.client = Client(api.socket)

    def run(self, *arguments: str, input: str | None = None) -> Outcome:
        """Run it."""
        return run("--socket", str(self.api.socket), *arguments, input=input)

    def ok(self, *arguments: str, input: str | None = None) -> str:
        """Run it; return what it printed on standard output."""
        done = self.run(*arguments, input=input)
        assert (done.exit_code, done.error) == (0, None), done
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run it as people do."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(repository_root() / "src"),
            "BULKHEAD_API": str(self.api.socket),
        }
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "bulkhead", "ctl", *arguments], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=heed_interrupts,  # noqa: PLW1509  # only a signal is set
        )  # fmt: skip


@contextmanager
def served(directory: Path) -> Iterator[Ctl]:
    """Serve a node on which nothing has been set."""
    with Api(directory) as api, Agent(api.places.apply, restarted) as agent:
        yield Ctl(api, agent)
