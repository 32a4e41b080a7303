"""The store does what a dictionary and a list would do, whatever comes in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bulkhead.host.store.errors import NoSuchCommit, NothingPending
from bulkhead.model.settings.keys import Key, Settings, flatten, merge, remove, unflatten
from tests.support import crash
from tests.support.store import DEFAULTS, WHO, put, store

pytestmark = pytest.mark.slow

NAME = st.sampled_from(["default", "other"])
WORD = st.sampled_from(["a", "b", "c"])
LEAVES: dict[Key, st.SearchStrategy[object]] = {
    ("motd",): WORD,
    ("network", "hostname"): WORD,
    ("network", "https-proxy"): WORD.map(lambda word: f"http://{word}.example"),
    ("ntp", "time-servers"): st.lists(WORD.map(lambda word: f"{word}.example"), max_size=2),
    ("kernel", "sysctl", "vm.x"): WORD,
    ("kernel", "sysctl", "vm.y"): WORD,
}
TREE = st.fixed_dictionaries({}, optional=LEAVES).map(unflatten)
KEY = st.sampled_from([*LEAVES, ("network",), ("kernel",), ("kernel", "sysctl"), ("dns",)])


class Pending:
    """A transaction as it is thought of."""

    def __init__(self) -> None:
        self.settings: Settings = {}
        self.unset: set[Key] = set()

    def over(self, own: Settings) -> Settings:
        """Return what it makes of the node's values."""
        for key in sorted(self.unset):
            own = remove(own, key)
        return merge(own, self.settings)

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to commit."""
        return not flatten(self.settings) and not self.unset


class Machine(RuleBasedStateMachine):
    """A node, and beside it what it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.node = store(self.home)
        self.states: list[Settings] = [{}]
        self.pending: dict[str, Pending] = {}

    def teardown(self) -> None:
        """Remove the node."""
        shutil.rmtree(self.home)

    @property
    def own(self) -> Settings:
        """Return the values that the node should have."""
        return self.states[-1]

    def _add(self, own: Settings) -> None:
        if flatten(own) != flatten(self.own):
            self.states.append(own)

    @rule(name=NAME, tree=TREE)
    def stage(self, name: str, tree: Settings) -> None:
        """Set something in a transaction."""
        self.node.stage(name, tree)
        pending = self.pending.setdefault(name, Pending())
        pending.settings = merge(pending.settings, tree)

    @rule(name=NAME, key=KEY)
    def stage_unset(self, name: str, key: Key) -> None:
        """Unset something in a transaction."""
        self.node.stage_unset(name, [key])
        pending = self.pending.setdefault(name, Pending())
        pending.settings = remove(pending.settings, key)
        pending.unset.add(key)

    @rule(name=NAME)
    def commit(self, name: str) -> None:
        """Commit a transaction, or be told that it is empty."""
        pending = self.pending.get(name, Pending())
        if pending.empty:
            with pytest.raises(NothingPending):
                self.node.commit(name, who=WHO)
            return
        self._add(pending.over(self.own))
        del self.pending[name]
        assert self.node.commit(name, who=WHO).number == len(self.states) - 1

    @rule(name=NAME)
    def delete(self, name: str) -> None:
        """Forget a transaction."""
        pending = self.pending.pop(name, Pending())
        keys = sorted({*flatten(pending.settings), *pending.unset})
        assert self.node.delete(name) == keys

    @rule(back=st.integers(0, 4))
    def rollback(self, back: int) -> None:
        """Restore an earlier commit."""
        number = len(self.states) - 1 - back
        if number < 0:
            with pytest.raises(NoSuchCommit):
                self.node.rollback(number, who=WHO)
            return
        self._add(self.states[number])
        assert self.node.rollback(number, who=WHO).number == len(self.states) - 1

    @rule()
    def restart(self) -> None:
        """Start the service again."""
        self.node = store(self.home)

    @rule()
    def reboot(self) -> None:
        """Start the machine again: what is pending is gone, as in Bottlerocket."""
        shutil.rmtree(self.home / "run")
        self.pending.clear()
        self.restart()

    @rule(step=st.integers(0, 20), tree=TREE.filter(flatten))
    def crash(self, step: int, tree: Settings) -> None:
        """Kill a writer somewhere in its work."""
        before = len(self.states)
        ended = crash.run(lambda: put(self.node, tree, tx="victim"), self.home, kill_before=step)
        if not ended.killed or self.node.state().stored.commit.number == before:
            self._add(merge(self.own, tree))
        self.restart()
        # Whether it got as far as staging is not what this is about.
        self.node.delete("victim")

    @invariant()
    def is_as_thought(self) -> None:
        """Look at everything that can be read."""
        state = self.node.state()
        assert state.conditions == ()
        assert flatten(state.own) == flatten(self.own)
        assert flatten(state.live) == flatten(merge(DEFAULTS, self.own))
        assert state.stored.commit.number == len(self.states) - 1
        numbers = [commit.number for commit in self.node.history()]
        assert numbers == [*range(len(self.states) - 1, 0, -1)]
        assert self.node.transactions() == sorted(self.pending)
        for name, pending in self.pending.items():
            assert flatten(self.node.pending(name)) == flatten(pending.settings)
            assert self.node.pending_unset(name) == tuple(sorted(pending.unset))
            assert flatten(self.node.preview(name).own) == flatten(pending.over(self.own))


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=20)
test_the_store_is_as_thought = Machine.TestCase
