"""The status of updates and what may follow what, as Bottlerocket's clients know them.

One object says where a node is: nothing to do (`Idle`), a newer version is known
(`Available`), it is written to the other slot (`Staged`), it is next to boot
(`Ready`). `check` says whether a command may start; `next_status` what is true
after it ended. Neither does anything.

Clients tell that a command has ended by the timestamp of the last one, and
Bottlerocket's update operator reads that stricter than it is written: there is
always a last command, its exit status is never null or negative, its stderr
never null.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from bulkhead.model.errors import UserError


class State(enum.Enum):
    """Where a node is on the way to another version."""

    IDLE = "Idle"
    AVAILABLE = "Available"
    STAGED = "Staged"
    READY = "Ready"


class Command(enum.Enum):
    """What can be asked for."""

    REFRESH = "refresh"
    PREPARE = "prepare"
    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"


class CommandStatus(enum.Enum):
    """How a command ended."""

    SUCCESS = "Success"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the system."""

    arch: str
    version: str
    variant: str


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a slot."""

    image: Image
    next_to_boot: bool


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """The last command and how it ended."""

    cmd_type: Command
    cmd_status: CommandStatus
    timestamp: str
    """RFC 3339, UTC; differs from that of the command before."""
    exit_status: int
    stderr: str


class UpdateStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All that a client is told."""

    update_state: State
    available_updates: tuple[str, ...] = ()
    """Newest first; older ones may be among them."""
    chosen_update: Image | None = None
    active_partition: Partition | None = None
    staging_partition: Partition | None = None
    most_recent_command: CommandResult | None = None


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """The repository was read."""

    available: tuple[str, ...]
    chosen: Image | None


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """An image was written to the other slot."""

    image: Image


class Switched(msgspec.Struct, frozen=True, kw_only=True):
    """Another slot than before is next to boot."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A command ended badly and changed nothing."""

    exit_status: int
    """Not 0, not negative; 128 + n for signal n."""
    stderr: str


Outcome = Refreshed | Prepared | Switched | Failed


class NotAllowed(UserError):
    """The command does not fit the state (409)."""


class NothingChosen(UserError):
    """There is no update to prepare (404)."""


class NothingStaged(UserError):
    """There is no image to activate (404)."""


ALLOWED: Mapping[Command, frozenset[State]] = {
    Command.REFRESH: frozenset(State),
    Command.PREPARE: frozenset({State.AVAILABLE, State.STAGED}),
    Command.ACTIVATE: frozenset({State.STAGED}),
    Command.DEACTIVATE: frozenset({State.READY}),
}


def initial(running: Image) -> UpdateStatus:
    """Return the status before anything was asked for."""
    return UpdateStatus(
        update_state=State.IDLE, active_partition=Partition(image=running, next_to_boot=True)
    )


def check(status: UpdateStatus, command: Command) -> None:
    """Make sure that a command may start.

    Raises:
        NotAllowed: not in this state.
        NothingChosen: no update was found that is to be prepared.
        NothingStaged: the other slot is empty.
    """
    if status.update_state not in ALLOWED[command]:
        raise NotAllowed(
            f"{command.value!r} is not allowed while the update state is "
            f"{status.update_state.value!r}"
        )
    if command is Command.PREPARE and status.chosen_update is None:
        raise NothingChosen("no update is chosen; refresh updates first")
    if command is Command.ACTIVATE and status.staging_partition is None:
        raise NothingStaged("no image is staged; prepare an update first")


def next_status(
    status: UpdateStatus, command: Command, outcome: Outcome, *, timestamp: str
) -> UpdateStatus:
    """Return the status after `command`, which `check` had allowed, ended with `outcome`."""
    failed = isinstance(outcome, Failed)
    result = CommandResult(
        cmd_type=command,
        cmd_status=CommandStatus.FAILED if failed else CommandStatus.SUCCESS,
        timestamp=timestamp,
        exit_status=outcome.exit_status if isinstance(outcome, Failed) else 0,
        stderr=outcome.stderr if isinstance(outcome, Failed) else "",
    )
    return msgspec.structs.replace(_moved(status, outcome), most_recent_command=result)


def _moved(status: UpdateStatus, outcome: Outcome) -> UpdateStatus:
    match outcome:
        case Refreshed():
            state = status.update_state
            if state in (State.IDLE, State.AVAILABLE):
                state = State.IDLE if outcome.chosen is None else State.AVAILABLE
            return msgspec.structs.replace(
                status,
                update_state=state,
                available_updates=outcome.available,
                chosen_update=outcome.chosen,
            )
        case Prepared():
            return msgspec.structs.replace(
                status,
                update_state=State.STAGED,
                staging_partition=Partition(image=outcome.image, next_to_boot=False),
            )
        case Switched():
            ready = status.update_state is State.STAGED
            return msgspec.structs.replace(
                status,
                update_state=State.READY if ready else State.STAGED,
                active_partition=_next(status.active_partition, is_next=not ready),
                staging_partition=_next(status.staging_partition, is_next=ready),
            )
        case Failed():
            return status


def _next(slot: Partition | None, *, is_next: bool) -> Partition | None:
    return slot and msgspec.structs.replace(slot, next_to_boot=is_next)
