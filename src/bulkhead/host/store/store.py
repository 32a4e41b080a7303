"""The store: what is live, what is pending, and how one becomes the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bulkhead.host.store import document
from bulkhead.host.store.accept import accept, together
from bulkhead.host.store.changes import between, differing
from bulkhead.host.store.document import Document, Part, Unreadable
from bulkhead.host.store.errors import NoSuchCommit, NothingPending, TooMuch, cannot_write
from bulkhead.host.store.files import LARGEST, Files
from bulkhead.host.store.migrations import SCHEMAS, Schemas
from bulkhead.host.store.reading import State, Stored, history, load, newest
from bulkhead.host.store.transactions import Transactions
from bulkhead.model.errors import UserError
from bulkhead.model.health import Condition
from bulkhead.model.history import Change, Commit
from bulkhead.model.settings.groups import Groups
from bulkhead.model.settings.keys import Key, Settings, flatten, format, merge, remove

KEEP = 200
"""Commits that are kept."""
KEEP_BYTES = 32 * 1024 * 1024
"""Bytes of all commits that are kept; the newest is, whatever its size."""
LONGEST_WHO = 256
LONGEST_MESSAGE = 4096


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit of a transaction would bring."""

    own: Settings
    live: Settings
    changed: tuple[Change, ...]
    """Between what is live and what would be; secrets are redacted."""


