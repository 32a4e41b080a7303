"""What is remembered about machines."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bulkhead.machine import ports, process, state
from bulkhead.machine.spec import Accelerator, Disk, Firmware, Forward, MachineSpec
from bulkhead.model.channel import Channel
from bulkhead.model.errors import HostError, UserError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep machines in a directory of the test's own."""
    monkeypatch.setenv("BULKHEAD_STATE", str(tmp_path))
    return tmp_path


def remember(name: str, *, running: bool = True) -> state.Record:
    """Write a machine down; its process is this one."""
    spec = MachineSpec(
        name=name,
        boot=Firmware(),
        accelerator=Accelerator.TCG,
        disks=(Disk(image=Path("/images/one.raw")),),
        forwards=(
            Forward(host_port=40001, guest_port=state.CHANNEL_PORT),
            Forward(host_port=40002, guest_port=state.API_PORT),
        ),
    )
    record = state.Record(
        spec=spec,
        token="secret",
        process=process.identify(os.getpid()) if running else None,
        variant="standalone",
        version="1",
        root_hash="0",
        image_sha256="0",
        accelerator_reason="asked for",
    )
    with state.exclusive(name):
        state.write(record)
    return record


def test_remembers_a_machine() -> None:
    """What was written is read again, and only its owner can read it."""
    record = remember("one")

    assert state.read("one") == record
    assert state.names() == ["one"]
    assert (state.directory("one") / "machine.json").stat().st_mode & 0o777 == 0o600
    assert state.directory("one").stat().st_mode & 0o777 == 0o700


def test_finds_the_only_running_machine() -> None:
    """Without a name the machine that runs is meant, whatever it is called."""
    remember("mine")
    remember("stopped", running=False)

    assert state.channel() == Channel(host="127.0.0.1", port=40001, token="secret")
    api = state.find().channel(state.API_PORT)
    assert api == Channel(host="127.0.0.1", port=40002, token="secret")


def test_prefers_the_default_among_several() -> None:
    """With several machines the one called "bulkhead" is meant."""
    remember("mine")
    remember("bulkhead")

    assert state.find().spec.name == "bulkhead"


def test_says_how_to_start_one() -> None:
    """Nothing runs: the message says what to do."""
    with pytest.raises(UserError) as failure:
        state.find()

    assert str(failure.value) == "no machine is running\n  hint: start one with: bulkhead up"


def test_suggests_the_nearest_name() -> None:
    """A misspelt machine is answered with the right one."""
    remember("mine")

    with pytest.raises(UserError) as failure:
        state.find("mien")

    assert str(failure.value) == "no machine 'mien' is running\n  hint: did you mean 'mine'?"


def test_a_record_that_cannot_be_read_is_none(place: Path) -> None:
    """What an older Bulkhead wrote does not stop a newer one."""
    remember("one")
    (place / "machines/one/machine.json").write_text('{"pid": 1}')

    assert state.read("one") is None


def test_one_command_at_a_time() -> None:
    """Who comes second is told so, unless the first has ended by the time that it waits."""
    with (
        state.exclusive("one"),
        pytest.raises(HostError, match="another command is starting or stopping machine 'one'"),
        state.exclusive("one", patience_s=0),
    ):
        pass

    first = state.exclusive("one")
    first.__enter__()
    leaves = threading.Timer(0.1, first.__exit__, (None, None, None))
    leaves.start()
    with state.exclusive("one", patience_s=30):
        leaves.join()


def test_keeps_its_ports_while_they_are_free() -> None:
    """Addresses that people noted down stay true."""
    first = ports.choose([80, 81])

    assert ports.choose([80, 81], remembered=first) == first


def test_takes_another_port_when_its_own_is_taken() -> None:
    """A port that somebody else uses meanwhile is replaced."""
    holder = ports.bind(0)
    assert holder is not None
    with holder:
        taken = holder.getsockname()[1]
        chosen = ports.choose([80], remembered=[Forward(host_port=taken, guest_port=80)])

    assert chosen[0].host_port != taken


def test_specs_survive_being_written() -> None:
    """A machine's description is the same after a round trip through JSON."""
    record = remember("one")

    assert state.decode(state.encode(record)) == record


@pytest.mark.parametrize("name", ["", ".", "..", "../..", "/etc", "a/b", "-a"])
def test_no_other_directory_is_taken_for_a_machine(name: str) -> None:
    """What is named can be deleted."""
    with pytest.raises(UserError, match="a machine cannot be named"):
        state.directory(name)
    with pytest.raises(UserError, match="a machine cannot be named"):
        state.delete(name)
