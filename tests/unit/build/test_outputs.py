"""The folder that a build leaves its files in: who writes to it, what is cleaned up and read there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bulkhead.build import folderlock, outputs
from bulkhead.model.errors import UserError

CODE = "0123456789abcdef"


def test_who_comes_second_says_so_and_waits(tmp_path: Path) -> None:
    """Two builds never write to a folder at the same time."""
    events: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with folderlock.alone(tmp_path, waits=waiting.set):
            events.append("second")

    thread = threading.Thread(target=second)
    with folderlock.alone(tmp_path, waits=lambda: events.append("the first waits")):
        thread.start()
        waiting.wait(10)
        events.append("first")
    thread.join()

    assert events == ["first", "second"]


def test_only_what_builds_left_behind_is_removed(tmp_path: Path) -> None:
    """A folder may be somebody's home: other images' files and everybody's own ones stay."""
    gone = [
        f".bulkhead-x-1.0.raw.{CODE}/x.raw", f".bulkhead-x-0.9.raw.zst.{CODE}/disk",
        f".bulkhead-x-1.0.root.erofs.{CODE}/x", f".bulkhead-x-1.0.spdx.json.{CODE}",
        f".manifest.json.{CODE}",
    ]  # fmt: skip
    kept = [
        ".bulkhead-x/settings", f".bulkhead-y-1.0.raw.{CODE}/y", ".bulkhead.lock",
        ".bulkhead-x-1.0.raw.mine", ".manifest.json.bak", "bulkhead-x-1.0.raw", ".profile",
    ]  # fmt: skip
    for name in (*gone, *kept):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")

    outputs.remove_leftovers(tmp_path, name="bulkhead-x")

    left = (path for path in tmp_path.rglob("*") if path.is_file())
    assert sorted(str(path.relative_to(tmp_path)) for path in left) == sorted(kept)


def test_something_huge_is_not_read_to_its_end(tmp_path: Path) -> None:
    """An image given in place of its manifest is no reason to run out of memory."""
    path = tmp_path / "manifest.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(UserError, match=r"manifest\.json: is no manifest: it is larger than"):
        outputs.read_manifest(path)


def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """With the reason of the system."""
    with pytest.raises(UserError, match=r"manifest\.json: cannot be read: No such file"):
        outputs.read_manifest(tmp_path / "manifest.json")
