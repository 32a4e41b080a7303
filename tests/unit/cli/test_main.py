"""What people are told when the machine says no."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

from bulkhead.cli import main as module
from bulkhead.client.containers import Containers


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        ("home/.cache", "BULKHEAD_CACHE"),
        ("home/.cache/bulkhead/objects/aa", "BULKHEAD_CACHE"),
        ("home/.local/state/bulkhead/machines", "BULKHEAD_STATE"),
        ("elsewhere", None),
    ],
)
def test_a_home_that_cannot_be_written_to_names_the_variable(
    tmp_path: Path,
    path: str,
    variable: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The directory, or one on the way to it: both are moved by a variable."""
    for name in ("BULKHEAD_CACHE", "BULKHEAD_STATE", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["bulkhead", "build"])
    where = tmp_path / path

    def refuse(**_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied", str(where))

    monkeypatch.setattr(module.bulkhead, "main", refuse)

    code = module.main()

    hint = f"  hint: name a directory that can be written to in {variable}\n" if variable else ""
    assert code == 1
    assert capsys.readouterr().err == f"bulkhead: {where}: Permission denied\n{hint}"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("container 'web' runs on", "container 'web' runs on"),
        ("", "interrupted; nothing half-made was left, run it again to carry on"),
    ],
)
def test_an_interrupt_is_told_as_whoever_was_interrupted_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, told: str
) -> None:
    """What a machine was asked for may have been done; most else leaves nothing."""
    monkeypatch.setattr(sys, "argv", ["bulkhead", "ps"])

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt(said)

    monkeypatch.setattr(Containers, "list_containers", interrupt)
    monkeypatch.setenv("BULKHEAD_CONTAINERS", "/nonexistent")

    code = module.main()

    assert code == 130
    assert capsys.readouterr().err.split("\n")[-2] == told
