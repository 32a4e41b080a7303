"""Which system runs and what is done with it as a whole: restart, updates, reports, disks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from bulkhead.host.api.endpoint import Endpoint, of
from bulkhead.host.api.errors import Unsupported
from bulkhead.host.api.node import Node
from bulkhead.host.api.settings import NOTHING, given
from bulkhead.host.serving import Peer
from bulkhead.model.api import FormatQuery, NoQuery, Prefix, ReportInfo, ReportQuery
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.updates import Command, UpdateStatus

_COMMANDS = {
    "refresh-updates": (Command.REFRESH, "Look for updates, in the background."),
    "prepare-update": (Command.PREPARE, "Write the chosen update to the other slot, in the background."),
    "activate-update": (Command.ACTIVATE, "Let the next start use the other slot, in the background."),
    "deactivate-update": (Command.DEACTIVATE, "Let the next start use this slot again, in the background."),
}  # fmt: skip


class SystemService:
    """Endpoints of the system as a whole."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def endpoints(self) -> list[Endpoint]:
        """Return the table."""
        storage = "/actions/ephemeral-storage"
        return [
            of("GET", "/os", self.os, query=Prefix, body=NOTHING, answer=dict[str, str],
               errors=(400,), summary="Which system runs."),
            of("POST", "/actions/reboot", self.reboot, query=NoQuery, body=NOTHING,
               summary="Restart the machine."),
            of("POST", "/actions/lockdown", self.lockdown, query=NoQuery, body=NOTHING, errors=(507,),
               summary="Refuse changes of settings until the next start of the machine."),
            *(of("POST", f"/actions/{name}", self._starter(command), query=NoQuery, body=NOTHING,
                 errors=(404, 409, 423), summary=summary)
              for name, (command, summary) in _COMMANDS.items()),
            of("GET", "/updates/status", self.update_status, query=NoQuery, body=NOTHING,
               answer=UpdateStatus, errors=(404, 423), summary="The status of updates."),
            of("GET", "/report", self.reports, query=NoQuery, body=NOTHING, answer=list[ReportInfo],
               summary="Reports that can be asked for."),
            of("GET", "/report/cis", self.cis, query=ReportQuery, body=NOTHING, answer=str,
               errors=(400, 422), summary="Benchmarks of the Center for Internet Security. Not yet."),
            of("GET", "/report/fips", self.fips, query=ReportQuery, body=NOTHING, answer=str,
               errors=(422,), summary="Whether cryptography is as FIPS 140 wants it. Not yet."),
            of("POST", f"{storage}/init", self.storage, query=NoQuery, body=NOTHING, errors=(422,),
               summary="Make a file system on the machine's ephemeral disks. Not yet."),
            of("POST", f"{storage}/bind", self.storage, query=NoQuery, body=NOTHING, errors=(422,),
               summary="Keep directories on the ephemeral disks. Not yet."),
            of("GET", f"{storage}/list-disks", self.list_storage, query=FormatQuery, body=NOTHING,
               answer=str, errors=(400, 422), summary="The ephemeral disks. Not yet."),
            of("GET", f"{storage}/list-dirs", self.list_storage, query=FormatQuery, body=NOTHING,
               answer=str, errors=(400, 422), summary="Directories that can be kept there. Not yet."),
            of("POST", "/actions/network/configure", self.network, query=NoQuery, body=NOTHING,
               errors=(422,), summary="Bottlerocket's net.toml; here `settings.network` says it."),
        ]  # fmt: skip

    async def os(self, query: Prefix, body: None, peer: Peer) -> dict[str, str]:
        """Return which system runs: what starts with `prefix`, with or without `os.` in front."""
        found: dict[str, str] = msgspec.to_builtins(self._node.os)
        if query.prefix is None:
            return found
        prefix = given("prefix", query.prefix).removeprefix("os.")
        return {name: value for name, value in found.items() if name.startswith(prefix)}

    async def reboot(self, query: NoQuery, body: None, peer: Peer) -> None:
        """Ask for a restart. What runs is stopped in order, this program too."""
        path = self._node.places.reboot
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except OSError as error:
            raise HostError(f"cannot restart the machine: {error}", where=str(path)) from error
        writer.close()  # it stays in the socket's queue until systemd has seen it

    async def lockdown(self, query: NoQuery, body: None, peer: Peer) -> None:
        """Refuse changes of settings from now on."""
        self._node.lock_down()

    def _starter(self, command: Command) -> Callable[[NoQuery, None, Peer], Awaitable[None]]:
        async def start(query: NoQuery, body: None, peer: Peer) -> None:
            self._node.updates.start(command)

        return start

    async def update_status(self, query: NoQuery, body: None, peer: Peer) -> UpdateStatus:
        """Return the status of updates."""
        return self._node.updates.status()

    async def reports(self, query: NoQuery, body: None, peer: Peer) -> list[ReportInfo]:
        """Return which reports there are."""
        return []

    async def cis(self, query: ReportQuery, body: None, peer: Peer) -> str:
        """Refuse."""
        kind = given("type", query.type)
        raise Unsupported(f"this system has no {kind[:40]!r} CIS report yet")

    async def fips(self, query: ReportQuery, body: None, peer: Peer) -> str:
        """Refuse."""
        raise Unsupported("this system has no FIPS report yet")

    async def storage(self, query: NoQuery, body: None, peer: Peer) -> None:
        """Refuse."""
        raise Unsupported("this system does not set up ephemeral storage yet")

    async def list_storage(self, query: FormatQuery, body: None, peer: Peer) -> str:
        """Refuse."""
        if query.format not in (None, "text", "json"):
            raise UserError("unsupported format", hint="text or json")
        raise Unsupported("this system does not set up ephemeral storage yet")

    async def network(self, query: NoQuery, body: None, peer: Peer) -> None:
        """Refuse."""
        raise Unsupported(
            "this system has no net.toml", hint="the network is in settings.network; set it there"
        )
