"""Which modules go into the initrd, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import initrd
from bulkhead.build.initrd import Module
from bulkhead.model.errors import UserError


def found(*modules: Module) -> dict[str, Module]:
    """Return modules by name."""
    return {module.name: module for module in modules}


def module(name: str, *depends: str, soft: tuple[str, ...] = ()) -> Module:
    """Return a module that needs others."""
    return Module(name=name, data=b"", depends=depends, soft_depends=soft)


def test_a_module_comes_after_what_it_needs() -> None:
    """Hard and soft dependencies first, each once."""
    modules = found(
        module("dm_verity", "dm_mod", "dm_bufio", soft=("sha256_ssse3",)),
        module("dm_bufio", "dm_mod"),
        module("dm_mod"),
        module("sha256_ssse3"),
        module("erofs"),
    )

    assert initrd.load_order(["dm_verity", "erofs"], modules) == (
        "dm_mod", "dm_bufio", "sha256_ssse3", "dm_verity", "erofs",
    )  # fmt: skip


def test_what_is_built_into_the_kernel_is_skipped() -> None:
    """A name without a module needs no loading, and neither does a soft dependency."""
    assert initrd.load_order(["nvme", "x"], found(module("x", soft=("gone",)))) == ("x",)


def test_a_missing_dependency_is_named() -> None:
    """An initrd that cannot load its modules is never written."""
    with pytest.raises(UserError, match="module 'dm_verity' needs 'dm_mod'") as caught:
        initrd.load_order(["dm_verity"], found(module("dm_verity", "dm_mod"), module("dm_mods")))

    assert caught.value.hint == "did you mean 'dm_mods'?"


def test_modules_that_need_each_other_end() -> None:
    """A circle, which no kernel has, must not hang the builder."""
    modules = found(module("a", "b"), module("b", "a"))

    assert initrd.load_order(["a"], modules) == ("b", "a")


def test_something_else_than_a_module_is_refused() -> None:
    """A file that is no ELF file is named."""
    with pytest.raises(UserError, match=r"x\.ko: not a kernel module"):
        initrd.read_module(b"hello", where="x.ko")


def test_more_patterns_than_init_has_room_for_are_refused() -> None:
    """The init program would drop the rest without a word."""
    many = Module(name="many", data=b"", aliases=tuple(f"pci:{n}*" for n in range(1025)))

    with pytest.raises(UserError, match="no room for 0 modules and 1025 device patterns"):
        initrd._members(Path(__file__), found(many), (), ("many",))  # no tools needed
