"""Which of the machine's user numbers a container's users are.

Each container has numbers that no other has, from the machine's root apart:
whoever got out of it would own nothing here, and nothing of another one.
They are its own until it is removed.
"""

from __future__ import annotations

from collections.abc import Collection

from bulkhead.host.containers.accounts import Identity
from bulkhead.model.errors import HostError, UserError

FIRST = 1 << 20
"""In the range that systemd keeps free for containers (its UIDS-GIDS.md: 524288 to 1879048191)."""
COUNT = 1 << 16
"""As many as programs expect: nobody is 65534."""
_END = 1_879_048_192


def choose(taken: Collection[int]) -> int:
    """Return the first number of a range that is not in `taken`.

    Raises:
        HostError: all are.
    """
    for first in range(FIRST, _END, COUNT):
        if first not in taken:
            return first
    raise HostError("all ranges of user numbers are in use", hint="remove a container")


def is_first(number: int) -> bool:
    """Tell whether a range can begin with this number."""
    return FIRST <= number < _END and number % COUNT == 0


def check(identity: Identity) -> None:
    """Refuse a user that the container would not have.

    Raises:
        UserError: its number, or that of one of its groups, is too large.
    """
    largest = max(identity.uid, identity.gid, *identity.groups)
    if largest >= COUNT:
        raise UserError(
            f"a container with users of its own has numbers up to {COUNT - 1}, not {largest}",
            hint="choose another user, or use the machine's (--userns host)",
        )
