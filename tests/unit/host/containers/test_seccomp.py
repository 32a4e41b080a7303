"""Which system calls a container may make."""

from __future__ import annotations

from typing import cast

import pytest

from bulkhead.host.containers import seccomp

AF_INET, AF_VSOCK = 2, 40


def allows(name: str, argument: int) -> bool:
    """Say whether the profile lets a call with this first argument pass, as libseccomp reads it."""
    rules = cast("list[dict[str, object]]", seccomp.profile((), machine="x86_64")["syscalls"])
    for rule in rules:
        if name not in cast("list[str]", rule["names"]) or rule["action"] != "SCMP_ACT_ALLOW":
            continue
        conditions = cast("list[dict[str, int | str]]", rule.get("args", []))
        for condition in conditions:
            assert condition["op"] == "SCMP_CMP_MASKED_EQ"
        if all(argument & int(c["value"]) == c["valueTwo"] for c in conditions):
            return True
    return False


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_a_socket_to_the_hypervisor_is_refused(high: int) -> None:
    """The kernel takes an int, so bits above it must not let another number through."""
    assert not allows("socket", high | AF_VSOCK)
    assert allows("socket", high | AF_INET)


def test_new_namespaces_are_refused() -> None:
    """A container without CAP_SYS_ADMIN starts processes, but makes no namespaces."""
    clone_newuser, clone_vm = 0x10000000, 0x100

    assert not allows("clone", clone_newuser)
    assert allows("clone", clone_vm)


def test_there_is_no_second_table_of_system_calls() -> None:
    """The 32-bit calls hide their arguments from filters, and few have looked at them."""
    assert seccomp.profile((), machine="x86_64")["architectures"] == ["SCMP_ARCH_X86_64"]
