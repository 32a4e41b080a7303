"""What of the container images that a variant brings along decides the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import preload
from bulkhead.model.errors import UserError

DEFINITION = 'name = "test/small"\npackages = ["netbase"]\n'


def archive(path: Path, content: str) -> str:
    """Write a file as an archive's and return the item of a variant."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return str(path)


def definition(folder: Path, more: str = "") -> str:
    """Write an image's definition and return the item of a variant."""
    folder.mkdir(parents=True)
    (folder / "image.toml").write_text(DEFINITION + more)
    return str(folder)


def test_two_archives_of_the_same_name_both_count(tmp_path: Path) -> None:
    """Both are in the image, so either changes it."""
    items = [archive(tmp_path / name / "x.tar", name) for name in ("one", "two")]
    seen = [preload.fingerprints(items)]
    for item in items:
        Path(item).write_text("changed")
        seen.append(preload.fingerprints(items))

    assert len({tuple(found.items()) for found in seen}) == 3


def test_two_definitions_of_the_same_name_both_count(tmp_path: Path) -> None:
    """Directories of the same name are not the same."""
    items = [definition(tmp_path / name / "small") for name in ("one", "two")]
    before = preload.fingerprints(items)
    (Path(items[0]) / "image.toml").write_text(DEFINITION + 'tag = "2"\n')

    assert preload.fingerprints(items) != before


def test_files_from_beside_the_definition_count(tmp_path: Path) -> None:
    """`rootfs` may lead out of the directory, to files that several images share."""
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "f").write_text("one")
    item = definition(tmp_path / "small", 'rootfs = "../common"\n')
    before = preload.fingerprints([item])
    (tmp_path / "common" / "f").write_text("two")

    assert preload.fingerprints([item]) != before


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Its files would be missing from the image without a word."""
    item = definition(tmp_path / "small", 'rootfs = "rootsf"\n')

    with pytest.raises(UserError, match=r"image\.toml: rootfs 'rootsf' is no directory"):
        preload.fingerprints([item])
