"""A booted machine from the inside: nothing failed, nothing listens that should not, nothing of ours runs."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.machine.files import REPORT_PORT
from bulkhead.testing.vm import VM
from tests.support import images

pytestmark = pytest.mark.timeout(600)

PROBE = Path(__file__).parent / "probe"

# Each prints one line of JSON, but the journal, which prints one for each message.
LISTS = {
    "failed": "systemctl list-units --failed --output=json --no-pager",
    "sockets": "systemctl list-sockets --output=json --no-pager",
    "services": "systemctl list-units --type=service --state=running --output=json --no-pager",
    "mounts": "systemctl list-units --type=mount --output=json --no-pager",
}
JOURNAL = "journalctl -b -p err --output=json --output-fields=MESSAGE,SYSLOG_IDENTIFIER --no-pager"
# One line of text for each: does a condition of systemd.unit(5) hold?
CONDITIONS = (
    "ConditionPathExists=!/run/from-firmware",
    "ConditionDirectoryNotEmpty=!/run/udev/rules.d",
)
HOLDS = "systemd-analyze condition --no-pager"
CHECKED = "journalctl -b -u bulkhead-data-check.service --output=cat --no-pager"
# The memory map of the first process, which the service gets as a credential: no program here shows a file.
MAPS = "systemd-creds cat maps"
STORED = "journalctl -b -u bulkhead-preload.service --output=cat --no-pager"

UNITS = repository_root() / "image" / "rootfs" / "usr" / "lib" / "systemd" / "system"
AGENTS = sorted(
    unit.name.replace("@.", "@now.")
    for unit in UNITS.glob("bulkhead-*.service")
    if "-m bulkhead." in unit.read_text()
)
# Without their names it leaves out those that do one thing and end.
SECURITY = f"systemd-analyze security --no-pager {' '.join(AGENTS)}"

WAIT = """[Unit]
After=containerd.service dbus-broker.service
DefaultDependencies=no
OnSuccess=look.service
OnFailure=look.service
[Service]
ExecStart=/usr/bin/systemctl is-system-running --wait
"""
LOOK = "".join(
    [
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n",
        f"StandardOutput=file:/dev/virtio-ports/{REPORT_PORT}\nStandardError=inherit\n",
        "Environment=SYSTEMD_COLORS=0 SYSTEMD_URLIFY=0\nLoadCredential=maps:/proc/1/maps\n",
        *(
            f"ExecStart=-{command}\n"
            for command in (*LISTS.values(), JOURNAL, STORED, CHECKED, MAPS, SECURITY)
        ),
        *(f"ExecStart=-{HOLDS} {condition}\n" for condition in CONDITIONS),
        "ExecStart=systemctl poweroff\n",
    ]
)

# What whoever may edit a machine's metadata could try: a file anywhere, a program at a device's event.
FROM_THE_FIRMWARE = {
    "tmpfiles.extra": b"f /run/from-firmware 0644 root root - taken\n",
    "udev.rules.50-evil": b'ACTION=="add", RUN+="/usr/bin/systemctl poweroff"\n',
}

# Messages of priority "error" that are explained; everything else is a failure of this test.
EXPLAINED = (
    # Virtual machines: the emulated chipset's timers, interrupts and memory types.
    r"tsc: ", r"APIC calibration", r"mtrr: ", r"\.\.MP-BIOS bug", r"amd_pstate", r"RAS: ",
    # The disk is larger than the image; systemd-repart moves the second table at the first boot.
    r"GPT:", r"Alternate GPT",
    # The root's own dm-verity device cannot be taken apart while it is mounted.
    r"Unable to finalize remaining DM devices",
)  # fmt: skip


class Seen(msgspec.Struct, frozen=True):
    """What the machine said."""

    lists: dict[str, list[dict[str, object]]]
    errors: list[str]
    text: str


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Boot the probe variant to the end, look around in it, and switch it off."""
    image = images.build(tmp_path_factory.mktemp("probe"), str(PROBE))
    with VM(
        image.disk, disk_size=images.DISK_SIZE, units={"wait.service": WAIT},
        credentials={"systemd.extra-unit.look.service": LOOK.encode(), **FROM_THE_FIRMWARE},
    ) as vm:  # fmt: skip
        assert vm.wait_for_end(timeout_s=300) == 0
        report, console = vm.report, vm.console
    lines = report.splitlines()
    arrays = [line for line in lines if line.startswith("[{") or line == "[]"]
    assert len(arrays) == len(LISTS), console[-3000:]
    kind = list[dict[str, object]]
    messages = [msgspec.json.decode(line) for line in lines if line.startswith('{"')]
    return Seen(
        lists={
            name: msgspec.json.decode(a, type=kind) for name, a in zip(LISTS, arrays, strict=True)
        },
        errors=[f"{m.get('SYSLOG_IDENTIFIER')}: {m.get('MESSAGE')}" for m in messages],
        text=report,
    )


