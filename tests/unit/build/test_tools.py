"""Definitions and locks of tool sets."""

from __future__ import annotations

import pytest

from bulkhead.build import tools
from bulkhead.build.debian import lockfile, locking
from bulkhead.build.tree import file
from bulkhead.model.errors import UserError


@pytest.mark.parametrize("name", tools.names())
def test_lock_is_up_to_date(name: str) -> None:
    """Each lock was made from the definition beside it."""
    lock = lockfile.read_lock(tools.lock_path(name))

    assert locking.is_current(lock, tools.request(tools.read_definition(name), lock.architecture))


@pytest.mark.parametrize("name", tools.names())
def test_every_package_says_what_for(name: str) -> None:
    """Requested and excluded packages carry a reason."""
    definition = tools.read_definition(name)

    assert all({**definition.packages, **definition.exclude}.values())


def test_suggests_the_nearest_tool_set() -> None:
    """A misspelt name is answered with the right one."""
    with pytest.raises(UserError) as failure:
        tools.read_definition("imag")

    assert str(failure.value) == "there is no tool set 'imag'\n  hint: did you mean 'image'?"


def test_images_need_no_virtual_machine() -> None:
    """Building fetches neither QEMU nor a compiler."""
    packages = {p.name for p in lockfile.read_lock(tools.lock_path("image")).packages}

    assert not {name for name in packages if name.startswith(("qemu", "gcc-14-x86", "ovmf"))}


@pytest.mark.parametrize(
    ("path", "merged"),
    [("bin/sh", "usr/bin/sh"), ("usr/bin/sh", "usr/bin/sh"), ("etc/passwd", "etc/passwd"),
     ("lib64/ld.so", "usr/lib64/ld.so"), ("library", "library")],
)  # fmt: skip
def test_merges_usr(path: str, merged: str) -> None:
    """Files of /bin and the like end up in /usr."""
    tree = tools.merge([{path: file("")}])

    assert [p for p in tree if p == merged] == [merged]
