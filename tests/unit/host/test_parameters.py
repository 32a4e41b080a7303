"""Parameters of the next start: what is written for the boot loader, and what is told."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import pytest

from bulkhead.host.parameters import uki as images
from bulkhead.host.parameters.gather import gather
from bulkhead.host.parameters.plan import LINE_LIMIT, plan
from bulkhead.model import boot
from bulkhead.model.errors import HostError
from tests.support import crash
from tests.support.boot_machine import BASE, GLOBAL, LOADER, Machine
from tests.support.uki import RELEASE, uki

PENDING = "the machine starts with the parameters of the settings the next time"
UNSET = "the machine starts without the parameters that were unset the next time"
FELL_BACK = "the machine did not come up with the boot parameters of the settings, and runs without"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Make a machine without parameters of settings."""
    return Machine(tmp_path)


def test_an_entry_starts_the_image_with_its_own_line_and_more(machine: Machine) -> None:
    """It is sorted beside its image, starts it, and has the settings' parameters at the end."""
    machine.want('isolcpus=1 quoted="a b"')

    assert machine.run() == [PENDING]

    (name,) = machine.names()
    digest = re.fullmatch(r"test_1\.0\.parameters-([0-9a-f]{12})\+3-0\.conf", name)
    assert digest
    assert (machine.entries / name).read_text() == (
        "# Made from the node's settings; removed when they are unset.\n"
        "title Bulkhead 1.0 (test), with parameters of the settings\n"
        "sort-key bulkhead-test\n"
        "version 1.0\n"
        "efi /EFI/Linux/test_1.0.efi\n"
        f'options {BASE} isolcpus=1 quoted="a b" bulkhead.parameters={digest[1]}\n'
    )


def test_there_is_nothing_to_say_once_it_runs(machine: Machine) -> None:
    """The entry stays as it is, good and without a counter."""
    machine.want("isolcpus=1")
    machine.run()
    machine.next_start()
    before = machine.names()

    assert machine.run(starting=True) == []
    assert machine.names() == before


def test_a_start_in_an_entry_that_is_still_tried_is_no_fallback(machine: Machine) -> None:
    """At its last try an entry has no tries left although it runs."""
    machine.want("isolcpus=1")
    machine.run()
    machine.next_start()
    (name,) = machine.names()
    (machine.entries / name).rename(machine.entries / name.replace(".conf", "+0-3.conf"))

    assert machine.run(starting=True) == []


def test_a_change_replaces_the_entry(machine: Machine) -> None:
    """There is one at a time, and the new one is tried again."""
    machine.want("isolcpus=1")
    machine.run()
    machine.next_start()
    machine.want("isolcpus=2")

    assert machine.run() == [PENDING]

    (name,) = machine.names()
    assert name.endswith("+3-0.conf")
    assert " isolcpus=2 " in (machine.entries / name).read_text()


def test_unset_parameters_take_their_entry_along(machine: Machine) -> None:
    """The machine still runs with them, until it starts again."""
    machine.want("isolcpus=1")
    machine.run()
    machine.next_start()
    machine.want(None)

    assert machine.run() == [UNSET]
    assert machine.names() == []
    machine.start_with(BASE)
    assert machine.run(starting=True) == []


def test_a_fallback_is_told_and_not_tried_again(machine: Machine) -> None:
    """The entry stays where it is, at the end of the loader's list; even a start that may, does not restart."""
    machine.want("mem=1M", reboot=True)
    machine.run()
    machine.next_start(tries=3)

    (told,) = machine.told(starting=True)

    assert (told.code, told.title) == (boot.FELL_BACK, FELL_BACK)
    assert told.text == (
        "It was tried 3 times with: mem=1M. Change or unset them; to try the same again, unset them first."
    )
    assert machine.names()[0].endswith("+0-3.conf")
    assert not (machine.places.state / "reboot").exists()


def test_a_start_with_something_else_restarts_once(machine: Machine) -> None:
    """Where the settings ask for it, and only when the machine has just started."""
    machine.want("isolcpus=1", reboot=True)
    flag = machine.places.state / "reboot"
    machine.run()
    asked_while_it_runs = flag.exists()
    shutil.rmtree(machine.entries)
    machine.run(starting=True)
    asked_at_the_start = flag.exists()
    machine.start_with(BASE)  # whatever kept the loader from the entry
    machine.run(starting=True)

    assert (asked_while_it_runs, asked_at_the_start, flag.exists()) == (False, True, False)


def test_entries_of_the_other_slot_follow_the_settings(machine: Machine) -> None:
    """It may run again: its entry is kept as long as it says what the settings say."""
    machine.want("isolcpus=1")
    machine.run()
    machine.next_start()
    old = machine.names()[0]
    (machine.images / "test_1.1.efi").write_bytes(uki("roothash=11 ro"))
    machine.variable(f"StubImageIdentifier-{LOADER}", "\\EFI\\Linux\\test_1.1.efi\0")
    machine.start_with("roothash=11 ro")
    machine.run(starting=True)
    both = machine.names()
    machine.want("isolcpus=2")
    machine.run()

    assert len(both) == 2
    assert old in both
    assert [name.partition(".parameters")[0] for name in machine.names()] == ["test_1.1"]


