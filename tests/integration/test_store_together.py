"""Many writers at once: nothing is lost, nothing is mixed, and a reader sees committed states only."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest

from bulkhead.host.store.errors import NothingPending
from bulkhead.model.settings.keys import Settings
from tests.support.store import WHO, store

pytestmark = pytest.mark.slow

WRITERS = 20
EACH = 50
# Not the package's `fork` of threads, but plain processes; they share nothing but files.
FORK = multiprocessing.get_context("fork")


def values(writer: int, turn: int) -> Settings:
    """Return settings that belong together, among them one key of the writer's own."""
    name = f"w{writer}-t{turn}"
    return {
        "motd": name,
        "network": {"hostname": name},
        "kernel": {"sysctl": {f"vm.w{writer}": str(turn)}},
    }


def write(home: Path, writer: int, start: Barrier, numbers: SimpleQueue[list[int]]) -> None:
    """Make commits, each in two steps; report their numbers."""
    node = store(home)
    start.wait()
    found = []
    for turn in range(EACH):
        both = values(writer, turn)
        node.stage(f"w{writer}", {"motd": both.pop("motd")})
        node.stage(f"w{writer}", both)
        found.append(node.commit(f"w{writer}", who=f"w{writer}").number)
    numbers.put(found)


def read(home: Path, stop: Event, report: SimpleQueue[tuple[int, list[str]]]) -> None:
    """Read until told to stop; report how many states were seen, and what was wrong with them."""
    node, last, seen = store(home), 0, set()
    wrong: list[str] = []
    turns: dict[str, int] = {}
    while not stop.is_set():
        state = node.state()
        number = state.stored.commit.number
        seen.add(number)
        if state.conditions:
            wrong.append(f"{number}: {state.conditions}")
        if number < last:
            wrong.append(f"{number} after {last}")
        last = number
        if not number:
            continue
        table = state.live["network"]
        kernel = state.live["kernel"]
        assert isinstance(table, dict)
        assert isinstance(kernel, dict)
        if table["hostname"] != state.live["motd"]:
            wrong.append(f"{number}: {state.live}")
        for name, turn in kernel["sysctl"].items():
            if int(turn) < turns.get(name, 0):
                wrong.append(f"{number}: {name} went back to {turn}")
            turns[name] = int(turn)
    report.put((len(seen), wrong))


@contextmanager
def processes(*started: ForkProcess) -> Iterator[None]:
    """Run processes, and leave none behind."""
    for process in started:
        process.start()
    try:
        yield
        for process in started:
            process.join(60)
            assert process.exitcode == 0
    finally:
        for process in started:
            process.kill()
            process.join()


def test_a_thousand_commits_of_twenty_processes(tmp_path: Path) -> None:
    """Each gets a number of its own, and the end has the last value of every writer."""
    numbers: SimpleQueue[list[int]] = FORK.SimpleQueue()
    report: SimpleQueue[tuple[int, list[str]]] = FORK.SimpleQueue()
    start, stop = FORK.Barrier(WRITERS), FORK.Event()
    writers = [
        FORK.Process(target=write, args=(tmp_path, index, start, numbers))
        for index in range(WRITERS)
    ]
    reader = FORK.Process(target=read, args=(tmp_path, stop, report))

    with processes(reader):
        with processes(*writers):
            committed = [numbers.get() for _ in writers]
        stop.set()
        seen, wrong = report.get()

    assert sorted(number for found in committed for number in found) == [
        *range(1, WRITERS * EACH + 1)
    ]
    assert all(found == sorted(found) for found in committed)
    assert wrong == []
    assert seen > 20, "the reader looked on while they wrote"
    node = store(tmp_path)
    last = node.history(1)[0]
    assert node.own() == {
        **values(int(last.who[1:]), EACH - 1),
        "kernel": {"sysctl": {f"vm.w{index}": str(EACH - 1) for index in range(WRITERS)}},
    }
    assert node.transactions() == []
    assert len(node.history()) == 200


def test_a_transaction_that_two_commit_is_committed_once(tmp_path: Path) -> None:
    """One gets the commit, the other is told that nothing is pending."""
    results: SimpleQueue[str] = FORK.SimpleQueue()
    start = FORK.Barrier(8)

    def commit() -> None:
        node = store(tmp_path)
        start.wait()
        try:
            results.put(str(node.commit("shared", who=WHO).number))
        except NothingPending as error:
            results.put(type(error).__name__)

    for turn in range(1, 6):
        store(tmp_path).stage("shared", {"motd": f"turn {turn}"})
        with processes(*(FORK.Process(target=commit) for _ in range(8))):
            found = sorted(results.get() for _ in range(8))
        assert found == [str(turn)] + ["NothingPending"] * 7


def test_stages_of_two_processes_do_not_lose_each_others_values(tmp_path: Path) -> None:
    """Both add to one transaction; it has everything in the end."""
    start = FORK.Barrier(6)

    def stage(index: int) -> None:
        node = store(tmp_path)
        start.wait()
        for turn in range(20):
            node.stage("shared", {"kernel": {"sysctl": {f"vm.p{index}-{turn}": "1"}}})

    with processes(*(FORK.Process(target=stage, args=(index,)) for index in range(6))):
        pass

    names = {f"vm.p{index}-{turn}": "1" for index in range(6) for turn in range(20)}
    assert store(tmp_path).pending("shared") == {"kernel": {"sysctl": names}}
