"""Boot parameters and huge pages of the settings: from the API to the running kernel, and back.

One machine, through its firmware, systemd-boot and the kernel image, with an
ESP of its own. It serves all tests here, in this order. What it runs with is
told by a unit inside of it, once for each start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.machine.files import REPORT_PORT
from bulkhead.machine.spec import Accelerator, Firmware, MachineSpec
from bulkhead.model import boot
from bulkhead.model.apply import ServiceResult
from bulkhead.model.errors import HostError
from bulkhead.model.settings.keys import Settings
from bulkhead.testing.vm import VM
from tests.support import images, node
from tests.support.images import Image

pytestmark = pytest.mark.timeout(1500)

PROBE = Path(__file__).parent / "probe"
MACHINE = MachineSpec(
    name="test",
    boot=Firmware(),
    accelerator=Accelerator.TCG,
    baseline_processor=True,
    reboots=False,
)
FAILED = "bulkhead-init: cannot start this slot"

LOOK = """\
import json, os
def text(path):
    with open(path) as file:
        return file.read().strip()
def names(path):
    return sorted(os.listdir(path)) if os.path.isdir(path) else []
print(json.dumps({
    'line': text('/run/cmdline'),
    'entries': names('/run/esp/loader/entries'),
    'images': names('/run/esp/EFI/Linux'),
    'containers': os.path.exists('/run/host/containerd/containerd.sock'),
    'pages': text('/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages'),
    'defrag': text('/sys/kernel/mm/transparent_hugepage/defrag'),
}), flush=True)
"""
UNIT = f"""\
[Unit]
DefaultDependencies=no
After=containerd.service bulkhead-parameters@boot.service bulkhead-parameters-reboot.service
[Service]
Type=oneshot
RootDirectory=/usr/lib/bulkhead/agent
MountAPIVFS=yes
BindReadOnlyPaths=/boot:/run/esp /run:/run/host /proc/cmdline:/run/cmdline
StandardOutput=file:/dev/virtio-ports/{REPORT_PORT}
ExecStart=/usr/bin/python3.13 -I -c "@CODE@"
"""


class Start(msgspec.Struct, frozen=True):
    """What one start of the machine said."""

    line: str
    entries: list[str]
    images: list[str]
    containers: bool
    pages: str
    defrag: str


class Machine:
    """The machine, its API, and the starts that are known already."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm
        self.resets: list[str] = []
        """What was on the console before each reset."""
        self._seen = 0
        self.api = node.reach(vm)

    def next_start(self) -> Start:
        """Wait until the machine has started to the end, after any resets, and return what it says."""
        while True:
            try:
                found = self.vm.wait_for_report(r"^\{.*\}$", after=self._seen)
            except HostError as error:
                if "the machine ended" not in str(error) or len(self.resets) > 20:
                    raise
                self.resets.append(self.vm.console)
                self.vm.start()
                self._seen = 0
            else:
                self._seen = len(self.vm.report)
                return msgspec.json.decode(found[0], type=Start)

    def stage(self, settings: Settings) -> None:
        """Set settings in the pending transaction."""
        self.api.set(node.TX, settings)

    def unset(self, *keys: str) -> None:
        """Unset settings in the pending transaction."""
        self.api.unset(node.TX, keys)

    def commit(self) -> dict[str, ServiceResult]:
        """Commit and apply; return how the services went."""
        return node.commit(self.api)

    def conditions(self) -> list[str]:
        """Return the codes of what the node says is wrong."""
        return node.conditions(self.api)

    def restart(self) -> Start:
        """Restart the machine, and wait for its next start."""
        self.api.reboot()
        return self.next_start()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the probe variant, which takes units from outside."""
    return images.build(tmp_path_factory.mktemp("probe"), str(PROBE))


@pytest.fixture(scope="module")
def machine(image: Image) -> Iterator[Machine]:
    """Start the machine with the channel's secret and the unit that looks."""
    with VM(
        image.disk, spec=MACHINE, disk_size=images.DISK_SIZE, forwards=(node.PORT,),
        credentials=node.CREDENTIALS,
        units={"look.service": UNIT.replace("@CODE@", LOOK.replace("\n", "\\n"))},
    ) as vm:  # fmt: skip
        yield Machine(vm)


def test_nothing_is_done_for_a_node_without_such_settings(machine: Machine) -> None:
    """No entry, no page, nothing to say; the image has proved good."""
    start = machine.next_start()

    assert "bulkhead.parameters" not in start.line
    assert start.entries == []
    assert start.images == ["bulkhead-probe_0.1.0.efi"]
    assert (start.pages, machine.conditions()) == ("0", [])


