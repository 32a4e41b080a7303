"""What the API refuses, and which status an error has."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from bulkhead.host.serving import TooLarge, TooSlow
from bulkhead.host.store.errors import NoSuchCommit, NothingPending
from bulkhead.model.errors import BulkheadError, HostError, UserError
from bulkhead.model.updates import NotAllowed, NothingChosen, NothingStaged


class NotFound(UserError):
    """There is nothing of this name (404)."""


class Unsupported(UserError):
    """This system cannot do it (422)."""


class Locked(UserError):
    """A command of updates runs; try again later (423)."""


class ReadOnly(UserError):
    """Settings cannot be changed until the next start of the machine (403)."""


STATUS: Mapping[type[BulkheadError], int] = {
    ReadOnly: 403,
    NotFound: 404, NoSuchCommit: 404, NothingChosen: 404, NothingStaged: 404,
    TooSlow: 408,
    NotAllowed: 409,
    TooLarge: 413,
    NothingPending: 422, Unsupported: 422,
    Locked: 423,
    UserError: 400,
}  # fmt: skip

FULL = 507
"""Insufficient Storage (RFC 4918)."""


def status_of(error: BulkheadError) -> int:
    """Return the status that a client gets."""
    if isinstance(error, HostError) and _is_full(error.__cause__):
        return FULL
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def _is_full(cause: BaseException | None) -> bool:
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def line(error: BulkheadError) -> str:
    """Return an error as one short line, as Bottlerocket's clients print it."""
    text = f"{error.where}: {error.what}" if error.where else error.what
    return f"{text} ({error.hint})" if error.hint else text