class Store:
    """The settings of a node.

    Reading takes no lock and changes nothing, so the apply agent can do it on
    a read-only mount. Writing is for the API; any number of its processes and
    threads may.

    Args:
        directory: of the commits, on the data partition; only the API may write there.
        pending: directory of the pending transactions, on a tmpfs.
        groups: of settings, which the image has.
        defaults: the image's settings; the node's own are merged over them.
        os_version: of the image, for the history.
        schemas: of the image's settings.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        directory: Path,
        *,
        pending: Path,
        groups: Groups,
        defaults: Settings,
        os_version: str = "",
        schemas: Schemas = SCHEMAS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = Files(directory)
        self._transactions = Transactions(pending)
        self._groups = groups
        self._defaults = defaults
        self._os_version = os_version
        self._schemas = schemas
        self._clock = clock

    def state(self) -> State:
        """Return what is in force, and what is wrong. Never fails, whatever is on the disk."""
        return newest(
            self._files, schemas=self._schemas, defaults=self._defaults, groups=self._groups
        )

    def live(self) -> Settings:
        """Return the settings in force: the node's own over the image's defaults."""
        return self.state().live

    def own(self) -> Settings:
        """Return the node's own values that are in force."""
        return self.state().own

    def conditions(self) -> tuple[Condition, ...]:
        """Return what is wrong with the store and the values in it."""
        return self.state().conditions

    def transactions(self) -> list[str]:
        """Return the names of the pending transactions."""
        return self._transactions.names()

    def pending(self, tx: str) -> Settings:
        """Return the values that a transaction will set; none for one that nobody has begun."""
        return self._transactions.read(tx).settings

    def pending_unset(self, tx: str) -> tuple[Key, ...]:
        """Return the keys that a transaction will unset, before it sets others."""
        return self._transactions.read(tx).unset

    def stage(self, tx: str, settings: Settings) -> None:
        """Add values to a transaction.

        Raises:
            SettingsError: a value is wrong.
            TooMuch: of transactions, or in this one.
        """
        checked = self._groups.check(settings)
        with self._writing():
            self._transactions.stage(tx, checked)

    def stage_unset(self, tx: str, keys: Sequence[Key]) -> None:
        """Add keys that the commit returns to the image's defaults, each with all below it.

        Raises:
            SettingsError: there is no such setting, and nothing is stored there either.
        """
        if not all(keys):
            raise UserError("an empty key names no setting", hint="name one: settings.motd")
        with self._writing():
            # Of another version there may be values that this one has no setting for.
            stored = self.state().stored
            there = [*flatten(stored.settings), *flatten(self.pending(tx))]
            there += [(name,) for name in stored.kept]
            for key in keys:
                if not any(known[: len(key)] == key for known in there):
                    self._groups.require(key)
            self._transactions.stage_unset(tx, keys)

    def delete(self, tx: str) -> list[Key]:
        """Forget a transaction; return the keys that it was about."""
        with self._writing():
            keys = self._transactions.read(tx).keys()
            self._transactions.delete(tx)
        return keys

    def preview(self, tx: str) -> Preview:
        """Return what a commit would bring; nothing is written.

        Raises:
            SettingsError: the values are wrong together.
        """
        state = self.state()
        own = self._transactions.read(tx).over(state.own)
        live = together(own, defaults=self._defaults, groups=self._groups)
        changed = between(state.live, live, groups=self._groups)
        return Preview(own=own, live=live, changed=changed)

    def commit(self, tx: str, *, who: str, message: str | None = None) -> Commit:
        """Make a transaction live, durably; it is gone then.

        Returns:
            The commit that has the values: a new one, or the newest if no value
            differs, without `changed`. `keys` are those of the transaction.

        Raises:
            NothingPending: the transaction is empty or unknown.
            SettingsError: its values are wrong together with the others; it stays pending.
            TooMuch: the settings or the message are too large.
            CannotWrite: nothing has changed; the transaction stays pending.
        """
        _check_text(who, message)
        with self._writing():
            pending = self._transactions.read(tx)
            keys = pending.keys()
            if not keys:
                raise NothingPending(
                    f"the transaction {tx!r} has nothing to commit",
                    hint="set something in it first",
                )
            state = self.state()
            own = pending.over(state.own)
            together(own, defaults=self._defaults, groups=self._groups)
            commit = self._new(keys, who=who, message=message)
            commit = self._record(state, self._after(state, own, pending.unset), commit)
            self._transactions.delete(tx)
        return commit

    def rollback(self, to: int, *, who: str, message: str | None = None) -> Commit:
        """Make the values of an earlier commit live again, as a new commit.

        Commit 0 is the image's defaults. Values that this image no longer takes
        come back too, set aside.

        Returns:
            The new commit, or the newest if no value differs.

        Raises:
            NoSuchCommit: it is not kept any more, never was, or cannot be read.
            CannotWrite: nothing has changed.
        """
        _check_text(who, message)
        with self._writing():
            state = self.state()
            target = self._load(to)
            keys = differing(state.stored.settings, target.settings)
            commit = self._new(keys, who=who, message=message, restores=to)
            return self._record(state, target, commit)

    def history(self, limit: int = KEEP) -> list[Commit]:
        """Return the newest commits, the newest first, without the settings themselves."""
        return history(self._files, limit)

    def commit_at(self, number: int) -> Commit:
        """Return one commit of the history; 0 is the image's defaults.

        Raises:
            NoSuchCommit: it is not kept any more, never was, or cannot be read.
        """
        return self._load(number).commit

    def _load(self, number: int) -> Stored:
        if number == 0:
            return Stored()
        try:
            return load(self._files, number, self._schemas)
        except (FileNotFoundError, Unreadable) as error:
            reason = str(error) if isinstance(error, Unreadable) else "the history does not have it"
            raise NoSuchCommit(
                f"commit {number} cannot be used: {reason}",
                hint=f"the history shows which can be; the last {KEEP} are kept",
            ) from error

    def _new(
        self, keys: Sequence[Key], *, who: str, message: str | None, restores: int | None = None
    ) -> Commit:
        return Commit(
            number=0,  # until it is recorded
            time=datetime.fromtimestamp(int(self._clock()), UTC),
            who=who,
            message=message,
            keys=tuple(map(format, keys)),
            os_version=self._os_version,
            schema=self._schemas.core.schema,
            restores=restores,
        )

    def _after(self, state: State, own: Settings, unset: Sequence[Key]) -> Stored:
        """Return what is to be stored: the values that count, and those that are carried along."""
        aside = state.aside
        for key in unset:
            aside = remove(aside, key)
        settings = merge(aside, own)
        if aside:
            # A wrong value must not take one along that has just been found right.
            accepted = accept(settings, defaults=self._defaults, groups=self._groups)
            settings = own if differing(accepted.own, own) else settings
        gone = {*own, *(key[0] for key in unset if len(key) == 1)}
        kept = {name: why for name, why in state.stored.kept.items() if name not in gone}
        return msgspec.structs.replace(state.stored, settings=settings, kept=kept)

    def _record(self, state: State, after: Stored, commit: Commit) -> Commit:
        """Write a commit, unless it would say what the newest says."""
        stored = state.stored
        if not differing(stored.settings, after.settings) and _carried(stored) == _carried(after):
            return msgspec.structs.replace(stored.commit, keys=commit.keys, changed=())
        changed = between(stored.settings, after.settings, groups=self._groups)
        number = max(self._files.recorded(), *self._files.numbers(), 0) + 1
        commit = msgspec.structs.replace(commit, number=number, changed=changed)
        raw = document.encode(self._document(after, commit))
        if len(raw) > LARGEST:
            raise TooMuch(
                f"the settings would take {len(raw)} bytes, the store takes {LARGEST}",
                hint="keep large values outside the settings",
            )
        self._files.prepare()
        self._files.write(number, raw)
        self._files.prune(keep=KEEP, bytes_kept=KEEP_BYTES)
        return commit

    def _document(self, after: Stored, commit: Commit) -> Document:
        chains = self._schemas.groups
        core = {name: value for name, value in after.settings.items() if name not in chains}
        groups = _carried(after)
        for name in chains.keys() - groups.keys():
            theirs = {name: after.settings[name]} if name in after.settings else {}
            part = document.write(theirs, chains[name], after.groups.get(name))
            if theirs or part.newer:
                groups[name] = part
        return Document(
            commit=commit,
            core=document.write(core, self._schemas.core, after.core),
            groups=groups,
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            if not self._files.directory.is_dir():
                self._files.directory.mkdir(mode=0o700, exist_ok=True)
            with self._files.locked():
                yield
        except OSError as error:
            raise cannot_write(error, self._files.directory) from error


def _carried(stored: Stored) -> dict[str, Part]:
    return {name: stored.groups[name] for name in stored.kept}


def _check_text(who: str, message: str | None) -> None:
    # They are shown on terminals, which obey control characters.
    if not who or len(who) > LONGEST_WHO or not who.isprintable():
        raise UserError(
            "the name of who commits is empty, too long, or has control characters",
            hint=f"use 1 to {LONGEST_WHO} printable characters",
        )
    lines = (message or "").split("\n")
    if len(message or "") > LONGEST_MESSAGE or not all(line.isprintable() for line in lines):
        raise UserError(
            "the message is too long or has control characters",
            hint=f"use at most {LONGEST_MESSAGE} printable characters and line ends",
        )
