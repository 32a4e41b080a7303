"""`--json`: what commands print can be printed."""

from __future__ import annotations

import json
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
