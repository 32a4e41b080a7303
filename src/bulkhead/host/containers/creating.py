"""Making a container: its snapshot, its specification, and what containerd stores of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bulkhead.host.containers import accounts, images, rootfs, spec, users, volumes
from bulkhead.host.containers import messages as m
from bulkhead.host.containers import records as kept
from bulkhead.host.containers.accounts import Identity
from bulkhead.host.containers.containerd import SNAPSHOTTER, Containerd, wrap
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Record
from bulkhead.lib.decoding import decode_json
from bulkhead.model.errors import HostError
from bulkhead.model.runtime_defaults import DEFAULTS, RuntimeDefaults

RUNTIME = "io.containerd.runc.v2"
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
SNAPSHOT_LABEL = f"containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"


class Maker:
    """Makes containers; the arguments are the engine's."""

    def __init__(
        self, containerd: Containerd, places: Places, *, runtime: str, systemd: bool
    ) -> None:
        self._containerd = containerd
        self._places = places
        self._runtime = runtime
        self._systemd = systemd

    async def create(self, record: Record, image: images.Unpacked) -> Record:
        """Make a container that does not run yet; return its record with what was found out.

        Raises:
            UserError: the request does not fit the image.
            HostError: the machine refused. Something may be left.
        """
        name = record.name
        # The lease keeps the new snapshot from being collected as garbage until the
        # container refers to it.
        async with self._containerd.lease() as lease:
            await self._containerd.prepare(name, parent=image.snapshot, lease=lease)
            mounts = await self._containerd.mounts(name)
            record = msgspec.structs.replace(record, layers=rootfs.overlay(mounts))
            kept.save(self._places.records, record)
            wanted = record.request.user
            identity = identify(image.config.user if wanted is None else wanted, mounts)
            if record.users is not None:
                users.check(identity)
            await self._containerd.create_container(
                m.Container(
                    id=name,
                    image=image.name,
                    labels=labels(record),
                    runtime=m.Runtime(name=RUNTIME, options=self._options(record, identity)),
                    spec=m.Any(type_url=SPEC_TYPE, value=self._spec(record, image, identity)),
                    # What is named here, containerd mounts itself, at each start.
                    snapshotter=SNAPSHOTTER if record.users is None else "",
                    snapshot_key=name if record.users is None else "",
                )
            )
        return record

    def _spec(self, record: Record, image: images.Unpacked, identity: Identity) -> bytes:
        name, own = record.name, None
        if record.users is not None:
            own = spec.Own(
                pin=self._places.users(name),
                root=self._places.root(name),
                first=record.users,
                count=users.COUNT,
            )
        document = spec.build(
            record.request,
            image.config,
            name=name,
            identity=identity,
            binds=volumes.together(
                volumes.system_binds(name, self._places),
                volumes.binds(record.request.volumes, self._places),
            ),
            network=self._places.namespace(name),
            own=own,
            defaults=load_defaults(self._places.settings),
            systemd=self._systemd,
        )
        return msgspec.json.encode(document)

    def _options(self, record: Record, identity: Identity) -> m.Any:
        # The pipes of its output belong to the container's user, who may then open
        # /dev/stdout by its name.
        first = record.users or 0
        return wrap(
            m.RuncOptions(
                binary_name=self._runtime,
                systemd_cgroup=self._systemd,
                io_uid=first + identity.uid,
                io_gid=first + identity.gid,
            )
        )


def load_defaults(folder: Path) -> RuntimeDefaults:
    """Read what the settings say of every container; nothing if they do not.

    Raises:
        HostError: the file cannot be read.
    """
    path = folder / DEFAULTS
    try:
        return decode_json(path.read_bytes(), RuntimeDefaults)
    except FileNotFoundError:
        return RuntimeDefaults()
    except (OSError, msgspec.MsgspecError) as error:
        raise HostError(f"cannot be read: {error}", where=str(path)) from error


def labels(record: Record) -> dict[str, str]:
    """Return what keeps a snapshot that containerd does not mount from being collected."""
    return {} if record.users is None else {SNAPSHOT_LABEL: record.name}


def identify(user: str, mounts: Sequence[m.Mount]) -> Identity:
    """Return whom a name or number means in a snapshot.

    Raises:
        UserError: nobody.
    """
    roots = rootfs.layers(mounts)
    return accounts.identify(user, lambda path: rootfs.read(roots, path, limit=accounts.LIMIT))
