"""Gives containers their networks, and has the rest of their sandboxes made.

    python3 -I -m bulkhead.host.containers.network          serve network.sock
    python3 -I -m bulkhead.host.containers.network restore  at boot, before containerd starts

The service that talks to people has no capabilities; this program can
configure networks, and that is all. Namespaces, mounts and new volumes are made by two other programs,
which listen only to this one. A request names a container and an action;
everything else is in the container's record.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkhead.host.containers import nft, records, requests
from bulkhead.host.containers.bridge import Bridge, Inside
from bulkhead.host.containers.given import Given, read_given
from bulkhead.host.containers.places import Places, is_mounted
from bulkhead.host.containers.records import Record
from bulkhead.host.containers.requests import Reply
from bulkhead.lib import atomicfile
from bulkhead.lib.run import CommandFailed
from bulkhead.model.errors import BulkheadError, HostError

log = logging.getLogger(__name__)

# It follows no link, and does not wait where a lease is on the file (fcntl(2)).
_IN_PLACE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Network:
    """Attaches and detaches containers. Not for several threads."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._bridge = Bridge()

    def attach(self, name: str) -> str:
        """Give a container its sandbox, address, ports and files; return the address.

        What it already has stays: two calls are as good as one.

        Raises:
            UserError: there is no such container.
            HostError: the machine refused; everything is as it was before.
        """
        record = records.require(self._places.records, name)
        given = read_given(self._places, name)
        # It is written last and removed first.
        if given is None or not is_mounted(self._places.namespace(name)):
            given = self._attach(record)
        write_files(self._places, record, given.address)
        return given.address

    def _attach(self, record: Record) -> Given:
        name = record.name
        self._withdraw(name)  # of an interrupted attempt
        try:
            self._fill(record)
            address = self._connect(name)
            return self._publish(record, address)
        except BulkheadError:
            self.detach(name)
            raise

    def _fill(self, record: Record) -> None:
        """Have new volumes made, from the files of the image."""
        if not records.new_volumes(record, self._places.volumes):
            return
        image: tuple[int, ...] = ()
        if record.layers is not None:
            image = requests.ask(self._places.sandbox, "image", record.name, expected=1)
        try:
            requests.ask(self._places.filling, "fill", record.name, descriptors=image)
        finally:
            for descriptor in image:
                os.close(descriptor)

    def _connect(self, name: str) -> str:
        namespace, control = requests.ask(self._places.sandbox, "make", name, expected=2)
        try:
            with socket.socket(fileno=control) as inside:
                address = self._choose()
                self._bridge.attach(name, address, Inside(namespace=namespace, control=inside))
        finally:
            os.close(namespace)
        return address

    def _choose(self) -> str:
        """Return an address that no container has, and remember it."""
        self._places.networks.mkdir(mode=0o755, parents=True, exist_ok=True)
        names = records.names(self._places.networks)
        given = (read_given(self._places, name) for name in names)
        taken = {each.address for each in given if each is not None}
        memory = self._places.networks / "last"
        last = memory.read_text() if memory.exists() else None
        address = self._bridge.choose(taken, last=last)
        atomicfile.write(memory, address.encode(), mode=0o644)
        return address

    def _publish(self, record: Record, address: str) -> Given:
        given = Given(address=address, ports=record.request.ports)
        # Written down first: an interrupt must not leave a port that nobody takes back.
        self._save(record.name, given)
        try:
            nft.apply(nft.ruleset(str(self._bridge.subnet)) + nft.publish(given.ports, address))
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
        self._withdraw(name)
        requests.ask(self._places.sandbox, "remove", name)

    def _withdraw(self, name: str) -> None:
        """Take ports, interface and address back."""
        given = read_given(self._places, name)
        for command in nft.withdraw(given.ports if given else ()):
            with suppress(CommandFailed):
                nft.apply(command)
        self._bridge.detach(name)
        self._file(name).unlink(missing_ok=True)

    def restore(self) -> tuple[list[str], list[str]]:
        """Give every container that should run its network again.

        One that fails does not keep the others from theirs.

        Returns:
            The names of those that have it, and of those that have not.
        """
        done, failed = [], []
        for name in records.names(self._places.records):
            try:
                record = records.load(self._places.records, name)
                if record is not None and record.wanted:
                    self.attach(name)
                    done.append(name)
            except (BulkheadError, OSError):
                log.exception("container %s has no network", name)
                failed.append(name)
        return done, failed

    def _file(self, name: str) -> Path:
        return self._places.networks / f"{name}.json"

    def _save(self, name: str, given: Given) -> None:
        self._file(name).write_bytes(msgspec.json.encode(given))


def write_files(places: Places, record: Record, address: str) -> None:
    """Write resolv.conf, hosts and hostname of a container.

    Raises:
        HostError: the machine refused.
    """
    directory = places.files(record.name)
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
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, text in contents.items():
            _write(directory / name, text.encode())
    except OSError as error:
        raise HostError(
            f"cannot write the files of a container: {error.strerror}", where=str(directory)
        ) from error


def _write(path: Path, data: bytes) -> None:
    """Write a file that is bound into a container: in place, a new one would not be seen there.

    The container's root may have given it to somebody else or have taken the right to write from
    all, and this program is not above that (CAP_DAC_OVERRIDE). Then it is replaced, which the
    container sees when it starts.
    """
    try:
        descriptor = os.open(path, _IN_PLACE, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.truncate()
            file.write(data)
    except OSError:
        atomicfile.write(path, data, mode=0o644)


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


def main(argv: Sequence[str]) -> int:
    """Run one of the two modes."""
    network = Network(Places())
    if list(argv) == ["restore"]:
        return _restore(network)

    def detach(name: str, _: Sequence[int]) -> Reply:
        network.detach(name)
        return Reply()

    return requests.run(
        {
            "wake": lambda *_: Reply(),
            "attach": lambda name, _: Reply(address=network.attach(name)),
            "detach": detach,
        }
    )


def _restore(network: Network) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    done, failed = network.restore()
    log.info("restored: %s", " ".join(done) or "nothing")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
