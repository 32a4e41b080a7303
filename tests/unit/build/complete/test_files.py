"""Single files of a root."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build.complete import files
from bulkhead.build.tree import Kind, Tree, file, symlink
from bulkhead.model.errors import UserError


def test_an_overlay_has_modes_of_its_own(tmp_path: Path) -> None:
    """Modes come from the executable bit alone, so that no umask gets into an image."""
    (tmp_path / "etc").mkdir(mode=0o700)
    (tmp_path / "etc/secret").write_text("x")
    (tmp_path / "etc/secret").chmod(0o600)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tool").write_text("x")
    (tmp_path / "bin/tool").chmod(0o700)
    (tmp_path / "etc/link").symlink_to("secret")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/.gitkeep").write_text("")
    tree = Tree()

    files.overlay(tree, tmp_path)

    assert tree["etc"].mode == 0o755
    assert tree["etc/secret"].mode == 0o644
    assert tree["usr/bin/tool"].mode == 0o755
    assert tree["etc/link"].target == "secret"
    assert tree["empty"].kind is Kind.DIRECTORY
    assert "empty/.gitkeep" not in tree


def test_an_overlay_replaces_a_packages_file(tmp_path: Path) -> None:
    """What the variant lays over the root counts."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/conf").write_text("ours")
    tree = Tree()
    tree.put("etc/conf", file("theirs"))

    files.overlay(tree, tmp_path)

    assert tree["etc/conf"].read() == b"ours"


def test_an_overlay_cannot_put_a_file_in_a_directorys_place(tmp_path: Path) -> None:
    """A file named like a directory with content would lose that content."""
    (tmp_path / "etc").write_text("oops")
    tree = Tree()
    tree.put("etc/conf", file("theirs"))

    with pytest.raises(UserError, match="a directory with content cannot become a file"):
        files.overlay(tree, tmp_path)


def test_a_skeleton_is_merged_usr() -> None:
    """/bin and the like are links, and mount points exist in the read-only root."""
    tree = Tree()

    files.write_skeleton(tree)

    assert {path: tree[path].target for path in files.MERGED_LINKS} == files.MERGED_LINKS
    assert tree["tmp"].mode == 0o1777
    assert tree["root"].mode == 0o700


def test_sbin_is_merged_into_bin() -> None:
    """Programs of both are in usr/bin, where links among them still lead to them."""
    tree = Tree()
    tree.put("usr/bin/kmod", file("kmod"))
    tree.put("usr/sbin/modprobe", symlink("../bin/kmod"))
    tree.put("usr/sbin/mke2fs", file("mke2fs"))
    tree.put("usr/sbin/kmod", symlink("../bin/kmod"))
    files.write_skeleton(tree)

    files.merge_sbin(tree)

    assert tree["usr/sbin"].target == "bin"
    assert {tree.resolve(f"sbin/{name}") for name in ("kmod", "modprobe")} == {"usr/bin/kmod"}
    assert tree["usr/bin/kmod"].read() == b"kmod"
    assert tree.resolve("usr/sbin/mke2fs") == "usr/bin/mke2fs"


def test_certificates_are_joined_in_order() -> None:
    """The bundle is the same whatever order the certificates were found in."""
    one, two = Tree(), Tree()
    first, second = file("one\n\n"), file("two")

    files.write_ca_bundle(one, {"a": first, "b": second})
    files.write_ca_bundle(two, {"b": second, "a": first})

    assert one["etc/ssl/certs/ca-certificates.crt"].read() == b"one\ntwo\n"
    assert two["etc/ssl/certs/ca-certificates.crt"].read() == b"one\ntwo\n"


def test_an_empty_directory_of_a_checkout_is_not_laid_over(tmp_path: Path) -> None:
    """Version control does not know it: another checkout would give another image."""
    (tmp_path / "usr/lib/left-over.d").mkdir(parents=True)
    (tmp_path / "usr/lib/kept.d").mkdir()
    (tmp_path / "usr/lib/kept.d/.gitkeep").touch()
    tree = Tree()

    files.overlay(tree, tmp_path)

    assert list(tree) == ["usr", "usr/lib", "usr/lib/kept.d"]
