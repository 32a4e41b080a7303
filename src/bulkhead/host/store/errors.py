"""What can be wrong with a request to the store.

UserError
├── NothingPending   a commit of a transaction that is empty or unknown
├── NoSuchCommit     a number that is not in the history
└── TooMuch          more than the store takes: values, transactions, text
HostError
└── CannotWrite      the disk is full or failing; nothing has changed
"""

from __future__ import annotations

import errno
from pathlib import Path

from bulkhead.model.errors import HostError, UserError


class NothingPending(UserError):
    """The transaction to commit is empty or unknown."""


class NoSuchCommit(UserError):
    """The history does not have this number, or its file is damaged."""


class TooMuch(UserError):
    """More than the store takes. Nothing has changed."""


class CannotWrite(HostError):
    """The disk is full or failing. Nothing has changed."""


def cannot_write(error: OSError, path: Path) -> CannotWrite:
    """Say why a file could not be written, and what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return CannotWrite(
        f"the settings cannot be saved: {error.strerror or error}; nothing has changed",
        where=str(path),
        hint="make room on the data partition: remove containers and images that are not needed"
        if full
        else "look for errors of the disk in the journal; the settings in force stay",
    )
