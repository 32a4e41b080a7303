"""Whether a guest really starts with KVM, found out by starting one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build.tools import Tools, tools
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.machine import accelerate
from bulkhead.machine.accelerate import Choice
from bulkhead.machine.spec import Accelerator
from bulkhead.model.errors import HostError


@pytest.fixture(scope="module")
def vm_tools() -> Tools:
    """Return the tools that run machines."""
    return tools("vm", cache=cache_dir(), progress=SILENT)


def test_a_guest_starts_with_tcg(vm_tools: Tools) -> None:
    """The probe itself works: emulation runs the firmware on every workstation."""
    assert accelerate.guest_starts(Accelerator.TCG, tools=vm_tools, limit_s=60)


def test_a_guest_that_says_nothing_has_not_started(vm_tools: Tools) -> None:
    """What is not there within the time limit does not count."""
    assert not accelerate.guest_starts(Accelerator.TCG, tools=vm_tools, limit_s=0.1)


def test_tcg_when_there_is_no_kvm(vm_tools: Tools, tmp_path: Path) -> None:
    """Without the device the reason says so."""
    missing = tmp_path / "kvm"

    problem = accelerate.what_is_wrong_with_kvm(
        tools=vm_tools, cache=tmp_path, progress=SILENT, device=missing
    )

    assert problem == f"there is no {missing}"


def test_the_choice_is_what_a_guest_says(vm_tools: Tools, tmp_path: Path) -> None:
    """On this workstation, KVM is chosen exactly if a guest starts with it."""
    works = accelerate.DEVICE.exists() and accelerate.guest_starts(Accelerator.KVM, tools=vm_tools)

    chosen = accelerate.choose("auto", tools=vm_tools, cache=tmp_path, progress=SILENT)

    assert chosen.accelerator is (Accelerator.KVM if works else Accelerator.TCG)
    assert len(list((tmp_path / "kvm").iterdir())) == (1 if accelerate.DEVICE.exists() else 0)
    if not works and accelerate.DEVICE.exists():
        assert chosen.reason == "/dev/kvm exists, but a guest does not start with it"
        with pytest.raises(
            HostError, match=r"^KVM does not work here: .*\n  hint: use --accel tcg"
        ):
            accelerate.choose("kvm", tools=vm_tools, cache=tmp_path, progress=SILENT)


def test_tcg_when_asked_for(vm_tools: Tools, tmp_path: Path) -> None:
    """Nothing is tried when the user has decided."""
    chosen = accelerate.choose("tcg", tools=vm_tools, cache=tmp_path, progress=SILENT)

    assert chosen == Choice(accelerator=Accelerator.TCG, reason="asked for")
    assert list(tmp_path.iterdir()) == []
