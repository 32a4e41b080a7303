"""`bulkhead test`: all tests, or the lanes that are named.

A lane is a folder of tests and what it needs of the machine. A lane whose
needs are not met fails and says what is missing; nothing is skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec

from bulkhead.cli import check
from bulkhead.cli.common import print_json, print_table
from bulkhead.launch.termination import Terminated
from bulkhead.lib import dirs, mirrors, sandbox
from bulkhead.lib.run import spawn
from bulkhead.model.errors import BulkheadError

DISK_BYTES = 6 * 1024**3
NETWORK_TIMEOUT_S = 15


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A named group of tests."""

    name: str
    about: str
    folder: str | None
    """Below `tests`; None for the checks of the source."""
    needs: tuple[str, ...] = ()
    """Names in `NEEDS`."""


LANES = (
    Lane(name="source", about="format, lint, types, import contracts", folder=None),
    Lane(name="unit", about="pure parts, in seconds", folder="unit"),
    Lane(
        name="integration",
        about="real packages, tools and servers; no machine is booted",
        folder="integration",
        needs=("network", "sandbox", "disk"),
    ),
    Lane(
        name="boot",
        about="images in QEMU, with KVM or without",
        folder="boot",
        needs=("network", "sandbox", "disk"),
    ),
    Lane(
        name="reproducible",
        about="an image built twice under different conditions",
        folder="reproducible",
        needs=("network", "sandbox", "disk"),
    ),
)


def missing_network() -> str | None:
    """Return what is wrong with the way to Debian's archive, or None."""
    problem = ""
    for mirror in mirrors.candidates("debian"):
        request = urllib.request.Request(f"{mirror}/dists/trixie/InRelease", method="HEAD")  # noqa: S310  # http or https, by lib.mirrors
        try:
            with urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT_S):  # noqa: S310  # as above
                return None
        except (urllib.error.URLError, OSError) as error:
            problem = f"no mirror of Debian answers (last: {mirror}: {error})"
    return problem


def missing_sandbox() -> str | None:
    """Return why tools cannot run in a sandbox here, or None."""
    # An empty root that is given the machine's own programs.
    system = [path for name in ("bin", "lib", "lib64", "usr") if (path := Path("/", name)).exists()]
    with tempfile.TemporaryDirectory(prefix="bulkhead-sandbox-") as empty:
        try:
            sandbox.run(sandbox.Sandbox(root=Path(empty), reads=system), ["/bin/true"])
        except BulkheadError as error:
            return str(error)
    return None


def missing_disk() -> str | None:
    """Return what the cache's file system lacks, or None."""
    folder = dirs.cache_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free >= DISK_BYTES:
        return None
    return f"{folder} has {free / 1e9:.1f} GB free, {DISK_BYTES / 1e9:.1f} GB are needed"


NEEDS: dict[str, tuple[str, Callable[[], str | None]]] = {
    "network": ("a mirror of Debian", missing_network),
    "sandbox": ("user namespaces, or root", missing_sandbox),
    "disk": (f"{DISK_BYTES // 1024**3} GiB for the cache", missing_disk),
}


def missing(lane: Lane) -> list[str]:
    """Return what keeps a lane from running."""
    found = [problem for need in lane.needs if (problem := NEEDS[need][1]())]
    if lane.folder is not None and not (dirs.repository_root() / "tests" / lane.folder).is_dir():
        found.append(f"tests/{lane.folder} does not exist")
    return found


def run_lanes(lanes: Sequence[Lane], arguments: Sequence[str]) -> bool:
    """Run lanes, their output straight to the terminal; return whether all passed.

    All folders go to one pytest, so that the output ends with its one
    closing line, which counts everything.
    """
    passed = True
    folders = []
    for lane in lanes:
        if problems := missing(lane):
            passed = False
            for problem in problems:
                click.echo(f"FAILED lane {lane.name}: cannot run: {problem}")
        elif lane.folder is None:
            passed &= check.show(check.run_checks([n for n in check.CHECKS if n != "unit"]))
        else:
            folders.append(f"tests/{lane.folder}")
    sys.stdout.flush()
    return (_pytest([*folders, *arguments]) == 0 and passed) if folders else passed


def _pytest(arguments: Sequence[str]) -> int:
    root = dirs.repository_root()
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    # Files in the order of tests/conftest.py; by themselves, those with the most tests come first.
    argv = [
        sys.executable, "-P", "-m", "pytest", "--durations=10", *check.DISTRIBUTED,
        "--no-loadscope-reorder", *arguments,
    ]  # fmt: skip
    process = spawn(argv, cwd=root, env=environment, stdout=None, stderr=None)
    try:
        return process.wait()
    except Terminated:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    except KeyboardInterrupt:
        # The terminal sent it to pytest as well; let it clean up its machines.
        process.wait()
        raise


def _choose(names: Sequence[str]) -> list[Lane]:
    return [lane for lane in LANES if not names or lane.name in names]


@click.command("test", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="[LANE]... [-- PYTEST-OPTION...]")
@click.option("--list", "only_list", is_flag=True, help="Show the lanes and what they need.")
@click.option("--json", "as_json", is_flag=True, help="With --list: as JSON.")
def test_command(words: tuple[str, ...], only_list: bool, as_json: bool) -> int:  # noqa: FBT001  # click passes options by name
    """Run all tests, or the named lanes: source, unit, integration, boot, reproducible.

    A lane that cannot run fails and says what is missing.
    """
    names = [word for word in words if word in {lane.name for lane in LANES}]
    arguments = [word for word in words if word not in names]
    if wrong := [word for word in arguments if not word.startswith("-") and not names]:
        raise click.UsageError(f"no such lane: {wrong[0]!r}; see: bulkhead test --list")
    lanes = _choose(names)
    if only_list and as_json:
        print_json(lanes)
        return 0
    print_table(
        ("lane", "needs", "what"),
        [
            (lane.name, ", ".join(NEEDS[need][0] for need in lane.needs) or "nothing", lane.about)
            for lane in lanes
        ],
    )
    click.echo()
    return 0 if only_list or run_lanes(lanes, arguments) else 1
