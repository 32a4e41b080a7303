"""What a container gets before its first process: namespaces, a root, its volumes.

Done by the privileged program; a record says what the container is to have.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from bulkhead.host.containers import filling, kernel, namespaces, roots, users
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Record
from bulkhead.model.errors import HostError


class Sandboxes(msgspec.Struct, frozen=True, kw_only=True):
    """Makes and removes them.

    Args:
        places: where they go.
        machine: the machine's mount namespace; None if it is the caller's.
    """

    places: Places
    machine: Path | None

    def make(self, record: Record) -> None:
        """Make what a container needs. Nothing of it may be there but its volumes.

        Raises:
            HostError: the kernel refused, or the record is wrong. Something may be left.
        """
        network = self.places.namespace(record.name)
        if record.layers is not None:
            roots.check(record.layers, self.places.snapshots)
        self._fill(record)
        if record.users is None:
            namespaces.make(network, machine=self.machine)
            return
        if record.layers is None or not users.is_first(record.users):
            raise HostError("its record does not say how to make its root", where=record.name)
        pin = self.places.users(record.name)
        namespaces.make_with_users(
            network, pin, first=record.users, count=users.COUNT, machine=self.machine
        )
        roots.make(
            self.places.root(record.name), record.layers,
            pin=pin, first=record.users, machine=self.machine,
        )  # fmt: skip

    def exists(self, record: Record) -> bool:
        """Tell whether a container has all of it."""
        found = namespaces.exists(self.places.namespace(record.name))
        if record.users is None:
            return found
        own = namespaces.exists(self.places.users(record.name))
        return found and own and roots.exists(self.places.root(record.name))

    def remove(self, name: str) -> None:
        """Remove what there is of it, but not the volumes.

        A namespace ends with its last process.

        Raises:
            HostError: the kernel refused.
        """
        root, pins = self.places.root(name), (self.places.users(name), self.places.namespace(name))

        def child() -> None:
            kernel.enter(self.machine, kernel.NEW_MOUNTS)
            for path in (root, *pins):
                kernel.unmount(path)
            for pin in pins:
                pin.unlink(missing_ok=True)
            for directory in (root, root.parent):
                with suppress(FileNotFoundError):
                    directory.rmdir()

        if any(path.exists() for path in (root.parent, *pins)):
            kernel.in_child(child, f"cannot remove the namespaces of {name!r}")

    def _fill(self, record: Record) -> None:
        filling.fill(
            record.request.volumes,
            record.layers,
            directory=self.places.volumes,
            staging=self.places.sandboxes,
            machine=self.machine,
        )
