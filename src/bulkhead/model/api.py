"""What goes over the node's API: bodies, answers and parameters.

The first part is Bottlerocket's, names and all; the second is Bulkhead's own,
below `/bulkhead/v1`. Errors are plain text in the first part and a `Problem`
in the second.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bulkhead.model.apply import ApplyResult
from bulkhead.model.health import Condition
from bulkhead.model.history import Change, Commit

PREFIX = "/bulkhead/v1"
"""Of Bulkhead's own endpoints."""
SOCKET = "/run/api.sock"
BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of a request's body, as Bottlerocket has it."""
DEFAULT_TRANSACTION = "default"

OnFailure = Literal["keep", "rollback"]
"""What to do when a change cannot be applied: leave it committed, or commit the settings before it."""


class _Query(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Parameters after the `?`. Unknown ones are passed over, as in Bottlerocket."""


class NoQuery(_Query, frozen=True, kw_only=True):
    """No parameters."""


class Transaction(_Query, frozen=True, kw_only=True):
    """Which pending transaction is meant."""

    tx: str = DEFAULT_TRANSACTION


class Prefix(_Query, frozen=True, kw_only=True):
    """Which names are wanted."""

    prefix: str | None = None
    """The beginning of dotted names, which need not end at a dot."""


class Keys(_Query, frozen=True, kw_only=True):
    """Which settings are meant."""

    keys: str | None = None
    """Full names with commas between them."""


class Select(_Query, frozen=True, kw_only=True):
    """Which settings are wanted; `keys` wins."""

    keys: str | None = None
    prefix: str | None = None


class Names(_Query, frozen=True, kw_only=True):
    """Which services or files are wanted; all without parameters; `names` wins."""

    names: str | None = None
    prefix: str | None = None


class ReportQuery(_Query, frozen=True, kw_only=True):
    """Which report, and how it is to look."""

    type: str | None = None
    format: str | None = None
    level: str | None = None


class FormatQuery(_Query, frozen=True, kw_only=True):
    """How a list is to look."""

    format: str | None = None


class KeyPairs(msgspec.Struct, frozen=True, kw_only=True):
    """Settings as `key=value`."""

    request_payload: tuple[str, ...]


class OsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Which system runs."""

    pretty_name: str
    variant_id: str
    version_id: str
    build_id: str
    arch: str


class ServiceInfo(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Something that settings concern."""

    configuration_files: tuple[str, ...]
    restart_commands: tuple[str, ...]


class FileInfo(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """A file that is made from settings."""

    path: str
    template_path: str
    """Where it is made: a module of Bulkhead, or a template of the variant."""
    mode: str | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """Everything there is; parts that were not asked for are missing."""

    settings: dict[str, object] | None = None
    services: dict[str, ServiceInfo] | None = None
    configuration_files: dict[str, FileInfo] | None = None
    os: dict[str, str] | None = None


class PendingWithMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """A pending transaction and the metadata in it, of which Bulkhead has none."""

    settings: dict[str, object]
    metadata: dict[str, object] = {}


class ReportInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A report that can be asked for."""

    name: str
    description: str


# Bulkhead's own.


class _Strict(_Query, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of Bulkhead's own endpoints: a misspelt one is an error."""


class NoParameters(_Strict, frozen=True, kw_only=True):
    """No parameters."""


class OwnTransaction(_Strict, frozen=True, kw_only=True):
    """Which pending transaction is meant."""

    tx: str = DEFAULT_TRANSACTION


class CommitQuery(_Strict, frozen=True, kw_only=True):
    """Which transaction, and what if it cannot be applied."""

    tx: str = DEFAULT_TRANSACTION
    on_failure: OnFailure = "keep"


class SettingsQuery(_Strict, frozen=True, kw_only=True):
    """Which settings are wanted; all without it."""

    prefix: str | None = None
    """The beginning of dotted names, which need not end at a dot."""


class HistoryQuery(_Strict, frozen=True, kw_only=True):
    """How much of the history."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 20


class HistoryEntry(_Strict, frozen=True, kw_only=True):
    """Which commit; part of the path."""

    number: Annotated[int, Meta(ge=0)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A body of Bulkhead's own endpoints."""


class UnsetRequest(_Body, frozen=True, kw_only=True):
    """Return settings to the image's defaults, each with all below it."""

    keys: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1000)]


class CommitRequest(_Body, frozen=True, kw_only=True):
    """What is to be said in the history."""

    message: Annotated[str, Meta(max_length=4096)] | None = None


class RollbackRequest(_Body, frozen=True, kw_only=True):
    """Commit the settings of an older commit again."""

    to: Annotated[int, Meta(ge=0)]
    on_failure: OnFailure = "keep"


class ApplyKeys(_Body, frozen=True, kw_only=True):
    """Settings to apply again; all without `keys`."""

    keys: tuple[str, ...] | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit would change, and which files and services that would touch."""

    changes: tuple[Change, ...]
    apply: ApplyResult


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """A commit, and how it was applied."""

    commit: Commit
    apply: ApplyResult
    rolled_back: bool = False
    """It could not be applied, and the settings before it were committed and applied again."""
    reapplied: ApplyResult | None = None
    """How that went."""


class ApiHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The API answers."""

    version: str
    read_only: bool
    """Settings cannot be changed until the next start of the machine (`POST /actions/lockdown`)."""
    conditions: tuple[Condition, ...] = ()
    """What is wrong with the node's settings; it works around it."""
