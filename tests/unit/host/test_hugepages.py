"""Huge pages: what the kernel is asked for, and what is told when it gives less."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bulkhead.host.hugepages import kernel
from bulkhead.host.hugepages.__main__ import run
from bulkhead.host.hugepages.places import Places
from bulkhead.lib import conditions
from bulkhead.model import boot
from bulkhead.model.boot import HugePages, Pages

TWO_MIB = "hugepages/hugepages-2048kB/nr_hugepages"


class Kernel:
    """A kernel that gives what it is asked for: its files are files."""

    def __init__(self, directory: Path) -> None:
        self.places = Places(
            wanted=directory / "hugepages.json", memory=directory / "mm", nodes=directory / "node",
            meminfo=directory / "meminfo", state=directory / "state",
        )  # fmt: skip
        self.places.state.mkdir()
        self.places.meminfo.write_text("MemTotal:  1048576 kB\nMemAvailable:     524288 kB\n")
        self.put("mm", TWO_MIB, "0\n")
        self.put("node/node0", TWO_MIB, "0\n")
        self.put("node/node1", TWO_MIB, "0\n")
        self.put("mm", "transparent_hugepage/enabled", "always [madvise] never\n")
        self.put("mm", "transparent_hugepage/defrag", "always defer [madvise] never\n")

    def put(self, above: str, name: str, text: str) -> None:
        """Make a file of the kernel."""
        path = self.places.memory.parent / above / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def get(self, above: str, name: str) -> str:
        """Read a file of the kernel."""
        return (self.places.memory.parent / above / name).read_text()

    def want(self, wanted: HugePages | None) -> None:
        """Let the settings say something, or nothing."""
        self.places.wanted.unlink(missing_ok=True)
        if wanted is not None:
            self.places.wanted.write_bytes(msgspec.json.encode(wanted))

    def give(self, path: Path, value: str) -> str:
        """Give no more than three pages."""
        return kernel.write(path, "3" if value.isdigit() and int(value) > 3 else value)

    def run(self, *, starting: bool = False) -> tuple[bool, list[str]]:
        """Run the program; return whether the boot may go on, and what it says."""
        goes_on = run(self.places, starting=starting)
        return goes_on, [c.title for c in conditions.read(self.places.state / "hugepages.json")]


@pytest.fixture
def machine(tmp_path: Path) -> Kernel:
    """Make a kernel with no huge pages."""
    return Kernel(tmp_path)


def test_pages_are_set(machine: Kernel) -> None:
    """For all of the memory, and how transparent ones are given."""
    machine.want(
        HugePages(
            static=(Pages(size_kib=2048, count=64),),
            essential=True,
            enabled="always",
            defrag="defer",
        )
    )

    assert machine.run(starting=True) == (True, [])
    assert machine.get("mm", TWO_MIB) == "64"
    assert machine.get("mm", "transparent_hugepage/enabled") == "always"
    assert machine.get("mm", "transparent_hugepage/defrag") == "defer"


def test_each_numa_node_has_its_own(machine: Kernel) -> None:
    """Those that are not named stay as they are."""
    machine.want(HugePages(static=(Pages(size_kib=2048, count=8, node=1),)))

    assert machine.run() == (True, [])
    assert (machine.get("node/node0", TWO_MIB), machine.get("node/node1", TWO_MIB)) == ("0\n", "8")


def test_what_is_unset_is_as_before(machine: Kernel) -> None:
    """Before the first setting since the start, however often it was changed."""
    for count in (4, 8):
        machine.want(HugePages(static=(Pages(size_kib=2048, count=count),), enabled="never"))
        machine.run()
    machine.want(None)

    assert machine.run() == (True, [])
    assert machine.get("mm", TWO_MIB) == "0"
    assert machine.get("mm", "transparent_hugepage/enabled") == "madvise"


@pytest.mark.parametrize(
    ("pages", "told"),
    [
        (
            Pages(size_kib=64, count=1),
            "1 huge pages of 64 KiB: the kernel has no hugepages-64kB/nr_hugepages",
        ),
        (
            Pages(size_kib=2048, count=1, node=7),
            "1 huge pages of 2 MiB on NUMA node 7: the kernel has no hugepages-2048kB/nr_hugepages",
        ),
    ],
)
def test_a_size_or_a_node_that_is_not_there_is_told(
    machine: Kernel, pages: Pages, told: str
) -> None:
    """Processors differ in the sizes that they know."""
    machine.want(HugePages(static=(pages,)))

    assert machine.run() == (True, [told])
    (condition,) = conditions.read(machine.places.state / "hugepages.json")
    assert (condition.code, condition.severity) == (boot.TOO_FEW, "error")


def test_a_boot_without_essential_pages_fails(machine: Kernel) -> None:
    """And a running machine does not."""
    machine.want(HugePages(static=(Pages(size_kib=64, count=1),), essential=True))

    assert [machine.run(starting=starting)[0] for starting in (True, False)] == [False, True]


def test_what_the_kernel_refuses_is_told(machine: Kernel) -> None:
    """With its reason, and the rest is done."""
    path = machine.places.memory / TWO_MIB
    path.unlink()
    path.mkdir()
    machine.want(HugePages(static=(Pages(size_kib=2048, count=1),), enabled="never"))

    assert machine.run() == (
        True,
        ["1 huge pages of 2 MiB: nr_hugepages: the kernel does not say: Is a directory"],
    )
    assert machine.get("mm", "transparent_hugepage/enabled") == "never"


def test_the_kernel_is_not_asked_for_the_last_of_the_memory(machine: Kernel) -> None:
    """It would give it, and then the node could not even be told otherwise: of 512 MiB, 256 stay."""
    machine.want(HugePages(static=(Pages(size_kib=2048, count=129),)))
    refused = machine.run(), machine.get("mm", TWO_MIB)
    machine.want(HugePages(static=(Pages(size_kib=2048, count=128),)))

    told = (
        "129 huge pages of 2 MiB: they would leave less than 256 MiB of memory for everything else"
    )
    assert refused == ((True, [told]), "0\n")
    assert (machine.run(), machine.get("mm", TWO_MIB)) == ((True, []), "128")


def test_pages_that_are_there_already_are_not_counted_again(machine: Kernel) -> None:
    """The next run of the same settings finds less memory, and asks for none."""
    machine.want(HugePages(static=(Pages(size_kib=2048, count=100),)))
    machine.run()
    machine.places.meminfo.write_text("MemAvailable:     1024 kB\n")

    assert machine.run() == (True, [])


def test_fewer_pages_than_were_asked_for_are_told(machine: Kernel) -> None:
    """The kernel itself says nothing."""
    machine.want(HugePages(static=(Pages(size_kib=2048, count=64),), essential=True))

    assert run(machine.places, starting=False, ask=machine.give)
    assert not run(machine.places, starting=True, ask=machine.give)
    (told,) = conditions.read(machine.places.state / "hugepages.json")
    assert told.title == "64 huge pages of 2 MiB: the kernel gave 3"
