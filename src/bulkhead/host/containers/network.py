"""The one privileged helper: gives containers their sandbox and network and takes them back.

    python3 -I -m bulkhead.host.containers.network          serve /run/bulkhead/network.sock
    python3 -I -m bulkhead.host.containers.network restore  at boot, before containerd starts

The service that talks to people has no capabilities; this program has those
that namespaces, mounts, interfaces and packet rules need, and listens only to it. A
request names a container and an action; everything else is in the container's
record. Started by its socket, gone a few seconds after the last request.
"""

from __future__ import annotations

import logging
import os
import re
import select
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkhead.host.containers import namespaces, nft, records
from bulkhead.host.containers.cni import Bridge
from bulkhead.host.containers.given import Given, read_given
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Record
from bulkhead.host.containers.sandboxes import Sandboxes
from bulkhead.lib.run import CommandFailed
from bulkhead.model.containers import is_name
from bulkhead.model.errors import Bug, BulkheadError, HostError, UserError

log = logging.getLogger(__name__)

MACHINE = Path("/proc/1/ns/mnt")
IDLE_S = 5.0
REQUEST_LIMIT = 4096


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the socket takes, one per connection."""

    action: str
    """`attach` or `detach`."""
    name: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What it gives back."""

    address: str | None = None
    error: str | None = None


class Network:
    """Attaches and detaches containers. Not for several threads."""

    def __init__(self, places: Places, *, machine: Path | None = MACHINE) -> None:
        self._places = places
        self._sandboxes = Sandboxes(places=places, machine=machine)
        self._bridge = Bridge(plugins=places.plugins, leases=places.networks / "leases")

    def attach(self, name: str) -> str:
        """Give a container its sandbox, address, ports and files; return the address.

        What it already has stays: two calls are as good as one.

        Raises:
            UserError: there is no such container.
            HostError: the machine refused; everything is as it was before.
        """
        record = self._record(name)
        given = self._given(name)
        if given is None or not self._sandboxes.exists(record):
            given = self._attach(record)
        write_files(self._places, record, given.address)
        return given.address

    def _attach(self, record: Record) -> Given:
        name, pin = record.name, self._places.namespace(record.name)
        left = (pin, self._places.users(name).parent, self._file(name))
        if any(path.exists() for path in left):
            self.detach(name)  # of an interrupted attempt
        try:
            self._sandboxes.make(record)
            address = self._bridge.attach(name, pin)
            return self._publish(record, address)
        except BulkheadError:
            self.detach(name)
            raise

    def _publish(self, record: Record, address: str) -> Given:
        given = Given(address=address, ports=record.request.ports)
        # Written down first: an interrupt must not leave a port that nobody takes back.
        self._save(record.name, given)
        try:
            nft.apply(nft.ruleset(self._bridge.subnet) + nft.publish(given.ports, address))
        except BulkheadError:
            # All or none: whatever the ports lead to now, it is not this container.
            self._save(record.name, Given(address=address))
            raise
        return given

    def detach(self, name: str) -> None:
        """Take back whatever a container has; it may be nothing.

        Raises:
            HostError: the machine refused.
        """
        pin = self._places.namespace(name)
        given = self._given(name)
        for command in nft.withdraw(given.ports if given else ()):
            with suppress(CommandFailed):
                nft.apply(command)
        # Without the namespace the plug-in still frees the address.
        self._bridge.detach(name, pin if namespaces.exists(pin) else None)
        self._sandboxes.remove(name)
        self._file(name).unlink(missing_ok=True)

    def restore(self) -> list[str]:
        """Give every container that should run its network again; return the names.

        One that fails does not keep the others from theirs.
        """
        done = []
        for name in records.names(self._places.records):
            try:
                record = records.load(self._places.records, name)
                if record is not None and record.wanted:
                    self.attach(name)
                    done.append(name)
            except BulkheadError:
                log.exception("container %s has no network", name)
        return done

    def _record(self, name: str) -> Record:
        record = records.load(self._places.records, name)
        if record is None:
            raise UserError(f"there is no container {name!r}")
        return record

    def _file(self, name: str) -> Path:
        return self._places.networks / f"{name}.json"

    def _given(self, name: str) -> Given | None:
        return read_given(self._places, name)

    def _save(self, name: str, given: Given) -> None:
        self._places.networks.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._file(name).write_bytes(msgspec.json.encode(given))


def write_files(places: Places, record: Record, address: str) -> None:
    """Write resolv.conf, hosts and hostname of a container.

    In place: these files are bound into it, a new inode would not be seen there.
    """
    directory = places.files(record.name)
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    hostname = record.request.hostname or record.name
    servers = record.request.dns or name_servers(places.resolvers)
    contents = {
        "hostname": f"{hostname}\n",
        "hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {hostname}\n",
        "resolv.conf": "".join(f"nameserver {server}\n" for server in servers),
    }
    # Early in a boot the machine has not asked for its name servers yet: those of before stay.
    if not servers and (directory / "resolv.conf").exists():
        del contents["resolv.conf"]
    for name, text in contents.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)


def name_servers(candidates: Sequence[Path]) -> tuple[str, ...]:
    """Return the machine's name servers, without those that only it can reach."""
    for path in candidates:
        try:
            text = path.read_text()
        except OSError:
            continue
        found = re.findall(r"^nameserver\s+(\S+)", text, flags=re.MULTILINE)
        usable = tuple(server for server in found if not server.startswith(("127.", "::1")))
        if usable:
            return usable
    return ()


# --- the program -------------------------------------------------------------


def serve(listener: socket.socket, network: Network, *, idle_s: float = IDLE_S) -> None:
    """Answer requests until nobody has asked for `idle_s` seconds."""
    while select.select([listener], [], [], idle_s)[0]:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            with suppress(OSError):
                connection.sendall(msgspec.json.encode(_answer(connection, network)) + b"\n")


def _answer(connection: socket.socket, network: Network) -> Answer:
    try:
        request = _read(connection)
        if request.action == "attach":
            return Answer(address=network.attach(request.name))
        if request.action == "detach":
            network.detach(request.name)
            return Answer()
        raise UserError(f"there is no action {request.action!r}")
    except (BulkheadError, OSError) as error:
        log.warning("%s", error)
        return Answer(error=str(error))


def _read(connection: socket.socket) -> Request:
    data = b""
    while not data.endswith(b"\n"):
        chunk = connection.recv(REQUEST_LIMIT)
        data += chunk
        if not chunk or len(data) > REQUEST_LIMIT:
            raise UserError("the request is not one line")
    try:
        request = msgspec.json.decode(data, type=Request)
    except msgspec.MsgspecError as error:
        raise UserError(f"the request cannot be read: {error}") from error
    # A name becomes a path: nothing but a name may pass.
    if not is_name(request.name):
        raise UserError("that is no name of a container")
    return request


def _listener() -> socket.socket:
    if os.environ.get("LISTEN_FDS") != "1" or os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise Bug("started without its socket")
    return socket.socket(fileno=3)


def main(argv: Sequence[str]) -> int:
    """Run one of the two modes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    network = Network(Places())
    try:
        if list(argv) == ["restore"]:
            log.info("restored: %s", " ".join(network.restore()) or "nothing")
        else:
            with _listener() as listener:
                serve(listener, network)
    except (HostError, Bug):
        log.exception("failed")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
