"""`bulkhead check`: what every commit passes, in seconds."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import click
import msgspec

from bulkhead.cli.common import print_json, print_table
from bulkhead.launch.termination import Terminated
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.run import Process, spawn

SOURCES = ("src", "tests", "bench", "bulkhead")

DISTRIBUTED = ("-n", str(min(os.cpu_count() or 1, 8)), "--dist=loadfile")
"""How pytest runs tests in several processes: a file stays in one, so that what its tests share is
made once. Each process collects all tests first, so more than eight gain nothing."""

# Started in this order, as many at once as there are processors: the longest first.
CHECKS: dict[str, tuple[str, ...]] = {
    # Without those that take long, and with few examples of each property: `bulkhead test` has all.
    "unit": (
        "-m", "pytest", "-q", "-m", "not slow", "--hypothesis-profile=quick",
        *DISTRIBUTED, "tests/unit",
    ),
    "types": ("-m", "mypy"),
    "lint": ("-m", "ruff", "check", "--quiet", *SOURCES),
    "format": ("-m", "ruff", "format", "--check", *SOURCES),
    "imports": (
        "-c", "import sys, importlinter.cli as c; sys.exit(c.lint_imports(no_logo=True))",
    ),
}  # fmt: skip


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one check ended."""

    name: str
    passed: bool
    seconds: float
    output: str
    """What the tool wrote."""


def run_check(name: str, begun: Callable[[Process], object]) -> Outcome:
    """Run one of `CHECKS`; `begun` is told of its process."""
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(repository_root() / "src")}
    with tempfile.TemporaryFile() as file:
        process = spawn(
            [sys.executable, "-P", *CHECKS[name]], cwd=repository_root(), env=environment,
            stdout=file, stderr=file,
        )  # fmt: skip
        begun(process)
        code = process.wait()
        file.seek(0)
        output = file.read().decode(errors="replace").strip()
    seconds = round(time.monotonic() - started, 2)
    return Outcome(name=name, passed=code == 0, seconds=seconds, output=output)


def run_checks(names: Sequence[str]) -> list[Outcome]:
    """Run checks beside one another and return their outcomes in the given order."""
    processes: list[Process] = []
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        jobs = [pool.submit(run_check, name, processes.append) for name in names]
        try:
            return [job.result() for job in jobs]
        except Terminated:
            # Nobody else tells the tools, and the pool waits for them.
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.send_signal(signal.SIGINT)
            raise


def show(outcomes: Sequence[Outcome]) -> bool:
    """Print what failed in full, then one line for each check; return whether all passed."""
    for outcome in outcomes:
        if not outcome.passed:
            click.echo(f"--- {outcome.name}\n{outcome.output}\n", err=True)
    print_table(
        ("check", "result", "time", ""),
        [
            (o.name, "ok" if o.passed else "FAILED", f"{o.seconds:.1f} s", _last_line(o))
            for o in outcomes
        ],
    )
    return all(outcome.passed for outcome in outcomes)


def _last_line(outcome: Outcome) -> str:
    return outcome.output.rpartition("\n")[2][:70]


@click.command("check")
@click.argument("names", nargs=-1, type=click.Choice(list(CHECKS)), metavar="[CHECK]...")
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON.")
def check_command(names: tuple[str, ...], as_json: bool) -> int:  # noqa: FBT001  # click passes options by name
    """Check the source: format, lint, types, import contracts, unit tests.

    CHECK is one or more of: unit, types, lint, format, imports.
    """
    outcomes = run_checks(names or tuple(CHECKS))
    if as_json:
        print_json(outcomes)
        passed = all(outcome.passed for outcome in outcomes)
    else:
        passed = show(outcomes)
    return 0 if passed else 1
