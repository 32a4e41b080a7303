"""The whole of it: settings, facts, plan, execution, answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bulkhead.host.apply import gather, plan, state
from bulkhead.host.apply.execute import Connect, Outcome, execute
from bulkhead.host.apply.gather import Facts
from bulkhead.host.apply.places import Places
from bulkhead.host.apply.plan import Plan
from bulkhead.host.apply.state import State
from bulkhead.host.store.migrations import of_groups
from bulkhead.host.store.store import Store
from bulkhead.lib import groups
from bulkhead.model.apply import ApplyRequest, ApplyResult, FileChange
from bulkhead.model.errors import BulkheadError
from bulkhead.model.settings.keys import Key, Settings, merge, parse
from bulkhead.render import hostname, own, services, sysctl
from bulkhead.render.service import Service

log = logging.getLogger(__name__)


class Agent:
    """Makes a node's settings take effect.

    Args:
        places: where everything is.
        connect: opens a connection to the first process.
        more: services beside those of the image; for tests.
    """

    def __init__(self, places: Places, *, connect: Connect, more: Sequence[Service] = ()) -> None:
        self._places = places
        self._connect = connect
        self._defaults = groups.defaults(places.shipped)
        self._groups = groups.load(places.shipped)
        self._schemas = of_groups(groups.own(places.shipped))
        self._known = (*more, *own.shipped(places.shipped))

    def answer(self, request: ApplyRequest) -> ApplyResult:
        """Do what a request asks for. What fails is in the answer."""
        try:
            if request.action == "plan":
                return self._plan(request)
            with state.alone(self._places.state):
                return self._apply(request.keys, restore=request.on_failure == "restore")
        except BulkheadError as error:
            return self._failed(request, str(error))
        except OSError as error:
            return self._failed(request, f"the machine refused: {error}")

    def boot(self) -> ApplyResult:
        """Apply everything before services start; they read the files by themselves.

        A service that cannot be rendered keeps the image's files.
        """
        with state.alone(self._places.state):
            return self._apply(None, boot=True)

    def _plan(self, request: ApplyRequest) -> ApplyResult:
        number, live = self._live()
        if request.settings is not None:
            live = self._groups.check(merge(self._defaults, request.settings), complete=True)
        concerned = self._services(request.keys)
        facts = self._gather(live, concerned)
        planned = plan.plan(facts.wanted, facts.current)
        return ApplyResult(
            number=number,
            ok=True,
            files=self._shown(planned, live, diffs=True),
            services=tuple(map(plan.intended, planned.services)),
            notes=services.notes(live, concerned, self._unread(request.keys)),
            time=_now(),
        )

    def _apply(
        self, keys: tuple[str, ...] | None, *, boot: bool = False, restore: bool = False
    ) -> ApplyResult:
        number, live = self._live()
        concerned = self._services(keys)
        remembered = state.load(self._places.state)
        facts = self._gather(live, concerned, tolerant=boot)
        planned = plan.plan(facts.wanted, facts.current)
        # Remembered first: what is interrupted half-way is done again, and cleaned up, by the next run.
        state.save(self._places.state, _during(remembered, planned, facts))
        outcome = execute(planned, self._places, connect=self._connect, boot=boot, restore=restore)
        state.save(self._places.state, _after(remembered, planned, facts, outcome))
        results = (*facts.broken, *outcome.services)
        result = ApplyResult(
            number=number,
            ok=outcome.ok and not facts.broken,
            files=self._shown(planned, live, diffs=False),
            services=results,
            notes=services.notes(live, concerned, self._unread(keys)),
            restored=outcome.restored,
            time=_now(),
        )
        state.save_result(self._places.state, result)
        for failed in (r for r in results if r.status == "failed"):
            log.error("%s: %s", failed.name, failed.error)
        return result

    def _gather(
        self, live: Settings, concerned: Sequence[Service], *, tolerant: bool = False
    ) -> Facts:
        return gather.gather(
            live, concerned, state.load(self._places.state), self._places,
            defaults=self._defaults, tolerant=tolerant,
        )  # fmt: skip

    def _live(self) -> tuple[int, Settings]:
        # Only read: what is pending is the API's business.
        store = Store(
            self._places.settings, pending=self._places.state / "pending", groups=self._groups,
            defaults=self._defaults, schemas=self._schemas,
        )  # fmt: skip
        found = store.state()
        for condition in found.conditions:
            log.error("%s", condition.title)
        return found.stored.commit.number, found.live

    def _services(self, keys: tuple[str, ...] | None) -> tuple[Service, ...]:
        if keys is None:
            return tuple(self._known)
        found = services.affected([parse(key) for key in keys], self._known)
        # A name is a kernel parameter too, and the values of before are in that service's file.
        names = {service.name for service in found}
        if hostname.SERVICE.name in names:
            names.add(sysctl.SERVICE.name)
        return tuple(service for service in self._known if service.name in names)

    def _unread(self, keys: tuple[str, ...] | None) -> list[Key]:
        """Return the keys that no service reads; of those that were named."""
        return [key for key in map(parse, keys or ()) if not services.affected([key], self._known)]

    def _shown(self, planned: Plan, live: Settings, *, diffs: bool) -> tuple[FileChange, ...]:
        """Describe the changes; a difference with a secret in it is left out, whatever its file is."""
        found = plan.describe(planned, diffs=diffs)
        if not diffs:
            return found
        secrets = self._groups.secrets(live)
        return tuple(
            msgspec.structs.replace(change, diff=None)
            if change.diff and any(secret in change.diff for secret in secrets)
            else change
            for change in found
        )

    def _failed(self, request: ApplyRequest, error: str) -> ApplyResult:
        log.error("%s: %s", request.action, error)
        result = ApplyResult(ok=False, error=error, time=_now())
        if request.action == "apply":
            try:
                state.save_result(self._places.state, result)
            except OSError as failure:
                log.error("the result cannot be kept: %s", failure)  # noqa: TRY400 - said in words
        return result


def _during(old: State, planned: Plan, facts: Facts) -> State:
    """Return what to remember while the changes are made: all of them as done, and none as good."""
    written = {c.path: c.service for c in planned.changes if c.new is not None}
    failed = {*old.failed, *(service.name for service in planned.services)}
    return State(
        files={**old.files, **written}, failed=tuple(sorted(failed)), sysctl=dict(facts.before)
    )


def _after(old: State, planned: Plan, facts: Facts, outcome: Outcome) -> State:
    """Return what to remember afterwards."""
    if outcome.restored:
        return msgspec.structs.replace(old, sysctl=dict(facts.before))
    during = _during(old, planned, facts)
    gone = {change.path for change in planned.changes if change.new is None}
    failed = {r.name for r in (*facts.broken, *outcome.services) if r.status == "failed"}
    acted = {service.name for service in planned.services}
    return State(
        files={path: name for path, name in during.files.items() if path not in gone},
        failed=tuple(sorted(failed | (set(old.failed) - acted))),
        sysctl=during.sysctl,
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
