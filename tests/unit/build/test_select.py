"""Which files of packages get into a tree."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bulkhead.build import elf
from bulkhead.build.debian.deb import Package
from bulkhead.build.select import Selection, merged
from bulkhead.build.tree import Entry, Kind, Tree, file, file_from, symlink
from bulkhead.model.arch import AMD64
from bulkhead.model.errors import UserError
from bulkhead.model.variant import Rule


def package(
    name: str, entries: Mapping[str, Entry], *, scripts: Mapping[str, str] | None = None
) -> Package:
    """Return an unpacked package."""
    tree = Tree()
    for path, entry in entries.items():
        tree.put(path, entry)
    return Package(name=name, version="1", control={}, scripts=dict(scripts or {}), tree=tree)


def select(
    packages: list[Package], requested: set[str], rules: Mapping[str, Rule] | None = None
) -> list[str]:
    """Return the paths of files and links that a selection takes."""
    selection = Selection(AMD64, rules or {})
    selection.add({p.name: p for p in packages}, requested)
    selection.close(())
    return [p for p, e in selection.tree.items() if e.kind is not Kind.DIRECTORY]


def test_what_is_requested_comes_whole_but_without_documentation() -> None:
    """A requested package without a rule gives all files that a machine has a use for."""
    wanted = package(
        "a", {"usr/bin/a": file("a", origin="a"), "usr/share/doc/a/x": file("x", origin="a")}
    )

    assert select([wanted], {"a"}) == ["usr/bin/a"]


def test_what_came_along_gives_nothing_by_itself() -> None:
    """A dependency's programs are not in the image unless something asks for them."""
    along = package("along", {"usr/bin/tool": file("x", origin="along")})

    assert select([along], set()) == []


def test_a_rule_keeps_and_drops() -> None:
    """`keep` chooses, `drop` takes away; `*` stops at a slash and `{a,b}` is either."""
    content = {
        f"usr/lib/x/{name}": file("", origin="p") for name in ("one", "two", "three", "in/four")
    }
    rule = Rule(keep=("usr/lib/x/{one,t*}",), drop=("**/three",))

    assert select([package("p", content)], {"p"}, {"p": rule}) == ["usr/lib/x/one", "usr/lib/x/two"]


def test_a_rule_that_keeps_nothing_is_a_mistake() -> None:
    """When a package moves its files, the rule must not silently lose them."""
    with pytest.raises(UserError, match="rule of package 'p' keeps none of its files"):
        select([package("p", {"usr/bin/p": file("")})], {"p"}, {"p": Rule(keep=("usr/bin/q",))})


def test_scripts_that_nobody_accounted_for_are_an_error() -> None:
    """A package whose scripts matter is named at build time, not discovered at boot."""
    scripted = package("p", {"usr/bin/p": file("", origin="p")}, scripts={"postinst": "#!/bin/sh"})

    with pytest.raises(UserError, match=r"no rule accounts for:\n    p: postinst"):
        select([scripted], {"p"})


def test_a_rule_accounts_for_scripts() -> None:
    """With a reason for each script the package is taken."""
    scripted = package("p", {"usr/bin/p": file("", origin="p")}, scripts={"postinst": "#!/bin/sh"})

    assert select([scripted], {"p"}, {"p": Rule(scripts={"postinst": "why"})}) == ["usr/bin/p"]


def test_scripts_of_packages_that_gave_nothing_do_not_matter() -> None:
    """A package without a file in the image needs no rule."""
    scripted = package("p", {"usr/bin/p": file("", origin="p")}, scripts={"postinst": "#!/bin/sh"})

    assert select([scripted], set()) == []


def test_setuid_bits_are_lost() -> None:
    """No file of an image gives its caller somebody else's rights."""
    selection = Selection(AMD64, {})
    su = Entry(kind=Kind.FILE, mode=0o4755, data=b"", origin="p")
    selection.add({"p": package("p", {"bin/su": su})}, {"p"})

    assert selection.tree["usr/bin/su"].mode == 0o755


@pytest.mark.parametrize(
    ("path", "where"),
    [("bin/a", "usr/bin/a"), ("lib/a/b", "usr/lib/a/b"), ("lib64/l", "usr/lib64/l"),
     ("sbin/s", "usr/sbin/s"), ("bin", "bin"), ("binary/a", "binary/a"), ("usr/bin/a", "usr/bin/a")],
)  # fmt: skip
def test_paths_of_old_packages_move_below_usr(path: str, where: str) -> None:
    """A package that ships /bin/x gives /usr/bin/x."""
    assert merged(path) == where


def test_libraries_follow_the_programs_that_need_them() -> None:
    """DT_NEEDED and the interpreter bring their files, through links, from packages that came along."""
    program = Path(shutil.which("true") or sys.executable).resolve()
    described = elf.read(program)
    assert described is not None
    interpreter = merged((described.interpreter or "").lstrip("/"))
    triplet = f"usr/lib/{AMD64.triplet}"
    libraries: dict[str, Entry] = {interpreter: file_from(program, mode=0o755, origin="libs")}
    for name in described.needed:
        libraries[f"{triplet}/{name}"] = symlink(f"{name}.1", origin="libs")
        libraries[f"{triplet}/{name}.1"] = file("library", origin="libs")
    libraries[f"{triplet}/libunused.so.1"] = file("unused", origin="libs")
    wanted = package("prog", {"usr/bin/prog": file_from(program, mode=0o755, origin="prog")})

    taken = select([wanted, package("libs", libraries)], {"prog"})

    assert f"{triplet}/libunused.so.1" not in taken
    assert {"usr/bin/prog", interpreter, *(p for p in libraries if "unused" not in p)} == set(taken)


def test_a_missing_library_is_named_with_who_needs_it() -> None:
    """A program that could not start is refused when the image is built."""
    program = Path(shutil.which("true") or sys.executable).resolve()
    wanted = package("prog", {"usr/bin/prog": file_from(program, mode=0o755, origin="prog")})

    with pytest.raises(UserError, match=r"usr/bin/prog needs .* which none of the packages has"):
        select([wanted], {"prog"})
