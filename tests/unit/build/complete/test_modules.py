"""Choosing kernel modules."""

from __future__ import annotations

import pytest

from bulkhead.build.complete.modules import Modules, module_name, static_nodes
from bulkhead.model.errors import UserError

KERNEL = Modules(
    release="6.12",
    depends={
        "kernel/drivers/md/dm-verity.ko.xz": ("kernel/drivers/md/dm-mod.ko.xz", "kernel/drivers/md/dm-bufio.ko.xz"),
        "kernel/drivers/md/dm-mod.ko.xz": (),
        "kernel/drivers/md/dm-bufio.ko.xz": ("kernel/drivers/md/dm-mod.ko.xz",),
        "kernel/net/netfilter/nft_ct.ko.xz": (),
        "kernel/net/netfilter/nft_nat.ko.xz": (),
    },
    aliases=(),
)  # fmt: skip


def test_dependencies_come_first_and_once() -> None:
    """A module is loaded after everything that it needs."""
    assert [module_name(path) for path in KERNEL.load_order(["dm-verity", "dm_bufio"])] == [
        "dm_mod", "dm_bufio", "dm_verity",
    ]  # fmt: skip


def test_a_pattern_means_all_modules_that_match() -> None:
    """Families of modules are named by their directory."""
    assert [module_name(p) for p in KERNEL.find("net/netfilter/nft_*")] == ["nft_ct", "nft_nat"]


def test_an_unknown_module_gets_a_suggestion() -> None:
    """A mistyped module is refused; it would be missing on some machine years later."""
    with pytest.raises(UserError, match=r"kernel 6\.12 has no module 'dm-verty'") as caught:
        KERNEL.find("dm-verty")

    assert caught.value.hint == "did you mean 'dm_verity'?"


def test_nodes_that_load_a_module_are_made_at_boot_without_a_program() -> None:
    """The builder says what kmod would say: directories first, only at boot, for root alone."""
    names = "# Device nodes to trigger on-demand module loading.\nloop loop-control c10:237\ntun net/tun c10:200\n"

    assert static_nodes(names).splitlines() == [
        "c! /dev/loop-control 0600 - - - 10:237",
        "d /dev/net 0755 - - -",
        "c! /dev/net/tun 0600 - - - 10:200",
    ]
