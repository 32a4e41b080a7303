"""What a container gets before its first process: pinned namespaces, and a root that is its own.

    python3 -I -m bulkhead.host.containers.sandboxes    serve sandboxes.sock

Mounting takes most of the machine's power; so this program is asked by the network
program alone, for a container by its name, has no network,
and can place mounts on the machine at two directories only. A record says
what the container is to have, and names nothing but snapshots of containerd's.

A namespace without a process stays if it is mounted somewhere; where containerd can see it, too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from bulkhead.host.containers import kernel, records, requests, roots, users
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Layers, Record
from bulkhead.host.containers.requests import Reply
from bulkhead.model.errors import BulkheadError, HostError


class Sandboxes(msgspec.Struct, frozen=True):
    """Makes and removes them."""

    places: Places

    def make(self, name: str) -> tuple[int, int]:
        """Make what a container needs, instead of what it may have had.

        Returns:
            Descriptors of its network namespace, and of a netlink socket that was opened there.

        Raises:
            UserError: there is no such container.
            HostError: the kernel refused, or the record is wrong. Nothing is left.
        """
        record = records.require(self.places.records, name)
        layers = self._layers(record)
        self.remove(name)
        try:
            return self._make(record, layers)
        except BulkheadError:
            self.remove(name)
            raise

    def remove(self, name: str) -> None:
        """Remove what there is of it. A namespace ends with its last process.

        Raises:
            HostError: it is still there.
        """
        root, pins = self.places.root(name), (self.places.users(name), self.places.namespace(name))
        try:
            for path in (root, *pins):
                kernel.unmount(path)
            for pin in pins:
                pin.unlink(missing_ok=True)
            for directory in (root, root.parent):
                with suppress(FileNotFoundError):
                    directory.rmdir()
        except OSError as error:
            raise HostError(
                f"cannot remove its namespaces: {error.strerror}", where=name
            ) from error

    def image(self, name: str) -> int:
        """Return the files of a container's image: a mount that cannot be written to.

        Raises:
            UserError: there is no such container.
            HostError: the kernel refused, or the record is wrong.
        """
        layers = self._layers(records.require(self.places.records, name))
        if layers is None:
            raise HostError("its record does not say where its image is", where=name)
        return roots.image(layers)

    def _layers(self, record: Record) -> Layers | None:
        if record.layers is not None:
            roots.check(record.layers, self.places.snapshots)
        own = record.users is not None
        if own and (record.layers is None or not users.is_first(record.users or 0)):
            raise HostError("its record does not say how to make its root", where=record.name)
        return record.layers

    def _make(self, record: Record, layers: Layers | None) -> tuple[int, int]:
        name = record.name
        own, network, control = requests.ask(self.places.making, "make", name, expected=3)
        try:
            if record.users is not None and layers is not None:
                _pin(own, self.places.users(name))
                roots.make(
                    self.places.root(name), layers,
                    owner=own, first=record.users, staging=self.places.staging,
                )  # fmt: skip
            _pin(network, self.places.namespace(name))
        except BulkheadError:
            os.close(network)
            os.close(control)
            raise
        finally:
            os.close(own)
        return network, control


def _pin(namespace: int, place: Path) -> None:
    """Keep a namespace at a path for as long as that is mounted."""
    try:
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        place.touch(mode=0o444)
        kernel.bind(Path(f"/proc/self/fd/{namespace}"), place)
    except OSError as error:
        raise HostError(
            f"cannot pin a namespace: {kernel.reason(error)}", where=str(place)
        ) from error


# --- the program -------------------------------------------------------------


def show_on_machine(directories: Sequence[Path], machine: int) -> None:
    """Let what is mounted below some directories from now on appear on the machine as well.

    systemd has made all mounts of this program slaves of the machine's. So it
    goes there once, before anybody has asked it for anything, and fetches mounts of
    these directories. Then it gives up the way there.

    Args:
        directories: the same paths on the machine and here.
        machine: descriptor of the machine's mount namespace; it is closed.

    Raises:
        HostError: the kernel refused.
    """
    here = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        kernel.enter(machine, kernel.NEW_MOUNTS)
        trees = [kernel.tree(directory) for directory in directories]
        kernel.enter(here, kernel.NEW_MOUNTS)
        for directory, tree in zip(directories, trees, strict=True):
            kernel.attach(tree, directory)
            os.close(tree)
        kernel.forget(kernel.SYS_CHROOT)  # nobody enters a mount namespace without it: setns(2)
    except OSError as error:
        raise HostError(f"cannot mount on the machine: {kernel.reason(error)}") from error
    finally:
        os.close(machine)
        os.close(here)


def main() -> int:
    """Serve until nobody asks."""
    places = Places()
    served = Sandboxes(places)

    def remove(name: str, _: Sequence[int]) -> Reply:
        served.remove(name)
        return Reply()

    return requests.run(
        {
            "make": lambda name, _: Reply(descriptors=served.make(name)),
            "remove": remove,
            "image": lambda name, _: Reply(descriptors=(served.image(name),)),
        },
        prepare=lambda given: show_on_machine(
            (places.namespaces, places.sandboxes), requests.take(given, "machine")
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
