"""An error as a service of a node tells it."""

from __future__ import annotations

import msgspec

from bulkhead.model.errors import BulkheadError


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What failed and why, where, and what to do; as `BulkheadError` has it."""

    error: str
    where: str | None = None
    hint: str | None = None

    @classmethod
    def of(cls, error: BulkheadError) -> Problem:
        """Return an error as what a client gets."""
        return cls(error=error.what, where=error.where, hint=error.hint)
