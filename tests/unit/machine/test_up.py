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
from bulkhead.machine import files, process, state, up
from bulkhead.machine.spec import Accelerator, Disk, Firmware, Forward, MachineSpec
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


@pytest.mark.parametrize("size", ["1", "512", "64M"])
def test_refuses_too_little_memory(size: str) -> None:
    """The boot loader would end in words about a file that it cannot find."""
    done = CliRunner().invoke(up_command, ["--memory", size])

    assert done.exit_code == 2
    assert f"{size!r} is too little to start with; give it 256M or more" in done.output


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> state.Record:
    """Write a machine down whose process is this one."""
    monkeypatch.setenv("BULKHEAD_STATE", str(tmp_path))
    spec = MachineSpec(
        name="bulkhead", boot=Firmware(), accelerator=Accelerator.TCG, memory_mib=2048, cpus=4,
        disks=(Disk(image=tmp_path / "image.raw", size=16 << 30),),
        forwards=(
            Forward(host_port=40001, guest_port=state.CHANNEL_PORT),
            Forward(host_port=40002, guest_port=state.API_PORT),
        ),
    )  # fmt: skip
    record = state.Record(
        spec=spec, token="secret", process=process.identify(os.getpid()), variant="standalone",
        version="1", root_hash="0", image_sha256="0", accelerator_reason="asked for", slot="a",
        ready={},
    )  # fmt: skip
    with state.exclusive("bulkhead"):
        state.write(record)
    return record


OTHERS = {
    "another variant": (["dev"], "another variant"),
    "no variant": (["standalnoe"], "there is no variant 'standalnoe'"),
    "less memory": (["--memory", "1G"], "another --memory"),
    "more processors": (["--cpus", "8"], "another --cpus"),
    "another disk": (["--disk-size", "8G"], "another --disk-size"),
    "another accelerator": (["--accel", "kvm"], "another --accel"),
    "what it has stored": (["--fresh"], "what it has stored"),
}


@pytest.mark.parametrize(("words", "reason"), OTHERS.values(), ids=OTHERS)
def test_a_machine_that_runs_does_not_become_another(
    running: state.Record, words: list[str], reason: str
) -> None:
    """Whoever asks for another one would believe that it runs now."""
    done = CliRunner().invoke(up_command, ["--no-demo", *words])

    assert isinstance(done.exception, UserError)
    assert reason in str(done.exception)
    assert state.read("bulkhead") == running


@pytest.mark.parametrize(
    "words", [[], ["standalone"], ["--memory", "2G", "--cpus", "4"], ["--accel", "tcg"]]
)
def test_a_machine_that_runs_is_shown_to_whoever_asks_for_it(
    running: state.Record, words: list[str]
) -> None:
    """What was not said is whatever it is, also when it is not the default."""
    done = CliRunner().invoke(up_command, ["--no-demo", *words], catch_exceptions=False)

    assert done.exit_code == 0
    assert f"{running.spec.name} (standalone 1), running already" in done.output


def test_what_a_machine_has_stored_goes_only_when_asked_for(
    tmp_path: Path, running: state.Record
) -> None:
    """Containers, volumes and settings are in the overlay, which fits no other image."""
    overlay = tmp_path / files.overlay(0)
    overlay.write_bytes(b"volumes")
    same = running.image_sha256
    for variant, image, before, reason in (
        ("standalone", "new", running, "the image has changed, and what the machine has stored"),
        ("dev", "new", running, "it is of variant 'standalone', not 'dev'"),
        ("standalone", same, None, "belongs to an image that is not known any more"),
    ):
        with pytest.raises(UserError, match=reason):
            up.make_room(tmp_path, image, variant=variant, before=before, fresh=False)
        assert overlay.read_bytes() == b"volumes"

    up.make_room(tmp_path, same, variant="standalone", before=running, fresh=False)
    assert overlay.exists()
    up.make_room(tmp_path, "new", variant="standalone", before=running, fresh=True)
    assert not overlay.exists()


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
