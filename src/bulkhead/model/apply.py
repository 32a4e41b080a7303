"""What is asked of the program that makes settings take effect, and what it answers.

One JSON object each way over `SOCKET`: the node's API asks, `host.apply` answers
when every service has come up or failed. Results are shown to people and kept,
so nothing in them is secret.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SOCKET = "/run/bulkhead-apply/apply.sock"
MESSAGE_LIMIT = 1 << 20
"""Bytes of a request or an answer, the newline at its end included."""


class ApplyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request; ends with a newline."""

    action: Literal["apply", "plan"]
    """`plan` says what `apply` would do and changes nothing."""
    keys: tuple[str, ...] | None = None
    """Settings whose services are concerned (`settings.ntp.time-servers`); all without it."""
    settings: dict[str, object] | None = None
    """For `plan`: the node's own settings as they would be, instead of the committed ones."""
    on_failure: Literal["keep", "restore"] = "keep"
    """`restore`: if a service fails, put all files back and act on the services again."""


class FileChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of the node that differs from what the settings say."""

    path: str
    change: Literal["write", "remove"]
    diff: str | None = None
    """Unified, of text files up to a limit. Files with secrets have none."""


class ServiceResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service of the settings, and how it went."""

    name: str
    """As in `render.services.SERVICES`."""
    units: tuple[str, ...] = ()
    """systemd units that were acted on."""
    action: str = "none"
    """What was done, in words: `restart systemd-timesyncd.service`."""
    status: Literal["planned", "done", "failed", "skipped"]
    """`skipped`: its unit does not run, or an earlier step failed."""
    error: str | None = None
    """Why it failed: the job's result and the unit's own last words."""
    note: str | None = None
    """What a person should know although it did not fail."""
    reboot: bool = False
    """What was asked for takes effect at the next start of the machine only."""
    duration_s: float = 0.0


class ApplyResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole answer; ends with a newline."""

    number: int = 0
    """The commit that was applied; 0 for the image's defaults."""
    ok: bool
    files: tuple[FileChange, ...] = ()
    services: tuple[ServiceResult, ...] = ()
    notes: tuple[str, ...] = ()
    """Settings that are valid and change nothing on this machine, and why; one line each."""
    restored: bool = False
    """A service failed and the files are as they were before (`on_failure`)."""
    error: str | None = None
    """Why nothing was done at all: a setting that cannot be rendered, a full disk."""
    time: str = ""
    """When it ended; RFC 3339, UTC."""