def test_no_unit_failed(seen: Seen) -> None:
    """`systemctl --failed` is empty."""
    assert seen.lists["failed"] == []


def test_the_journal_has_no_unexplained_error(seen: Seen) -> None:
    """Every message of priority error is on the list of those that are explained."""
    unexplained = [m for m in seen.errors if not any(re.search(e, m) for e in EXPLAINED)]

    assert unexplained == []


def test_nothing_listens_on_the_network(seen: Seen) -> None:
    """No unit waits for connections from other machines."""
    listening = [str(s["listen"]) for s in seen.lists["sockets"]]

    assert [
        where
        for where in listening
        if not where.startswith(("/", "kobject-uevent", "route", "audit"))
    ] == []


def test_no_program_of_ours_runs_when_nothing_happens(seen: Seen) -> None:
    """Agents come when they are asked and go; at idle there are only their sockets."""
    running = [str(s["unit"]) for s in seen.lists["services"]]

    assert [name for name in running if name.startswith("bulkhead")] == []
    assert "containerd.service" in running


def test_there_is_no_login(seen: Seen) -> None:
    """No console, terminal or network service lets anybody in."""
    running = [str(s["unit"]) for s in seen.lists["services"]]

    assert [name for name in running if re.search(r"getty|login|ssh|shell", name)] == []


def test_data_is_on_its_own_partition(seen: Seen) -> None:
    """The data partition was made at the first boot and is mounted."""
    assert "var.mount" in [str(m["unit"]) for m in seen.lists["mounts"]]


def test_agents_are_confined(seen: Seen) -> None:
    """Each agent's exposure is as low as its work allows (systemd-analyze(1), "security")."""
    found = re.findall(r"Overall exposure level for (\S+): ([\d.]+)", seen.text)
    exposure = {unit: float(level) for unit, level in found}

    assert sorted(exposure) == AGENTS
    assert max(exposure.values()) <= 2.0, exposure


def test_credentials_of_the_firmware_change_nothing(seen: Seen) -> None:
    """No file, rule or setting is taken from the machine's metadata."""
    assert seen.text.count("Conditions succeeded.") == len(CONDITIONS)


def test_the_data_partition_was_checked(seen: Seen) -> None:
    """Its file system is checked before it is mounted."""
    assert re.search(r"^data\S*: clean, \d+/\d+ files", seen.text, re.MULTILINE)


def test_images_of_the_variant_are_stored(seen: Seen) -> None:
    """A container image in the variant's `preload` is there after the first boot."""
    assert "stored docker.io/bulkhead/demo:latest" in seen.text


def test_the_first_process_has_not_loaded_libcrypto(seen: Seen) -> None:
    """What it links to is there, and the library behind that is not: it costs 0.5 MiB in each process."""
    libraries = set(re.findall(r"^[0-9a-f]+-[0-9a-f]+ r.*(/usr/lib/\S+)$", seen.text, re.MULTILINE))

    assert "/usr/lib/x86_64-linux-gnu/libcrypto.so.3" in libraries
    assert [path for path in libraries if path.startswith("/usr/lib/bulkhead/")] == []
