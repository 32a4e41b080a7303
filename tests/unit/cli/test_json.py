"""`--json`: what commands print can be printed, and errors are JSON too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bulkhead.build.clean import Cleaned
from bulkhead.build.debian.relock import Relocked
from bulkhead.build.keys import KeySet
from bulkhead.build.verify import Verdict
from bulkhead.cli.check import Outcome
from bulkhead.cli.main import main
from bulkhead.cli.test import Lane
from bulkhead.lib.dirs import repository_root
from bulkhead.machine.up import Status, Stopped
from bulkhead.model.manifest import Manifest


@pytest.mark.parametrize(
    "kind", [Cleaned, KeySet, Lane, Manifest, Outcome, Relocked, Status, Stopped, Verdict]
)
def test_what_commands_print_has_a_schema(kind: type) -> None:
    """All fields are of types that JSON has a form for."""
    schema = msgspec.json.schema(kind)

    assert kind.__name__ in schema["$defs"]


def test_keys_say_what_they_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The directory, the owner and a fingerprint of each key."""
    monkeypatch.setattr(sys, "argv", ["bulkhead", "keys", "-o", str(tmp_path / "k"), "--json"])

    code = main()

    made = json.loads(capsys.readouterr().out)
    assert code == 0
    assert made["directory"] == str(tmp_path / "k")
    assert sorted(made) == ["directory", "fingerprints", "not_after", "owner"]
    assert sorted(made["fingerprints"]) == ["KEK", "PK", "db"]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["lock"], "name a variant, --container NAME, --tools NAME, or --all (", "bulkhead lock"),
        (
            ["up", "--memory", "abc"],
            "Invalid value for '--memory': 'abc' is no size; write it like 512M or 8G",
            "bulkhead up",
        ),
        (["biuld"], "no such command: 'biuld'; did you mean 'build'?", "bulkhead"),
    ],
)
def test_wrong_usage_is_json_too(
    arguments: list[str],
    error: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Programs read what was wrong and where to look; people read it on standard error."""
    monkeypatch.setattr(sys, "argv", ["bulkhead", *arguments, "--json"])

    code = main()

    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert code == 2
    assert answer["error"].startswith(error)
    assert (answer["where"], answer["hint"]) == (None, f"see: {hint} --help")
    assert error in shown.err


def test_a_full_output_is_one_message() -> None:
    """Nothing that JSON is written to has room: no traceback, and the exit code of a failure."""
    source = "import sys; from bulkhead.cli.main import main; sys.exit(main())"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-c", source, "test", "--list", "--json"],
            env={**os.environ, "PYTHONPATH": str(repository_root() / "src")},
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.startswith("bulkhead: No space left on device\n  hint: make room")
    assert "Traceback" not in done.stderr


def test_a_closed_output_is_no_failure_of_its_own() -> None:
    """Wrong usage is told on standard error as ever."""
    source = "import sys; from bulkhead.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-P", "-c", source, "lock", "--json"],
        env={**os.environ, "PYTHONPATH": str(repository_root() / "src")},
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "Error: name a variant" in done.stderr
    assert "Traceback" not in done.stderr
