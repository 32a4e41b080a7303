"""What goes beyond Bottlerocket: unset, differences, plans, results, history and the way back."""

from __future__ import annotations

import logging
from functools import partial

from bulkhead import __version__
from bulkhead.host.api.endpoint import Endpoint, of
from bulkhead.host.api.node import Node
from bulkhead.host.api.settings import NOTHING, full, starting
from bulkhead.host.serving import Peer
from bulkhead.model.api import (
    PREFIX,
    ApiHealth,
    ApplyKeys,
    CommitQuery,
    CommitRequest,
    Committed,
    HistoryEntry,
    HistoryQuery,
    NoParameters,
    OwnTransaction,
    Plan,
    RollbackRequest,
    SettingsQuery,
    UnsetRequest,
)
from bulkhead.model.apply import ApplyRequest, ApplyResult
from bulkhead.model.history import Change, Commit
from bulkhead.model.settings.keys import Settings, parse

log = logging.getLogger(__name__)


class OwnService:
    """Endpoints below `/bulkhead/v1`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.store

    def endpoints(self) -> list[Endpoint]:
        """Return the table."""
        changing = (400, 403, 507)
        return [
            of("GET", f"{PREFIX}/health", self.health, query=NoParameters, body=NOTHING,
               answer=ApiHealth, summary="The API answers, and says what is wrong."),
            of("PATCH", f"{PREFIX}/unset", self.unset, query=OwnTransaction, body=UnsetRequest,
               errors=changing, summary="Return settings to the image's defaults, in a transaction."),
            of("GET", f"{PREFIX}/diff", self.diff, query=OwnTransaction, body=NOTHING,
               answer=tuple[Change, ...], errors=(400,),
               summary="What a transaction would change; secrets are hidden."),
            of("POST", f"{PREFIX}/plan", self.plan, query=OwnTransaction, body=NOTHING, answer=Plan,
               errors=(400,), summary="The same, with the files and services that it would touch."),
            of("POST", f"{PREFIX}/commit", self.commit, query=CommitQuery, body=CommitRequest,
               answer=Committed, errors=(*changing, 422),
               summary="Make a transaction live, make it take effect, and say how that went."),
            of("GET", f"{PREFIX}/history", self.history, query=HistoryQuery, body=NOTHING,
               answer=list[Commit], errors=(400,), summary="The newest commits, the newest first."),
            of("GET", f"{PREFIX}/history/{{number}}", self.commit_at, query=HistoryEntry,
               body=NOTHING, answer=Commit, errors=(400, 404), summary="One commit."),
            of("POST", f"{PREFIX}/rollback", self.rollback, query=NoParameters, body=RollbackRequest,
               answer=Committed, errors=(*changing, 404),
               summary="Commit the settings of an older commit again, and make them take effect."),
            of("POST", f"{PREFIX}/apply", self.apply, query=NoParameters, body=ApplyKeys,
               answer=ApplyResult, errors=(400,),
               summary="Make live settings take effect again, and say how that went."),
            of("GET", f"{PREFIX}/apply", self.applied, query=NoParameters, body=NOTHING,
               answer=ApplyResult, errors=(404,), summary="How it went the last time, boot included."),
            of("GET", f"{PREFIX}/settings", self.settings, query=SettingsQuery, body=NOTHING,
               answer=dict[str, object], errors=(400,),
               summary="Settings in force, secrets hidden; all, or those that start with `prefix`."),
            of("GET", f"{PREFIX}/schema", self.schema, query=NoParameters, body=NOTHING,
               answer=dict[str, object], summary="JSON Schema of this node's settings."),
        ]  # fmt: skip

    async def health(self, query: NoParameters, body: None, peer: Peer) -> ApiHealth:
        """Answer, and say what is wrong."""
        conditions = await self._node.read(self._node.conditions)
        return ApiHealth(version=__version__, read_only=self._node.read_only, conditions=conditions)

    async def unset(self, query: OwnTransaction, body: UnsetRequest, peer: Peer) -> None:
        """Add keys to a transaction that will lose the node's own value, with all below them."""
        keys = [parse(name) for name in body.keys]
        await self._node.change(self._store.stage_unset, query.tx, keys)

    async def diff(self, query: OwnTransaction, body: None, peer: Peer) -> tuple[Change, ...]:
        """Return what would be different."""
        return (await self._node.read(self._store.preview, query.tx)).changed

    async def plan(self, query: OwnTransaction, body: None, peer: Peer) -> Plan:
        """Return what would be different, down to the files."""
        preview = await self._node.read(self._store.preview, query.tx)
        keys = tuple(change.key for change in preview.changed)
        request = ApplyRequest(action="plan", keys=keys, settings=preview.own)
        return Plan(changes=preview.changed, apply=await self._node.applier.ask(request))

    async def commit(self, query: CommitQuery, body: CommitRequest, peer: Peer) -> Committed:
        """Commit, apply, wait; without luck, and if that is wanted, go back."""
        work = partial(self._store.commit, query.tx, who=str(peer), message=body.message)
        return await self._take_effect(work, peer, back=query.on_failure == "rollback")

    async def rollback(self, query: NoParameters, body: RollbackRequest, peer: Peer) -> Committed:
        """Commit what was, apply, wait."""
        work = partial(self._store.rollback, body.to, who=str(peer))
        return await self._take_effect(work, peer, back=body.on_failure == "rollback")

    async def history(self, query: HistoryQuery, body: None, peer: Peer) -> list[Commit]:
        """Return commits without the settings themselves."""
        return await self._node.read(self._store.history, query.limit)

    async def commit_at(self, query: HistoryEntry, body: None, peer: Peer) -> Commit:
        """Return a commit without the settings themselves; 0 is the image's defaults."""
        return await self._node.read(self._store.commit_at, query.number)

    async def apply(self, query: NoParameters, body: ApplyKeys, peer: Peer) -> ApplyResult:
        """Apply again, as after a failure whose reason is gone."""
        keys = None if body.keys is None else full(body.keys)
        for key in keys or ():
            self._node.groups.require(parse(key))
        return await self._node.applier.ask(ApplyRequest(action="apply", keys=keys))

    async def applied(self, query: NoParameters, body: None, peer: Peer) -> ApplyResult:
        """Return the last result."""
        return self._node.applier.last()

    async def settings(self, query: SettingsQuery, body: None, peer: Peer) -> Settings:
        """Return what people may see of the settings."""
        shown = self._node.groups.redact(await self._node.read(self._store.live))
        prefix = query.prefix or ""
        return starting(shown, prefix if prefix.startswith("settings.") else f"settings.{prefix}")

    async def schema(self, query: NoParameters, body: None, peer: Peer) -> dict[str, object]:
        """Return what may be set on this node."""
        return self._node.groups.json_schema()

    async def _take_effect(self, work: partial[Commit], peer: Peer, *, back: bool) -> Committed:
        before, commit = await self._node.change(self._noting_the_newest, work)
        applied = await self._node.applier.ask(ApplyRequest(action="apply", keys=commit.keys))
        if applied.ok or not back or commit.number == before:
            return Committed(commit=commit, apply=applied)
        undone = await self._node.change(self._undo, commit, before, who=str(peer))
        if undone is None:
            log.error("commit %d is not rolled back: there is a newer one", commit.number)
            return Committed(commit=commit, apply=applied)
        again = await self._node.applier.ask(ApplyRequest(action="apply", keys=commit.keys))
        return Committed(commit=commit, apply=applied, rolled_back=True, reapplied=again)

    def _noting_the_newest(self, work: partial[Commit]) -> tuple[int, Commit]:
        """Return the number of the newest commit before some work, and the work's own."""
        return self._newest(), work()

    def _undo(self, commit: Commit, before: int, *, who: str) -> Commit | None:
        """Go back behind a commit, unless somebody has committed something after it."""
        if self._newest() != commit.number:
            return None
        message = f"commit {commit.number} could not be applied"
        return self._store.rollback(before, who=who, message=message)

    def _newest(self) -> int:
        found = self._store.history(1)
        return found[0].number if found else 0