def test_an_entry_whose_image_is_gone_goes_too(machine: Machine) -> None:
    """An update writes over the slot; what would start it starts nothing any more."""
    machine.want("isolcpus=1")
    machine.run()
    machine.next_start()
    (machine.images / "test_1.0.efi").rename(machine.images / "test_2.0.efi")
    machine.variable(f"StubImageIdentifier-{LOADER}", "\\EFI\\Linux\\test_2.0.efi\0")
    machine.start_with(BASE)
    machine.run(starting=True)

    assert [name.partition(".parameters")[0] for name in machine.names()] == ["test_2.0"]


def test_files_of_others_stay(machine: Machine) -> None:
    """Whatever else is in the loader's directory is not ours to remove."""
    machine.entries.mkdir()
    others = ["arch.conf", "test.parameters-zz.conf", "x.parameters-0123456789ab.txt"]
    for name in others:
        (machine.entries / name).write_text("title x\n")
    machine.want("a=1")
    machine.run()
    machine.want(None)
    machine.run()

    assert machine.names() == others


def test_with_secure_boot_nothing_is_written(machine: Machine) -> None:
    """The loader would start the entry and the stub pass over its parameters."""
    machine.want("isolcpus=1")
    machine.run()
    machine.variable(f"SecureBoot-{GLOBAL}", b"\1")

    (told,) = machine.told()

    assert (told.code, told.title, told.text) == (
        boot.IMPOSSIBLE,
        "boot parameters cannot take effect: Secure Boot is on, and the command line is part of what "
        "the image's key has signed",
        "Give them in the variant, kernel.command-line, or unset settings.boot.",
    )
    assert machine.names() == []


@pytest.mark.parametrize("missing", ["LoaderInfo", "StubImageIdentifier", "everything"])
def test_without_the_boot_loader_it_is_told(machine: Machine, missing: str) -> None:
    """A kernel that somebody else started, with EFI or without."""
    machine.want("isolcpus=1")
    if missing == "everything":
        shutil.rmtree(machine.places.variables)
        shutil.rmtree(machine.places.esp)
        machine.places.esp.mkdir()
    else:
        (machine.places.variables / f"{missing}-{LOADER}").unlink()

    assert machine.run() == [
        "boot parameters cannot take effect: this machine's kernel was not started by the boot loader "
        "of its disk"
    ]
    assert machine.names() == []


def test_an_image_that_has_not_proved_good_gets_no_entry(machine: Machine) -> None:
    """Its name will change, and its own tries come first."""
    (machine.images / "test_1.0.efi").rename(machine.images / "test_1.0+2-1.efi")
    machine.want("isolcpus=1")

    assert machine.run() == [
        "boot parameters cannot take effect: the image test_1.0 has not proved good, or its file cannot "
        "be read"
    ]


def test_a_line_that_the_kernel_would_cut_off_is_refused(machine: Machine) -> None:
    """The kernel says nothing and starts with half of it."""
    machine.want("x" * (LINE_LIMIT - len(BASE) - 33 - 1))
    fits = machine.run()
    machine.want("x" * (LINE_LIMIT - len(BASE) - 33))

    assert fits == [PENDING]
    assert machine.run() == [
        f"boot parameters cannot take effect: the command line would have {LINE_LIMIT + 1} characters, "
        f"and {LINE_LIMIT} are safe"
    ]
    assert machine.names() == []


@pytest.mark.parametrize("line", ["a\noptions init=/x", "a\rb", "a\0", "é", "a\u2028b"])
def test_a_line_stays_a_line(machine: Machine, line: str) -> None:
    """Whatever wrote the file: no second line gets into an entry."""
    machine.want(line)

    assert machine.run() == ["boot parameters cannot take effect: they are not one line of text"]
    assert machine.names() == []


@pytest.mark.parametrize(
    "name", ["\\EFI\\Linux\\..\\..\\x.efi", "\\EFI\\Linux\\a b.efi", "\\x.efi", "/etc/passwd", "", "\\EFI\\Linux\\.."]
)  # fmt: skip
def test_a_name_from_the_firmware_leads_nowhere(machine: Machine, name: str) -> None:
    """It may be anybody's: it becomes the name of a file."""
    machine.want("a=1")
    machine.variable(f"StubImageIdentifier-{LOADER}", f"{name}\0")

    assert machine.told()[0].code == boot.IMPOSSIBLE
    assert machine.names() == []


