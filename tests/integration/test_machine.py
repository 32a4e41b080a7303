"""Machines without an image: the firmware is guest enough to start, watch, reach and end one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.build.tools import Tools, tools
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.machine import forward, launch, ports, process, state
from bulkhead.machine.process import Process
from bulkhead.machine.spec import Accelerator, DirectKernel, Disk, Firmware, MachineSpec
from bulkhead.model.errors import HostError
from bulkhead.testing.vm import VM

SHELL = "UEFI Interactive Shell"
"""What the firmware shows when there is nothing to boot."""
FIRMWARE = MachineSpec(
    name="test", boot=Firmware(), accelerator=Accelerator.TCG, memory_mib=128, cpus=1, reboots=False,
    network=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def vm_tools() -> Tools:
    """Return the tools that run machines."""
    return tools("vm", cache=cache_dir(), progress=SILENT)


def machine(vm_tools: Tools, spec: MachineSpec = FIRMWARE) -> VM:
    """Return a machine that is not started yet."""
    return VM(spec=spec, accelerator="tcg", tool_tree=vm_tools)


def test_sees_every_line_from_the_start(vm_tools: Tools) -> None:
    """A line is found whether it is written before or after someone waits for it."""
    with machine(vm_tools) as vm:
        vm.wait_for_line(SHELL)
        first = vm.wait_for_line("BdsDxe: loading (.*)")

        assert "Shell" in first[1]


def test_cleans_up(vm_tools: Tools) -> None:
    """After the block there is neither a process nor a file."""
    with machine(vm_tools) as vm:
        qemu = vm.process

    assert not process.is_alive(qemu)
    assert not vm.directory.exists()


def test_a_failure_shows_the_console(vm_tools: Tools) -> None:
    """Who waits in vain is shown what the machine said last."""
    with machine(vm_tools) as vm:
        vm.wait_for_line(SHELL)
        with pytest.raises(HostError) as failure:
            vm.wait_until_ready(timeout_s=0.2)

    assert "the machine did not get ready within 0.2 s; its console ends with:" in str(
        failure.value
    )
    assert SHELL in str(failure.value)


def test_says_why_qemu_does_not_start(vm_tools: Tools, tmp_path: Path) -> None:
    """QEMU's own last words are in the message."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"no kernel")
    spec = MachineSpec(
        name="test", boot=DirectKernel(kernel=kernel), accelerator=Accelerator.TCG, memory_mib=128
    )

    with pytest.raises(HostError) as failure, machine(vm_tools, spec):
        pass

    assert str(failure.value) == (
        "the machine ended before it was ready: qemu: invalid kernel header"
    )


def test_never_writes_to_the_image(vm_tools: Tools, tmp_path: Path) -> None:
    """What a test changes on a disk is in the overlay; the image keeps every byte."""
    image = tmp_path / "image"
    image.write_bytes(bytes(range(256)) * 4096)
    spec = MachineSpec(
        name="test", boot=Firmware(), accelerator=Accelerator.TCG, disks=(Disk(image=image),)
    )
    vm = machine(vm_tools, spec)
    try:
        vm.prepare()
        vm.corrupt(4097)
        vm.tools.run(
            ["qemu-img", "convert", "-O", "raw", "disk0.qcow2", "seen"],
            reads=[image], writes=[vm.directory], cwd=vm.directory,
        )  # fmt: skip
        seen = (vm.directory / "seen").read_bytes()
    finally:
        vm.close()

    changed = [index for index, byte in enumerate(seen) if byte != index % 256]
    assert changed == [4097]
    assert image.read_bytes() == bytes(range(256)) * 4096


STARTER = """
import signal, sys
from bulkhead.build.tools import tools
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.machine.spec import Accelerator, Firmware, MachineSpec
from bulkhead.testing.vm import VM
spec = MachineSpec(name="test", boot=Firmware(), accelerator=Accelerator.TCG, memory_mib=128)
with VM(spec=spec, accelerator="tcg") as vm:
    print(vm.process.pid, vm.directory, flush=True)
    signal.pause()
"""


def test_a_machine_ends_with_the_test_that_started_it(tmp_path: Path) -> None:
    """Even a test that is killed leaves no machine behind."""
    env = {**os.environ, "PYTHONPATH": str(repository_root() / "src"), "TMPDIR": str(tmp_path)}
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], env=env, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    with starter.stdout as output:
        qemu = process.identify(int(output.readline().split()[0]))
        starter.send_signal(signal.SIGKILL)
        starter.wait()

    assert process.wait_for_end(qemu, timeout_s=30)


@pytest.fixture
def detached(vm_tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """Start a machine called "one" as `bulkhead up` does."""
    monkeypatch.setenv("BULKHEAD_STATE", str(tmp_path))
    spec = MachineSpec(
        name="one", boot=Firmware(), accelerator=Accelerator.TCG, memory_mib=128, cpus=1
    )
    with state.exclusive("one") as directory:
        launch.prepare(directory, spec, tools=vm_tools)
        popen = launch.start(directory, spec, tools=vm_tools, detached=True)
        qemu = process.identify(popen.pid)
        launch.wait_for_control(directory, qemu)
        state.write(
            state.Record(
                spec=spec, token="secret", process=qemu, variant="none", version="0", root_hash="",
                image_sha256="", accelerator_reason="asked for",
            )
        )  # fmt: skip
    yield qemu
    launch.kill(qemu)
    popen.wait()


def test_forwards_a_port_while_it_runs(detached: Process) -> None:
    """A forwarded port is taken on the workstation, remembered, and not opened twice."""
    host_port = forward.forward("one", 9000)

    assert process.is_alive(detached)
    assert ports.bind(host_port) is None
    assert forward.forward("one", 9000) == host_port
    assert state.find("one").host_port(9000) == host_port


def test_closes_ports_that_nobody_uses(detached: Process) -> None:
    """What a container that is gone had is free on the workstation again; the rest stays."""
    opened = {port: forward.forward("one", port) for port in (9001, 9002, state.API_PORT)}

    forward.close_unused("one", lambda: {9002})

    assert process.is_alive(detached)
    found = {known.guest_port: known.host_port for known in state.find("one").spec.forwards}
    assert found == {port: opened[port] for port in (9002, state.API_PORT)}
    holder = ports.bind(opened[9001])
    assert holder is not None
    holder.close()
    assert ports.bind(opened[9002]) is None


def test_stops_a_guest_that_does_not_listen(detached: Process) -> None:
    """A guest that does not power off is ended all the same, and that is reported."""
    clean = launch.stop(state.directory("one"), detached, timeout_s=0.5)

    assert not clean
    assert not process.is_alive(detached)


def test_keeps_secrets_from_other_users(detached: Process) -> None:
    """Nobody else can look into a machine's directory, which has its token and its console."""
    assert process.is_alive(detached)
    assert state.directory("one").stat().st_mode & 0o077 == 0
