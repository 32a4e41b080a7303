"""Variants of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import disk, new, variants
from bulkhead.lib.dirs import repository_root
from bulkhead.model.errors import UserError


def test_a_new_variant_is_its_parent_and_what_it_adds(tmp_path: Path) -> None:
    """The template is valid, and adds nothing but its own directory of files."""
    made = new.make("mine", tmp_path / "mine", parent="standalone")

    ours, parent = variants.load(str(made)), variants.load("standalone")
    assert ours.name == "mine"
    assert ours.variant.version == "0.1"
    assert ours.variant.packages == parent.variant.packages
    assert ours.variant.kernel == parent.variant.kernel
    assert ours.variant.units == parent.variant.units
    assert ours.variant.rootfs == (*parent.variant.rootfs, str(made.parent / "rootfs"))
    assert sorted(p.name for p in made.parent.rglob("*") if p.is_file()) == [
        ".gitignore", "90-mine.conf", "README.md", "variant.toml",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Mine", "../up", "", "1st", "a" * 21, "a b"])
def test_names_that_cannot_be_are_refused(tmp_path: Path, name: str) -> None:
    """The message says what a name looks like."""
    with pytest.raises(UserError, match=r"cannot be a variant's name\n  hint: use up to 20 small"):
        new.make(name, tmp_path / "x", parent="standalone")


def test_an_image_of_the_longest_name_can_be_made(tmp_path: Path) -> None:
    """Its version may grow as versions do."""
    made = new.make("a" * 20, tmp_path / "x", parent="standalone")

    label = disk.partition_label(f"bulkhead-{variants.load(str(made)).name}", "1.2.34")

    assert len(label) == disk.LABEL_LENGTH


@pytest.mark.parametrize(
    ("name", "parent", "message"),
    [
        ("standalone", "standalone", "'standalone' is one of Bulkhead's own variants"),
        ("mine", "standalon", r"no variant 'standalon' to start from\n  hint: did you mean 'stand"),
    ],
)
def test_taken_names_and_unknown_parents_are_refused(
    tmp_path: Path, name: str, parent: str, message: str
) -> None:
    """Nothing is made then."""
    with pytest.raises(UserError, match=message):
        new.make(name, tmp_path / "x", parent=parent)

    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    """A second run never overwrites somebody's changes."""
    made = new.make("mine", tmp_path / "mine", parent="standalone")
    made.write_text("# changed")

    with pytest.raises(UserError, match="mine: is there already\n  hint: name another with -o DIR"):
        new.make("mine", tmp_path / "mine", parent="standalone")

    assert made.read_text() == "# changed"


def test_the_default_place_is_outside_of_the_checkout(tmp_path: Path) -> None:
    """Here, or beside the checkout for those who are in it."""
    root = repository_root()

    assert new.default_folder("mine", here=tmp_path) == tmp_path / "mine"
    assert new.default_folder("mine", here=root) == root.parent / "mine"
    assert new.default_folder("mine", here=root / "src") == root.parent / "mine"