def test_a_full_esp_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written there, and what was there stays."""
    machine.want("a=1")
    machine.run()
    before = machine.names()
    machine.want("b=1")
    full = os.statvfs_result((4096, 4096, 100, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)

    (told,) = machine.told()

    assert (told.code, told.title, told.text) == (
        boot.FAILED,
        "boot parameters are as before: cannot change the boot loader's entries: "
        "No space left on device (/boot/loader/entries)",
        "the ESP is full.",
    )
    assert machine.names() == before


def scene(directory: Path) -> Machine:
    """Make a machine that runs with parameters and wants others."""
    machine = Machine(directory)
    machine.want("old=1")
    machine.run()
    machine.next_start()
    machine.want("new=1")
    return machine


def bootable(esp: Path) -> list[str]:
    """Return what the loader can start: names of whole entries and of images."""
    found = [path.name for path in (esp / "EFI/Linux").iterdir()]
    for path in (esp / "loader/entries").glob("*.conf"):
        assert path.read_text().count("\noptions ") == 1, path.read_text()
        assert re.search(r" bulkhead\.parameters=[0-9a-f]{12}\n$", path.read_text())
        found.append(path.name)
    return sorted(found)


def test_whenever_it_is_killed_the_machine_starts(tmp_path: Path) -> None:
    """The image's entry is always there, and an entry of ours is whole: the old, the new, or both."""
    count = crash.run(scene(tmp_path / "all").run, tmp_path / "all").tried
    seen = set()
    for step in range(count):
        machine = scene(tmp_path / str(step))
        ended = crash.run(machine.run, tmp_path / str(step), kill_before=step)
        assert ended.killed
        names = bootable(machine.places.esp)
        assert "test_1.0.efi" in names
        seen.add(len(names) - 1)
        # Whatever was left, the next run ends where the first one would have.
        assert machine.run() == [PENDING]
        assert len(machine.names()) == 1
        assert " new=1 " in (machine.entries / machine.names()[0]).read_text()

    assert seen == {1, 2}


def test_whenever_the_power_goes_the_machine_starts(tmp_path: Path) -> None:
    """The same for a disk that kept only what was synced, or any part of the rest."""
    before, after = tmp_path / "before", tmp_path / "after"
    scene(before)
    machine = scene(after)
    calls = crash.run(machine.run, machine.places.esp).calls
    esp = before / "esp"
    for count in range(len(calls) + 1):
        some = crash.moved(calls[:count], machine.places.esp, esp)
        for number, disk in enumerate(crash.disks(esp, some)):
            found = tmp_path / f"{count}-{number}"
            for name, data in disk.items():
                (found / name).parent.mkdir(parents=True, exist_ok=True)
                (found / name).write_bytes(data)
            names = bootable(found)
            assert "test_1.0.efi" in names
            assert len(names) in (2, 3), names


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_whatever_is_refused_the_machine_starts(tmp_path: Path, code: int) -> None:
    """An error of the ESP is told, and leaves what can be started."""
    count = crash.run(scene(tmp_path / "all").run, tmp_path / "all/esp").tried
    for step in range(count):
        machine = scene(tmp_path / str(step))
        crash.run(machine.run, machine.places.esp, refuse=step, code=code)

        assert "test_1.0.efi" in bootable(machine.places.esp)
        assert len(machine.names()) in (1, 2)


def test_what_an_image_says_is_read(tmp_path: Path) -> None:
    """Without names of its own it is sorted by those of the system, as the loader does it."""
    path = tmp_path / "x.efi"
    path.write_bytes(uki(BASE, release="ID=system\nVERSION_ID='2'\n"))

    assert images.read(path) == images.Uki(line=BASE, sort_key="system", version="2", title="x")


@pytest.mark.parametrize(
    "data",
    [b"", b"MZ", b"\x7fELF" + bytes(4096), uki(BASE)[:0x90], uki(BASE).replace(b".cmdline", b".cmdlinx"),
     uki("a\nb"), uki(""), uki(BASE, release="\0").replace(b".osrel", b".osrex")],
    ids=range(8),
)  # fmt: skip
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    """Cut off, of another kind, without the sections, with two lines."""
    path = tmp_path / "x.efi"
    path.write_bytes(data)

    with pytest.raises(HostError):
        images.read(path)


def test_a_broken_image_of_the_other_slot_does_no_harm(machine: Machine) -> None:
    """Only the image that runs matters."""
    (machine.images / "other.efi").write_bytes(b"nothing")
    machine.want("a=1")

    assert machine.run() == [PENDING]


def test_a_release_cannot_add_lines_to_an_entry(machine: Machine) -> None:
    """What is in a file of the ESP is not believed."""
    evil = RELEASE.replace("IMAGE_VERSION=1.0", "IMAGE_VERSION=1.0\roptions init=/x")
    (machine.images / "test_1.0.efi").write_bytes(uki(BASE, release=evil))
    machine.want("a=1")
    machine.run()

    text = (machine.entries / machine.names()[0]).read_text()
    assert len(re.findall(r"[\r\n]options ", text)) == 1


def test_a_settings_file_that_cannot_be_read_is_told(machine: Machine) -> None:
    """A bug of ours must not look like success."""
    machine.places.wanted.write_text("{}")

    (told,) = machine.told()
    assert told.code == boot.FAILED
    assert "is not what settings are made into" in told.title


def test_a_plan_changes_nothing(machine: Machine) -> None:
    """Looking is free."""
    machine.want("a=1")

    assert plan(gather(machine.places)).write is not None
    assert machine.names() == []
