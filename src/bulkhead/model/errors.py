"""Every error that Bulkhead raises on purpose.

The tree says who can do something about it; the fields say what, where, why
and what to do. Library code raises; only a program's `main()` prints and
chooses the exit code.

    BulkheadError
    ├── UserError      your input: a file, an option, a name
    ├── HostError      this machine: a full disk, a missing feature
    ├── RemoteError    a server: unreachable, or it served something wrong
    │   └── Untrusted  bytes that failed verification; never used, never kept
    └── Bug            us
"""

from __future__ import annotations


class BulkheadError(Exception):
    """Base of all errors that are shown to people without a traceback.

    Args:
        what: what failed, and why, in one sentence without a full stop.
        where: the file, key, URL or device it is about, shown after `what`.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class UserError(BulkheadError):
    """The input is wrong: a file, an option, a name."""


class HostError(BulkheadError):
    """This machine cannot do it: a full disk, a missing kernel feature, a tool that failed."""


class RemoteError(BulkheadError):
    """A server cannot be reached or answered with something unusable."""


class Untrusted(RemoteError):
    """Bytes that failed verification. They were not used and were not kept."""


class Bug(BulkheadError):
    """A promise that Bulkhead itself broke. Please report it."""
