"""What `bulkhead up` says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from bulkhead.cli.down import down_command
from bulkhead.cli.up import up_command
from bulkhead.machine import up
from bulkhead.machine.up import Status
from bulkhead.model.errors import UserError

STATUS = Status(
    name="bulkhead",
    variant="standalone",
    version="1.2",
    slot="a",
    root_hash="abc",
    accelerator="tcg",
    accelerator_reason="there is no /dev/kvm",
    api="http://127.0.0.1:40001",
    containers="http://127.0.0.1:40003",
    demo_url="http://127.0.0.1:40002/",
    directory="/state",
    console="/state/console.log",
    already_running=False,
    build_s=12.34,
    ready_s=5.67,
    demo_s=1.0,
)


def test_tells_what_runs_and_where_it_answers() -> None:
    """Version, slot, root hash, accelerator with reason, addresses and times."""
    assert up.summary(STATUS) == [
        ("machine", "bulkhead (standalone 1.2)"),
        ("slot", "a"),
        ("root hash", "abc"),
        ("accelerator", "tcg: there is no /dev/kvm"),
        ("api", "http://127.0.0.1:40001"),
        ("demo", "http://127.0.0.1:40002/"),
        ("console", "/state/console.log"),
        ("time", "built in 12.3 s, ready 5.7 s after the start, demo 1.0 s"),
    ]


def test_says_that_it_runs_already() -> None:
    """Nothing was built, so no times are shown."""
    again = msgspec.structs.replace(STATUS, already_running=True, demo_url=None)

    assert up.summary(again)[0] == ("machine", "bulkhead (standalone 1.2), running already")
    assert "time" not in dict(up.summary(again))
    assert "demo" not in dict(up.summary(again))


@pytest.mark.parametrize("size", ["", "0", "-1G", "1X", "many"])
def test_refuses_what_is_no_size(size: str) -> None:
    """The message shows how a size is written."""
    done = CliRunner().invoke(up_command, ["--memory", size])

    assert done.exit_code == 2
    assert f"{size!r} is no size; write it like 512M or 8G" in done.output


def test_down_says_that_there_is_no_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: str) -> None:
    """Stopping what is not there is an error that says how to start one."""
    monkeypatch.setenv("BULKHEAD_STATE", str(tmp_path))
    done = CliRunner().invoke(down_command, ["nothing"])

    assert isinstance(done.exception, UserError)
    assert str(done.exception) == "there is no machine 'nothing'\n  hint: see: bulkhead up"


def test_an_image_on_another_file_system_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine's disk stays whole when the next build replaces the image, also without links."""
    source = tmp_path / "built.raw"
    source.write_bytes(b"first")
    machine = tmp_path / "machine"
    machine.mkdir()

    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    up.link_or_copy(source, machine / "image")
    source.write_bytes(b"second")

    assert (machine / "image").read_bytes() == b"first"
    assert [path.name for path in machine.iterdir()] == ["image"]
