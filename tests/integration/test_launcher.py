"""`./bulkhead` on machines that have Python and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from bulkhead.launch import pip
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.run import run, spawn

LAUNCHER = str(repository_root() / "bulkhead")


def environment(cache: Path) -> dict[str, str]:
    """Return this process's environment with a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "BULKHEAD_CACHE": str(cache)}


def bare(folder: Path) -> Path:
    """Return a Python without pip."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    return folder / "bin" / "python"


def test_two_first_runs_at_once_both_work(tmp_path: Path) -> None:
    """Both make an environment, one of them is kept, and nothing else is left."""
    env = environment(tmp_path)
    runs = [
        spawn([sys.executable, LAUNCHER, "--version"], stdout=subprocess.PIPE, env=env)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=110)[0] for process in runs]

    assert [output.split(b",")[0] for output in outputs] == [b"bulkhead", b"bulkhead"]
    assert len(list((tmp_path / "venvs").iterdir())) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_first_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Stopped while pip works, it removes what it began and says so."""
    with spawn(
        [sys.executable, LAUNCHER, "--version"], stderr=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        while not list(tmp_path.glob("venvs/.*/pyvenv.cfg")):
            os.sched_yield()
        process.send_signal(number)
        rest = process.stderr.read()

    assert first.startswith(b"bulkhead: first run: making a Python environment")
    assert rest == b"bulkhead: interrupted; nothing half-made was left, run it again\n"
    assert process.returncode == 130
    assert list((tmp_path / "venvs").iterdir()) == []


def test_an_environment_whose_python_is_gone_is_made_again(tmp_path: Path) -> None:
    """After the machine's Python was replaced, the next run mends it."""
    env = environment(tmp_path)
    run([sys.executable, LAUNCHER, "--version"], env=env)
    (folder,) = (tmp_path / "venvs").iterdir()
    (folder / "bin" / "python").unlink()

    done = run([sys.executable, LAUNCHER, "--version"], env=env)

    assert done.stdout.startswith(b"bulkhead, version")


@pytest.fixture
def _no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip, "_has_pip", lambda: False)
    monkeypatch.setattr(pip, "_bundled", lambda: None)
    monkeypatch.setattr(pip, "_packaged", lambda: None)


@pytest.mark.usefixtures("_no_pip")
def test_pip_comes_from_debian_where_python_has_none(tmp_path: Path) -> None:
    """Without pip, ensurepip and packaged wheels, the pinned package is fetched and works."""
    with pip.command(bare(tmp_path)) as (argv, variables):
        done = run([*argv, "--version"], env=variables)

    assert done.stdout.startswith(b"pip 25.1.1 ")


@pytest.mark.usefixtures("_no_pip")
def test_pip_from_debian_brings_certificates_to_a_machine_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list that pip's authors put into the wheel is used when the machine has none."""
    monkeypatch.setattr(pip, "CERTIFICATES", tmp_path / "none")
    code = "import pip._vendor.requests.certs as c; print(open(c.where()).read(9999))"
    with pip.command(bare(tmp_path)) as (argv, variables):
        program = argv[3].replace("from pip._internal.cli.main import main", code)
        shown = run([*argv[:3], program.partition("; sys.exit")[0], *argv[4:]], env=variables)

    assert b"-----BEGIN CERTIFICATE-----" in shown.stdout