def test_parameters_are_there_after_the_next_start(machine: Machine) -> None:
    """The kernel's and systemd's, quoted as the kernel reads them; the entry has proved good."""
    machine.stage({
        "boot": {
            "kernel-parameters": {"log_buf_len": ["1M"], "test.value": ["two words"], "test.flag": []},
            "init-parameters": {"systemd.log_level": ["notice"]},
        },
        "kernel": {"hugepages": {
            "static": {"2Mi": {"count": "4"}}, "transparent": {"enabled": "madvise", "defrag": "never"},
        }},
    })  # fmt: skip
    results = machine.commit()

    assert (results["boot"].status, results["boot"].reboot) == ("done", True)
    assert results["boot"].note == (
        "the machine starts with the parameters of the settings the next time"
    )
    assert (results["hugepages"].status, results["hugepages"].error) == ("done", None)
    assert machine.conditions() == [boot.PENDING]

    start = machine.restart()
    assert re.search(
        r' log_buf_len=1M test\.flag test\.value="two words" systemd\.log_level=notice '
        r"bulkhead\.parameters=[0-9a-f]{12}",
        start.line,
    )
    assert len(start.entries) == 1
    assert re.fullmatch(r"bulkhead-probe_0\.1\.0\.parameters-[0-9a-f]{12}\.conf", start.entries[0])
    assert start.images == ["bulkhead-probe_0.1.0.efi"]
    assert start.containers
    assert machine.conditions() == []


def test_huge_pages_are_there_after_a_start(machine: Machine) -> None:
    """As many as were asked for; and what the machine cannot spare is told."""
    machine.stage({"kernel": {"hugepages": {"static": {"2Mi": {"count": "100000"}}}}})
    results = machine.commit()

    assert results["hugepages"].status == "failed"
    assert (results["hugepages"].error or "").startswith(
        "100000 huge pages of 2 MiB: they would leave less than 256 MiB of memory for everything else"
    )
    assert machine.conditions() == [boot.TOO_FEW]

    machine.stage({"kernel": {"hugepages": {"static": {"2Mi": {"count": "6"}}}}})
    assert machine.commit()["hugepages"].status == "done"
    assert machine.conditions() == []


def test_parameters_that_stop_the_machine_are_left_out_after_three_tries(machine: Machine) -> None:
    """The initrd cannot mount the root with them. The image's own entry starts, and the node says so."""
    machine.stage({"boot": {"kernel-parameters": {"module_blacklist": ["erofs"]}}})
    assert machine.commit()["boot"].reboot
    machine.resets.clear()
    start = machine.restart()

    assert [FAILED in console for console in machine.resets] == [False, True, True, True]
    assert "bulkhead.parameters" not in start.line
    (entry,) = start.entries
    assert entry.endswith("+0-3.conf")
    assert machine.conditions() == [boot.FELL_BACK]
    # Set early, at each start.
    assert (start.pages, start.defrag) == ("6", "always defer defer+madvise madvise [never]")


def test_a_machine_reconciles_itself_once(machine: Machine) -> None:
    """Settings that were committed and not applied: it starts without them, then once more with them."""
    machine.unset("settings.boot", "settings.kernel.hugepages")
    machine.stage({"boot": {
        "reboot-to-reconcile": True, "kernel-parameters": {"log_buf_len": ["2M"]},
    }})  # fmt: skip
    machine.api.send("POST", f"/tx/commit?tx={node.TX}")
    machine.resets.clear()
    start = machine.restart()
    # The unit that looks may be there before the restart, or not.
    second = start if len(machine.resets) == 2 else machine.next_start()

    assert len(machine.resets) == 2
    assert " log_buf_len=2M bulkhead.parameters=" in second.line
    assert "module_blacklist" not in second.line
    assert len(second.entries) == 1
    assert second.pages == "0"
    assert machine.conditions() == []


def test_containers_are_not_started_without_essential_pages(machine: Machine) -> None:
    """The boot fails, and the API stays up to change that."""
    machine.stage({"kernel": {"hugepages": {"static": {
        "essential": True, "2Mi": {"count": "100000"},
    }}}})  # fmt: skip
    machine.commit()
    start = machine.restart()

    assert not start.containers
    assert machine.conditions() == [boot.TOO_FEW]


def test_parameters_that_are_unset_are_gone_after_the_next_start(machine: Machine) -> None:
    """The entry goes away at once; the machine still runs with it, and says so."""
    machine.unset("settings.boot", "settings.kernel.hugepages")
    results = machine.commit()

    assert results["boot"].note == (
        "the machine starts without the parameters that were unset the next time"
    )
    start = machine.restart()
    assert "log_buf_len" not in start.line
    assert (start.entries, machine.conditions()) == ([], [])
    assert start.containers
