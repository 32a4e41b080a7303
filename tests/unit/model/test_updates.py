"""The state machine of updates, as a table."""

from __future__ import annotations

import re

import msgspec
import pytest

from bulkhead.model.updates import (
    ALLOWED,
    Command,
    Failed,
    Image,
    NotAllowed,
    NothingChosen,
    NothingStaged,
    Outcome,
    Partition,
    Prepared,
    Refreshed,
    State,
    Switched,
    UpdateStatus,
    check,
    initial,
    next_status,
)

OLD = Image(arch="x86_64", version="1.0.0", variant="standalone")
NEW = Image(arch="x86_64", version="1.1.0", variant="standalone")
NEWER = Image(arch="x86_64", version="1.2.0", variant="standalone")
TIME = "2026-01-02T03:04:05.000006Z"

FOUND = Refreshed(available=("1.1.0", "0.9.0"), chosen=NEW)
NONE = Refreshed(available=(), chosen=None)
BROKEN = Failed(exit_status=1, stderr="no route to host")


def status(state: State, *, staging: bool | None = None) -> UpdateStatus:
    """Return a status that is in `state` the usual way."""
    chosen = None if state is State.IDLE else NEW
    written = state in (State.STAGED, State.READY) if staging is None else staging
    ready = state is State.READY
    return UpdateStatus(
        update_state=state,
        available_updates=("1.1.0",) if chosen else (),
        chosen_update=chosen,
        active_partition=Partition(image=OLD, next_to_boot=not ready),
        staging_partition=Partition(image=NEW, next_to_boot=ready) if written else None,
    )


MOVES: list[tuple[State, Command, Outcome, State]] = [
    (State.IDLE, Command.REFRESH, FOUND, State.AVAILABLE),
    (State.IDLE, Command.REFRESH, NONE, State.IDLE),
    (State.IDLE, Command.REFRESH, BROKEN, State.IDLE),
    (State.AVAILABLE, Command.REFRESH, FOUND, State.AVAILABLE),
    (State.AVAILABLE, Command.REFRESH, NONE, State.IDLE),
    (State.AVAILABLE, Command.REFRESH, BROKEN, State.AVAILABLE),
    (State.STAGED, Command.REFRESH, FOUND, State.STAGED),
    (State.STAGED, Command.REFRESH, NONE, State.STAGED),
    (State.READY, Command.REFRESH, FOUND, State.READY),
    (State.READY, Command.REFRESH, NONE, State.READY),
    (State.AVAILABLE, Command.PREPARE, Prepared(image=NEW), State.STAGED),
    (State.AVAILABLE, Command.PREPARE, BROKEN, State.AVAILABLE),
    (State.STAGED, Command.PREPARE, Prepared(image=NEWER), State.STAGED),
    (State.STAGED, Command.PREPARE, BROKEN, State.STAGED),
    (State.STAGED, Command.ACTIVATE, Switched(), State.READY),
    (State.STAGED, Command.ACTIVATE, BROKEN, State.STAGED),
    (State.READY, Command.DEACTIVATE, Switched(), State.STAGED),
    (State.READY, Command.DEACTIVATE, BROKEN, State.READY),
]


@pytest.mark.parametrize(("before", "command", "outcome", "after"), MOVES)
def test_states_follow_one_another(
    before: State, command: Command, outcome: Outcome, after: State
) -> None:
    """Each allowed command leads where its outcome says, and nowhere else."""
    check(status(before), command)
    found = next_status(status(before), command, outcome, timestamp=TIME)

    assert found.update_state is after
    if isinstance(outcome, Failed):
        assert msgspec.structs.replace(found, most_recent_command=None) == status(before)


def test_the_table_has_every_allowed_command() -> None:
    """What may be asked for is what is tried above."""
    tried = {(command, before) for before, command, _, _ in MOVES}

    assert tried == {(command, state) for command, states in ALLOWED.items() for state in states}


@pytest.mark.parametrize(
    ("command", "state"),
    [(c, s) for c in Command for s in State if s not in ALLOWED[c]],
)
def test_other_commands_are_refused(command: Command, state: State) -> None:
    """Where the table has no way, nothing starts, and the state is told."""
    with pytest.raises(NotAllowed) as caught:
        check(status(state), command)

    assert str(caught.value) == (
        f"{command.value!r} is not allowed while the update state is {state.value!r}"
    )


def test_nothing_chosen_and_nothing_staged_are_told_apart() -> None:
    """404 and not 409: the state would allow it, but there is nothing there."""
    unchosen = msgspec.structs.replace(status(State.STAGED), chosen_update=None)
    with pytest.raises(NothingChosen, match="no update is chosen; refresh updates first"):
        check(unchosen, Command.PREPARE)
    with pytest.raises(NothingStaged, match="no image is staged; prepare an update first"):
        check(status(State.STAGED, staging=False), Command.ACTIVATE)


def test_exactly_one_slot_is_next_to_boot() -> None:
    """Activating and deactivating move the mark to the other slot and back."""
    ready = next_status(status(State.STAGED), Command.ACTIVATE, Switched(), timestamp=TIME)
    back = next_status(ready, Command.DEACTIVATE, Switched(), timestamp=TIME)

    assert (ready.active_partition, ready.staging_partition) == (
        Partition(image=OLD, next_to_boot=False), Partition(image=NEW, next_to_boot=True),
    )  # fmt: skip
    assert (back.active_partition, back.staging_partition) == (
        Partition(image=OLD, next_to_boot=True), Partition(image=NEW, next_to_boot=False),
    )  # fmt: skip


@pytest.mark.parametrize("outcome", [FOUND, BROKEN])
def test_a_strict_reader_can_read_it(outcome: Outcome) -> None:
    """Bottlerocket's update operator: a last command, an unsigned status, text, a known type."""
    found = next_status(initial(OLD), Command.REFRESH, outcome, timestamp=TIME)
    told = msgspec.json.decode(msgspec.json.encode(found))

    assert told["active_partition"] == {
        "image": {"arch": "x86_64", "version": "1.0.0", "variant": "standalone"},
        "next_to_boot": True,
    }
    assert told["staging_partition"] is None
    command = told["most_recent_command"]
    failed = isinstance(outcome, Failed)
    assert command == {
        "cmd_type": "refresh", "cmd_status": "Failed" if failed else "Success",
        "timestamp": TIME, "exit_status": 1 if failed else 0,
        "stderr": "no route to host" if failed else "",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", command["timestamp"])
