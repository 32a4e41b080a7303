"""Settings and transactions, as in Bottlerocket."""

from __future__ import annotations

from collections.abc import Iterable

from bulkhead.host.api.endpoint import Endpoint, of
from bulkhead.host.api.node import Node
from bulkhead.host.serving import Peer
from bulkhead.model.api import (
    KeyPairs,
    Keys,
    NoQuery,
    PendingWithMetadata,
    Select,
    Transaction,
)
from bulkhead.model.apply import ApplyRequest
from bulkhead.model.errors import UserError
from bulkhead.model.history import Commit
from bulkhead.model.settings.keys import Settings, flatten, format, parse, unflatten

NOTHING = type(None)


def given(name: str, value: str | None) -> str:
    """Return a parameter that must be there.

    Raises:
        UserError: it is missing or empty.
    """
    if value is None:
        raise UserError(f"the parameter '{name}' is missing")
    if not value:
        raise UserError(f"the parameter '{name}' is empty")
    return value


def listed(name: str, value: str | None) -> list[str]:
    """Return the parts of a parameter with commas in it, which must be there."""
    return [given(name, part) for part in given(name, value).split(",")]


def full(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of settings in full, each in its one form.

    Raises:
        UserError: one cannot be a setting's name.
    """
    return tuple(format(parse(name)) for name in names)


def starting(settings: Settings, prefix: str) -> Settings:
    """Return the settings whose full name starts with `prefix`, wherever that ends."""
    leaves = flatten(settings).items()
    return unflatten({key: value for key, value in leaves if format(key).startswith(prefix)})


class SettingsService:
    """Endpoints below `/settings` and `/tx`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._store = node.store

    def endpoints(self) -> list[Endpoint]:
        """Return the table."""
        tree = dict[str, object]
        names = list[str]
        return [
            of("GET", "/settings", self.read, query=Select, body=NOTHING, answer=tree, errors=(400,),
               summary="Settings in force, without an outer `settings`."),
            of("PATCH", "/settings", self.set, query=Transaction, body=tree, errors=(400, 403, 507),
               summary="Set values in a pending transaction."),
            of("PATCH", "/settings/keypair", self.set_pairs, query=Transaction, body=KeyPairs,
               errors=(400, 403, 507), summary="Set values in a pending transaction, as `key=value`."),
            of("GET", "/tx", self.pending, query=Transaction, body=NOTHING, answer=tree, errors=(400,),
               summary="What a transaction will set; an unknown one is empty."),
            of("GET", "/v2/tx", self.pending_v2, query=Transaction, body=NOTHING,
               answer=PendingWithMetadata, errors=(400,), summary="The same, with metadata."),
            of("DELETE", "/tx", self.delete, query=Transaction, body=NOTHING, answer=names,
               errors=(400, 403), summary="Forget a transaction; answers its settings' names."),
            of("GET", "/tx/list", self.transactions, query=NoQuery, body=NOTHING, answer=names,
               summary="Names of the pending transactions."),
            of("POST", "/tx/commit", self.commit, query=Transaction, body=NOTHING, answer=names,
               errors=(400, 403, 422, 507),
               summary="Make a transaction live; answers its settings' names."),
            of("POST", "/tx/apply", self.apply, query=Keys, body=NOTHING, errors=(400,),
               summary="Make live settings take effect: all, or those in `keys`."),
            of("POST", "/tx/commit_and_apply", self.commit_and_apply, query=Transaction, body=NOTHING,
               answer=names, errors=(400, 403, 422, 507),
               summary="Make a transaction live, and make its settings take effect."),
        ]  # fmt: skip

    async def read(self, query: Select, body: None, peer: Peer) -> Settings:
        """`keys` are full names of values; unknown and unset ones are passed over."""
        live = await self._node.read(self._store.live)
        if query.keys is not None:
            # Without `settings.` in front it is, to Bottlerocket, the name of something else.
            asked = [
                k for k in listed("keys", query.keys) if full([k]) and k.startswith("settings.")
            ]
            wanted = {parse(name) for name in asked}
            return unflatten({key: v for key, v in flatten(live).items() if key in wanted})
        if query.prefix is not None:
            prefix = given("prefix", query.prefix)
            full_prefix = prefix if prefix.startswith("settings.") else f"settings.{prefix}"
            return starting(live, full_prefix)
        return live

    async def set(self, query: Transaction, body: Settings, peer: Peer) -> None:
        """All or nothing: one wrong value, and the transaction stays as it was."""
        await self._node.change(self._store.stage, query.tx, body)

    async def set_pairs(self, query: Transaction, body: KeyPairs, peer: Peer) -> None:
        """Read what is after the first `=` as what the setting is: `1` may be a number or text."""
        leaves = {}
        for pair in body.request_payload:
            name, equals, text = pair.partition("=")
            if not equals:
                raise UserError(f"{pair[:80]!r} has no '='", hint="write settings as key=value")
            key = parse(name)
            leaves[key] = self._node.groups.guess(key, text)
        await self._node.change(self._store.stage, query.tx, unflatten(leaves))

    async def pending(self, query: Transaction, body: None, peer: Peer) -> Settings:
        """Return what a transaction will set."""
        return await self._node.read(self._store.pending, query.tx)

    async def pending_v2(self, query: Transaction, body: None, peer: Peer) -> PendingWithMetadata:
        """Return what a transaction will set, beside the metadata it has not."""
        return PendingWithMetadata(settings=await self._node.read(self._store.pending, query.tx))

    async def delete(self, query: Transaction, body: None, peer: Peer) -> list[str]:
        """Forget a transaction."""
        return [format(key) for key in await self._node.change(self._store.delete, query.tx)]

    async def transactions(self, query: NoQuery, body: None, peer: Peer) -> list[str]:
        """Return the names of what is pending."""
        return await self._node.read(self._store.transactions)

    async def commit(self, query: Transaction, body: None, peer: Peer) -> list[str]:
        """Make a transaction live; its services go on with what they have."""
        return list((await self._commit(query, peer)).keys)

    async def apply(self, query: Keys, body: None, peer: Peer) -> None:
        """Make settings take effect; what fails is in the journal and in `/bulkhead/v1/apply`."""
        keys = None if query.keys is None else full(listed("keys", query.keys))
        await self._node.applier.ask(ApplyRequest(action="apply", keys=keys))

    async def commit_and_apply(self, query: Transaction, body: None, peer: Peer) -> list[str]:
        """Make a transaction live and make it take effect."""
        commit = await self._commit(query, peer)
        await self._node.applier.ask(ApplyRequest(action="apply", keys=commit.keys))
        return list(commit.keys)

    async def _commit(self, query: Transaction, peer: Peer) -> Commit:
        return await self._node.change(self._store.commit, query.tx, who=str(peer))
