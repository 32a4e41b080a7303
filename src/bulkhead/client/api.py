"""Typed calls of a node's API: Bottlerocket's endpoints and Bulkhead's own.

A call that cannot be carried out raises what `Connection` raises; `NothingPending`
and `Busy` are what the API itself adds.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from bulkhead.client.connection import Answer, Connection
from bulkhead.model.api import (
    PREFIX,
    SOCKET,
    ApiHealth,
    ApplyKeys,
    CommitRequest,
    Committed,
    KeyPairs,
    OnFailure,
    Plan,
    RollbackRequest,
    UnsetRequest,
)
from bulkhead.model.apply import ApplyResult
from bulkhead.model.channel import Channel
from bulkhead.model.errors import BulkheadError
from bulkhead.model.history import Change, Commit
from bulkhead.model.settings.keys import Settings
from bulkhead.model.updates import UpdateStatus

UNIT = "bulkhead-api.socket"
APPLY_S = 960.0
"""A commit waits until every service has come back; the API itself gives up after 900 s."""
_ALPHABET = string.ascii_letters + string.digits


class Api:
    """The API of one node.

    Args:
        where: the channel to the machine, or a Unix socket that leads to the API.
    """

    def __init__(self, where: Channel | Path = Path(SOCKET)) -> None:
        hint = f"is the node up, and the socket its API's? on the node it is {UNIT}'s"
        self.connection = Connection(where, hint=hint if isinstance(where, Path) else None)

    def health(self) -> ApiHealth:
        """Ask who answers."""
        return self.connection.call("GET", f"{PREFIX}/health", ApiHealth)

    def os(self) -> dict[str, str]:
        """Return which system runs."""
        return self.connection.call("GET", "/os", dict[str, str])

    def reboot(self) -> None:
        """Restart the machine; it does so after the answer."""
        self._do("POST", "/actions/reboot")

    def update_status(self) -> UpdateStatus:
        """Return the status of updates.

        Raises:
            Missing: nobody has looked for updates since the machine started.
            Busy: a command about updates is running.
        """
        return self.connection.call("GET", "/updates/status", UpdateStatus)

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send any request; return the answer, whatever its status."""
        return self.connection.send(method, path, body)

    # --- settings ---

    def settings(self, prefix: str | None = None) -> Settings:
        """Return the settings in force with secrets hidden; those that start with `prefix`."""
        path = _path(f"{PREFIX}/settings", prefix=prefix)
        return self.connection.call("GET", path, dict[str, object])

    def secret_settings(self, prefix: str | None = None) -> Settings:
        """Return the settings in force as they are, secrets too."""
        path = _path("/settings", prefix=prefix)
        return self.connection.call("GET", path, dict[str, object])

    def schema(self) -> dict[str, object]:
        """Return the JSON Schema of the node's settings."""
        return self.connection.call("GET", f"{PREFIX}/schema", dict[str, object])

    # --- transactions ---

    def transactions(self) -> list[str]:
        """Return the names of what is pending, sorted."""
        return sorted(self.connection.call("GET", "/tx/list", list[str]))

    def set(self, tx: str, settings: Mapping[str, object]) -> None:
        """Stage settings, without an outer `settings`.

        Raises:
            UserError: one of them is wrong; nothing is staged.
        """
        self._do("PATCH", _path("/settings", tx=tx), dict(settings))

    def set_pairs(self, tx: str, pairs: Sequence[str]) -> None:
        """Stage settings as `key=value`; the node knows which type is meant.

        Raises:
            UserError: one of them is wrong; nothing is staged.
        """
        body = KeyPairs(request_payload=tuple(pairs))
        self._do("PATCH", _path("/settings/keypair", tx=tx), body)

    def unset(self, tx: str, keys: Sequence[str]) -> None:
        """Stage the return of settings to the image's defaults.

        Raises:
            UserError: one is no setting; nothing is staged.
        """
        self._do("PATCH", _path(f"{PREFIX}/unset", tx=tx), UnsetRequest(keys=tuple(keys)))

    def discard(self, tx: str) -> list[str]:
        """Forget what is staged; return the names of its settings."""
        return sorted(self.connection.call("DELETE", _path("/tx", tx=tx), list[str]))

    def diff(self, tx: str) -> list[Change]:
        """Return what a transaction would change, secrets hidden."""
        return self.connection.call("GET", _path(f"{PREFIX}/diff", tx=tx), list[Change])

    def plan(self, tx: str) -> Plan:
        """Return what a transaction would change, with the files and services it would touch."""
        path = _path(f"{PREFIX}/plan", tx=tx)
        return self.connection.call("POST", path, Plan, timeout_s=APPLY_S, only_asks=True)

    def commit(
        self, tx: str, *, message: str | None = None, on_failure: OnFailure = "keep"
    ) -> Committed:
        """Make a transaction live and wait until it has taken effect, or has not.

        Raises:
            NothingPending: there is none of that name.
        """
        path = _path(f"{PREFIX}/commit", tx=tx, **{"on-failure": on_failure})
        body = CommitRequest(message=message)
        return self.connection.call("POST", path, Committed, body=body, timeout_s=APPLY_S)

    @contextmanager
    def transaction(self) -> Iterator[str]:
        """Yield the name of a new transaction; what is still pending in it at the end is dropped.

        Also when the program is interrupted: nobody else knows its name.
        """
        name = "ctl-" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
        try:
            yield name
        except BaseException:
            # The first error is the one to tell.
            with suppress(BulkheadError):
                self.discard(name)
            raise
        self.discard(name)

    # --- history and effect ---

    def history(self, limit: int = 20) -> list[Commit]:
        """Return commits, the newest first."""
        path = _path(f"{PREFIX}/history", limit=str(limit))
        return self.connection.call("GET", path, list[Commit])

    def commit_at(self, number: int) -> Commit:
        """Return one commit; 0 is the image's defaults.

        Raises:
            Missing: there is none, or it is too old.
        """
        return self.connection.call("GET", f"{PREFIX}/history/{number}", Commit)

    def rollback(self, to: int, *, on_failure: OnFailure = "keep") -> Committed:
        """Commit the settings of an older commit again, and wait until they have taken effect.

        Raises:
            Missing: there is none, or it is too old.
        """
        body = RollbackRequest(to=to, on_failure=on_failure)
        path = f"{PREFIX}/rollback"
        return self.connection.call("POST", path, Committed, body=body, timeout_s=APPLY_S)

    def apply(self, keys: Sequence[str] | None = None) -> ApplyResult:
        """Make live settings take effect again: all, or some."""
        body = ApplyKeys(keys=None if keys is None else tuple(keys))
        path = f"{PREFIX}/apply"
        return self.connection.call("POST", path, ApplyResult, body=body, timeout_s=APPLY_S)

    def applied(self) -> ApplyResult:
        """Return how it went the last time.

        Raises:
            Missing: nothing was applied since the machine started.
        """
        return self.connection.call("GET", f"{PREFIX}/apply", ApplyResult)

    def _do(self, method: str, path: str, body: object = None) -> None:
        raw = None if body is None else msgspec.json.encode(body)
        with self.connection.open(method, path, body=raw, timeout_s=120):
            pass


def _path(path: str, **query: str | None) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
