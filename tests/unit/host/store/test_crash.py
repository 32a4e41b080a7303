"""Whenever the writer dies or the power goes: the state before the commit or the one after it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bulkhead.host.store import store as module
from bulkhead.host.store.store import Store
from tests.support import crash
from tests.support.store import WHO, put, store

pytestmark = pytest.mark.slow

Seen = tuple[int, str]
"""The number and what is live, as JSON would have it."""


def nothing(node: Store) -> None:
    """Leave the store as it is when it is new."""


def two_commits(node: Store) -> None:
    """Make two states, as many as are kept."""
    put(node, {"motd": "one"})
    put(node, {"motd": "two", "network": {"hostname": "two"}})


def a_dead_writer(node: Store) -> None:
    """Leave what a writer leaves that was killed before its rename."""
    put(node, {"motd": "one"})
    ended = crash.run(lambda: put(node, {"motd": "dead"}, tx="dead"), Path("/"), kill_before=9)
    assert ended.killed


def stage(node: Store) -> None:
    """Say what the commit under test makes live."""
    node.stage("tested", {"motd": "new", "network": {"hostname": "new"}})


def commit(node: Store) -> None:
    """Commit it."""
    node.commit("tested", who=WHO)


def unset(node: Store) -> None:
    """Commit without a value that was there."""
    node.stage_unset("unset", [("motd",)])
    node.commit("unset", who=WHO)


def rollback(node: Store) -> None:
    """Go back to the first commit."""
    node.rollback(1, who=WHO)


Work = Callable[[Store], None]

CASES: dict[str, tuple[Work, Work]] = {
    "first commit": (nothing, commit),
    "later commit, with pruning": (two_commits, commit),
    "after a dead writer": (a_dead_writer, commit),
    "unset": (two_commits, unset),
    "rollback": (two_commits, rollback),
    "stage alone": (two_commits, stage),
}


def seen(node: Store) -> Seen:
    """Return what a reader sees; a damaged store is not allowed."""
    state = node.state()
    assert state.conditions == ()
    return state.stored.commit.number, repr(sorted(state.live.items()))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep two commits, so that the third removes one."""
    monkeypatch.setattr(module, "KEEP", 2)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Work]:
    """Return a store in its first state, and the work that may be interrupted."""
    before, work = CASES[request.param]
    home = tmp_path / "before"
    node = store(home)
    before(node)
    if work is commit:
        stage(node)
    (home / "settings").mkdir(mode=0o700, exist_ok=True)  # systemd makes it
    return home, work


def copy(home: Path, target: Path) -> Store:
    """Return the store in a copy of a node's directories."""
    shutil.copytree(home, target)
    return store(target)


def test_a_writer_killed_at_any_step_leaves_old_or_new(
    case: tuple[Path, Work], tmp_path: Path
) -> None:
    """Killed before each system call that changes a file; afterwards the store works on."""
    home, work = case
    old = seen(copy(home, tmp_path / "old"))
    whole = copy(home, tmp_path / "new")
    steps = crash.run(lambda: work(whole), tmp_path / "new").tried
    new = seen(whole)
    assert work is stage or old != new
    found = []

    for step in range(steps):
        place = tmp_path / f"step-{step}"
        victim = copy(home, place)
        ended = crash.run(partial(work, victim), place, kill_before=step)
        assert ended.killed
        found.append(seen(store(place)))
        # Somebody else can go on at once: no lock is left behind, no half file in the way.
        again = put(store(place), {"motd": "after"}, tx="after")
        assert again == found[-1][0] + 1
        assert not list((place / "settings").rglob(".*"))
        shutil.rmtree(place)

    assert set(found) <= {old, new}
    # Once it is new it stays new.
    assert found == sorted(found, key=lambda state: state == new)
    if work is not stage:
        assert {old, new} == set(found)


def test_a_power_cut_at_any_step_leaves_old_or_new(case: tuple[Path, Work], tmp_path: Path) -> None:
    """The disk holds what was synced, and any part of the rest; after the return it is the new."""
    home, work = case
    old = seen(copy(home, tmp_path / "old"))
    whole = copy(home, tmp_path / "new")
    # The transactions are on a tmpfs and gone after a power cut, so they are not looked at.
    calls = crash.run(lambda: work(whole), tmp_path / "new" / "settings").calls
    new = seen(whole)
    tried = set()

    for step in range(len(calls) + 1):
        for disk in crash.disks(
            tmp_path / "old" / "settings",
            crash.moved(calls[:step], tmp_path / "new", tmp_path / "old"),
        ):
            found, boots = after_power_cut(disk, tmp_path / "disk")
            tried.add(found)
            assert found in {old, new}, (step, disk)
            assert found == new or step < len(calls), "the commit returned and was lost"
            # The boot's condition: with commits there is `current`.
            assert boots or found[0] == 0, (step, disk)

    assert tried == {old, new}


def after_power_cut(disk: dict[str, bytes], place: Path) -> tuple[Seen, bool]:
    """Start a node with a disk; return what is live, and whether the boot looks at it."""
    for name, data in disk.items():
        path = place / "settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    node = store(place)
    result = seen(node)
    boots = (place / "settings" / "current").exists()
    (place / "settings").mkdir(exist_ok=True)
    assert put(node, {"motd": "after"}, tx="after") == result[0] + 1
    shutil.rmtree(place)
    return result, boots


def test_what_is_synced_comes_before_what_needs_it(tmp_path: Path) -> None:
    """The order that makes it safe: data, its name, the name's directory, then what tells of it."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    node.stage("default", {"motd": "two"})
    calls = crash.run(lambda: node.commit("default", who=WHO), tmp_path).calls
    home = str(tmp_path) + os.sep
    found = [
        f"{call.name} {call.path.removeprefix(home)} {call.target.removeprefix(home)}".strip()
        for call in calls
    ]

    def plain(line: str) -> str:
        words = (word for word in line.split())
        return " ".join(f"{word.rpartition('.')[0]}~" if "/." in word else word for word in words)

    assert [plain(line) for line in found] == [
        "open settings/commits/.2.json~",
        "write settings/commits/.2.json~",
        "fsync settings/commits/.2.json~",
        "rename settings/commits/.2.json~ settings/commits/2.json",
        "fsync settings/commits",
        "open settings/.current~",
        "write settings/.current~",
        "rename settings/.current~ settings/current",
        "unlink run/pending/default.json",
    ]


def test_the_tracer_sees_a_commit_that_is_not_safe(tmp_path: Path) -> None:
    """A writer that does not sync is found out: this test of tests fails with it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "file").write_bytes(b"old")

    def careless() -> None:
        (home / "new").write_bytes(b"content")
        (home / "new").rename(home / "file")

    with pytest.raises(AssertionError, match="no truncation"):
        list(crash.disks(home, crash.run(lambda: (home / "file").write_bytes(b""), home).calls))
    before = tmp_path / "copy"
    shutil.copytree(home, before)
    (before / "file").write_bytes(b"old")
    (home / "file").write_bytes(b"old")
    calls = crash.run(careless, home).calls
    found = {disk.get("file") for disk in crash.disks(before, crash.moved(calls, home, before))}

    assert found == {b"old", b"", b"con", b"content"}
