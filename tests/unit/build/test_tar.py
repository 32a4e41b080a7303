"""Trees as tar streams."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from bulkhead.build import tar
from bulkhead.build.tree import Entry, Kind, Tree, directory, file, file_from, symlink
from bulkhead.model.errors import HostError


def stream(tree: Tree, epoch: int = 1_700_000_000) -> bytes:
    """Return `tree` as a tar stream."""
    out = io.BytesIO()
    tar.write(tree, out, epoch=epoch)
    return out.getvalue()


def members(tree: Tree) -> list[tarfile.TarInfo]:
    """Return what a tar program would see."""
    with tarfile.open(fileobj=io.BytesIO(stream(tree))) as archive:
        return archive.getmembers()


def test_order_of_insertion_does_not_matter() -> None:
    """The same tree gives the same bytes."""
    one, other = Tree(), Tree()
    for tree, names in ((one, "abc"), (other, "cba")):
        for name in names:
            tree.put(f"etc/{name}", file(f"text {name}"))

    assert stream(one) == stream(other)


def test_owners_modes_and_times_are_kept_and_names_of_users_are_not() -> None:
    """What the image says comes from the tree alone."""
    tree = Tree()
    tree.put("var", directory(mode=0o750))
    tree.put("var/x", Entry(kind=Kind.FILE, mode=0o640, uid=70000, gid=123, data=b"x"))
    tree.put("var/y", symlink("x"))

    found = [
        (m.name, m.mode, m.uid, m.gid, m.uname, m.gname, m.mtime, m.linkname) for m in members(tree)
    ]

    at = 1_700_000_000
    assert found == [
        (".", 0o755, 0, 0, "", "", at, ""),
        ("var", 0o750, 0, 0, "", "", at, ""),
        ("var/x", 0o640, 70000, 123, "", "", at, ""),
        ("var/y", 0o777, 0, 0, "", "", at, "x"),
    ]


def test_identical_files_become_hard_links(tmp_path: Path) -> None:
    """Same bytes, mode and owner are one inode, wherever the bytes came from."""
    (tmp_path / "source").write_bytes(b"same")
    tree = Tree()
    tree.put("a", file(b"same"))
    tree.put("b", file_from(tmp_path / "source"))
    tree.put("c", file(b"same", mode=0o755))
    tree.put("d", file(b"else"))

    found = {m.name: (m.islnk(), m.linkname) for m in members(tree) if m.name != "."}

    assert found == {"a": (False, ""), "b": (True, "a"), "c": (False, ""), "d": (False, "")}


def test_long_and_odd_names_survive() -> None:
    """Paths longer than a tar header holds, and names that are not ASCII, come out as they were."""
    names = [f"usr/{'x' * 90}/{'y' * 200}", "usr/ä€", "usr/with blank\nand line"]
    tree = Tree()
    for name in names:
        tree.put(name, file(name))
    tree.put("usr/link", symlink("z" * 300))

    found = members(tree)

    assert {m.name for m in found} >= set(names)
    assert next(m.linkname for m in found if m.name == "usr/link") == "z" * 300


def test_names_are_the_same_bytes_in_every_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are UTF-8 where the machine's are Latin-1, and what is not UTF-8 stays what it was."""
    tree = Tree()
    for name in ("\xfc", os.fsdecode(b"\xff")):
        tree.put(name, file("x"))
    here = stream(tree)
    monkeypatch.setattr(tarfile.TarFile, "encoding", "iso8859-1")

    assert stream(tree) == here
    assert b"\xc3\xbc\0" in here
    assert b"\0\xff\0" in here


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Somebody who cleans the cache during a build learns which file was missing."""
    tree = Tree()
    tree.put("usr/bin/tool", file_from(tmp_path / "gone"))

    with pytest.raises(HostError) as caught:
        stream(tree)

    assert "cannot read 'usr/bin/tool' of the tree" in str(caught.value)
    assert str(tmp_path / "gone") in str(caught.value)
