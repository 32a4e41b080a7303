"""The memory of build steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import steps
from bulkhead.build.complete import files
from bulkhead.build.tree import Tree


def test_the_same_inputs_run_a_step_once(tmp_path: Path) -> None:
    """A second call with equal inputs returns the stored output."""
    runs: list[Path] = []

    def make(folder: Path) -> None:
        runs.append(folder)
        (folder / "out").write_text("made")

    first = steps.cached(tmp_path, "step", "inputs", make)
    second = steps.cached(tmp_path, "step", "inputs", make)

    assert first == second
    assert (second / "out").read_text() == "made"
    assert len(runs) == 1


def test_other_inputs_run_it_again(tmp_path: Path) -> None:
    """Another input is another output; the first one stays."""
    outputs = {
        steps.cached(tmp_path, "step", inputs, lambda folder: None) for inputs in ("one", "two")
    }

    assert len(outputs) == 2


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """After an interrupt the next run starts the step from the beginning."""

    def make(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steps.cached(tmp_path, "step", "inputs", make)

    assert list((tmp_path / "steps" / "step").iterdir()) == []


def test_bytecode_that_python_left_is_no_content(tmp_path: Path) -> None:
    """What is not hashed does not get into an image either."""
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("a")
    (tmp_path / "not__pycache__").write_text("b")
    tree = Tree()
    files.overlay(tree, tmp_path)

    assert list(steps.file_fingerprints(tmp_path)) == ["not__pycache__"]
    assert [path for path, _ in tree.items()] == ["not__pycache__"]


def test_a_directorys_hash_sees_names_bytes_links_and_the_executable_bit(tmp_path: Path) -> None:
    """Whatever of a directory gets into an image changes its hash; times and other modes do not."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("a")
    seen = [steps.folder_fingerprint(tree)]
    (tree / "a").write_text("b")
    seen.append(steps.folder_fingerprint(tree))
    (tree / "a").chmod(0o755)
    seen.append(steps.folder_fingerprint(tree))
    (tree / "l").symlink_to("a")
    seen.append(steps.folder_fingerprint(tree))
    (tree / "a").rename(tree / "c")
    seen.append(steps.folder_fingerprint(tree))
    (tree / "c").chmod(0o700)

    assert len(set(seen)) == len(seen)
    assert steps.folder_fingerprint(tree) == seen[-1]
