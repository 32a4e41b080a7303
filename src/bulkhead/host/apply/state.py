"""What this program remembers between its runs, until the machine restarts."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bulkhead.lib import atomicfile
from bulkhead.model.apply import ApplyResult

log = logging.getLogger(__name__)

RESULT = "result.json"
"""The last answer to `apply`, for whoever asks later; readable by all."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What was done since the start of the machine."""

    files: dict[str, str] = {}
    """Files that were written, and the service that they were written for."""
    failed: tuple[str, ...] = ()
    """Services that failed the last time they were acted on."""
    sysctl: dict[str, str] = {}
    """Kernel parameters that settings have changed, with their values of before."""


def load(directory: Path) -> State:
    """Return the state; an empty one if there is none or it cannot be read."""
    try:
        return msgspec.json.decode((directory / "state.json").read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("state.json is forgotten: %s", error)
        return State()


def save(directory: Path, state: State) -> None:
    """Keep the state."""
    # The values of before may be of use to whoever wants to undo hardening.
    atomicfile.write(directory / "state.json", msgspec.json.encode(state), mode=0o600)


def save_result(directory: Path, result: ApplyResult) -> None:
    """Keep the last answer."""
    atomicfile.write(directory / RESULT, msgspec.json.encode(result))


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Wait until no other run of this program changes anything, and keep others out."""
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
