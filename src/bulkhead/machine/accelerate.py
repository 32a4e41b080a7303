"""Which accelerator a machine gets, and why.

That /dev/kvm exists says little: inside of other virtual machines it can be
there and run a few instructions, but no whole guest. So QEMU's firmware is
started with it once, which needs 64-bit mode, paging and floating point, and
the answer is remembered until the workstation boots again.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import msgspec

from bulkhead.build.tools import Tools
from bulkhead.lib import atomicfile, run, sandbox
from bulkhead.lib.progress import Progress
from bulkhead.machine import process, qemu
from bulkhead.machine.spec import Accelerator
from bulkhead.model.arch import AMD64, Architecture
from bulkhead.model.errors import HostError

DEVICE = Path("/dev/kvm")
LIMIT_S = 8.0
"""With KVM, the firmware needs 1 s to get to its boot menu."""
_REACHED = b"BdsDxe"
_WORKS = "works"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """An accelerator and why it was chosen."""

    accelerator: Accelerator
    reason: str

    def __str__(self) -> str:
        return f"{self.accelerator.value}: {self.reason}"


def choose(wanted: str, *, tools: Tools, cache: Path, progress: Progress) -> Choice:
    """Return the accelerator to use.

    Args:
        wanted: "auto", "kvm" or "tcg".
        tools: the `vm` tools.
        cache: where the answer is remembered.
        progress: where to show that KVM is being tried.

    Raises:
        HostError: KVM is wanted and does not work here.
    """
    if wanted == Accelerator.TCG.value:
        return Choice(accelerator=Accelerator.TCG, reason="asked for")
    problem = what_is_wrong_with_kvm(tools=tools, cache=cache, progress=progress)
    if problem is None:
        return Choice(accelerator=Accelerator.KVM, reason="a guest starts with it")
    if wanted == Accelerator.KVM.value:
        raise HostError(f"KVM does not work here: {problem}", hint="use --accel tcg")
    return Choice(accelerator=Accelerator.TCG, reason=problem)


def what_is_wrong_with_kvm(
    *, tools: Tools, cache: Path, progress: Progress, device: Path = DEVICE
) -> str | None:
    """Return why KVM cannot be used, or None if a guest really starts with it."""
    if not device.exists():
        return f"there is no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"this user may not open {device} (the group that owns it may)"
    try:
        works = _remembered(tools, cache).read_text() == _WORKS
    except FileNotFoundError:
        with progress.task("trying KVM"):
            works = guest_starts(Accelerator.KVM, tools=tools)
        _remember(tools, cache, works=works)
    return None if works else f"{device} exists, but a guest does not start with it"


def _remember(tools: Tools, cache: Path, *, works: bool) -> None:
    path = _remembered(tools, cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomicfile.write(path, _WORKS if works else "fails")


def _remembered(tools: Tools, cache: Path) -> Path:
    """Return where the answer is kept for this boot, QEMU and user."""
    return cache / "kvm" / f"{process.boot_id()}-{tools.key}-{os.geteuid()}"


def guest_starts(
    accelerator: Accelerator,
    *,
    tools: Tools,
    limit_s: float = LIMIT_S,
    arch: Architecture = AMD64,
) -> bool:
    """Tell whether QEMU's firmware gets to its boot menu with this accelerator."""
    with tempfile.TemporaryDirectory(prefix="bulkhead-kvm-") as name:
        directory = Path(name)
        shutil.copyfile(tools.root / qemu.EMPTY_VARIABLES.lstrip("/"), directory / "variables.fd")
        box = sandbox.Sandbox(
            root=tools.root,
            writes=[directory],
            devices=["kvm"] if accelerator is Accelerator.KVM else [],
            cwd=directory,
            own_processes=False,
        )
        # fmt: off
        argv = [
            arch.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-m", "128M",
            "-machine", f"{arch.qemu_machine},smm=off", "-accel", accelerator.value,
            "-cpu", "host" if accelerator is Accelerator.KVM else "max",
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={qemu.CODE}",
            "-drive", "if=pflash,unit=1,format=raw,file=variables.fd",
            "-serial", "stdio",
        ]
        # fmt: on
        guest = run.spawn(
            sandbox.command(box, argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            return _says(guest, _REACHED, limit_s)
        finally:
            guest.send_signal(signal.SIGKILL)
            guest.wait()


def _says(guest: subprocess.Popen[bytes], wanted: bytes, limit_s: float) -> bool:
    """Tell whether a guest writes `wanted` before it fails or the time is over."""
    assert guest.stdout is not None
    deadline = time.monotonic() + limit_s
    text = b""
    with selectors.DefaultSelector() as selector, guest.stdout as stream:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(stream.fileno(), 4096)
            text += chunk
            if wanted in text:
                return True
            # QEMU stops the guest after an internal error and waits for a debugger.
            if not chunk or b"KVM internal error" in text:
                return False
    return False
