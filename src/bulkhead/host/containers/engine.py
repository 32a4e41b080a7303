"""Everything that can be done with containers. The HTTP service only carries it.

Each operation leaves either what was asked for or what was there before.
containerd holds the truth about what runs; `records` holds what it has no
place for.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from weakref import WeakValueDictionary

import msgspec

from bulkhead.host.containers import (
    accounts,
    creating,
    images,
    ports,
    records,
    registries,
    stored_spec,
    transfer,
    users,
)
from bulkhead.host.containers import messages as m
from bulkhead.host.containers.containerd import (
    Busy,
    Containerd,
    Exists,
    NotFound,
)
from bulkhead.host.containers.given import read_given
from bulkhead.host.containers.network_client import attach, detach, wake
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Record
from bulkhead.lib import suggest
from bulkhead.model import reference
from bulkhead.model.containers import (
    Container,
    Ended,
    Image,
    Port,
    Restart,
    RunRequest,
    State,
    check_limits,
    is_name,
)
from bulkhead.model.errors import BulkheadError, HostError, UserError

log = logging.getLogger(__name__)

RESTART_STATUS = "containerd.io/restart.status"
RESTART_POLICY = "containerd.io/restart.policy"
RESTART_LOG = "containerd.io/restart.loguri"

_STATES: dict[int, State] = {1: "created", 2: "running", 3: "exited", 4: "paused", 5: "paused"}
_STOPPED = 3


class Engine:
    """Containers of one containerd namespace.

    Args:
        containerd: the connection.
        places: directories.
        runtime: program that the shim calls, `crun`.
        systemd: use scopes of systemd's; without it cgroupfs (for tests).
    """

    def __init__(
        self, containerd: Containerd, places: Places, *, runtime: str = "crun", systemd: bool = True
    ) -> None:
        self.containerd = containerd
        self.places = places
        self._maker = creating.Maker(containerd, places, runtime=runtime, systemd=systemd)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._starting: set[str] = set()

    def _alone(self, name: str) -> asyncio.Lock:
        """Return the lock of whoever changes a container; `stop` waits for its end without."""
        return self._locks.setdefault(name, asyncio.Lock())

    # --- images ---

    async def pull(
        self,
        image: str,
        *,
        report: transfer.Report,
        credentials: transfer.Credentials | None = None,
    ) -> str:
        """Fetch an image from a mirror or its registry, as the settings say; return its full name.

        Raises:
            UserError: there is none of that name, or it needs credentials.
        """
        name = reference.normalize(image)
        known = registries.load(self.places.settings)
        places = registries.sources(name, known, credentials=credentials)
        await registries.pull(self.containerd, name, places, report=report)
        return name

    async def import_archive(
        self, chunks: AsyncIterator[bytes], *, report: transfer.Report
    ) -> list[str]:
        """Store the images of an archive; return their names."""
        return await transfer.import_archive(self.containerd, chunks, report=report)

    async def list_images(self) -> list[Image]:
        """Return all images, sorted by name."""
        found = await self.containerd.images()
        return [
            await images.describe(self.containerd, image)
            for image in sorted(found, key=lambda image: image.name)
        ]

    async def remove_image(self, image: str) -> str:
        """Remove an image's name; containers made from it go on. Return the full name.

        Raises:
            NotFound: there is none.
        """
        name = reference.normalize(image)
        await self.containerd.remove_image(name)
        return name

    # --- containers ---

    async def run(self, request: RunRequest, *, report: transfer.Report) -> Container:
        """Make a container and start it.

        Raises:
            Exists: the name is taken.
            UserError: the request cannot be fulfilled: no image, a taken port, …
            HostError: the machine refused. Nothing of the container is left.
        """
        ports.check(request.ports)
        check_limits(request.limits)
        image = await self._image(request, report)
        name = request.name or _made_up_name(image.name)
        async with self._alone(name):
            return await self._run(name, request, image)

    async def _run(self, name: str, request: RunRequest, image: images.Unpacked) -> Container:
        record = Record(
            name=name, image=image.name, request=request, created=records.utc(time.time())
        )
        self._check_free(name)
        await self._release(record)
        # No `await` before it is saved: a range of users must not be given to two.
        record = msgspec.structs.replace(record, users=self._users(request))
        self._check_free(name)
        self._check_ports(record)
        records.save(self.places.records, record)
        # The programs that make sandboxes start while containerd prepares the container.
        waking = asyncio.create_task(wake(self.places.network, name))
        self._starting.add(name)
        try:
            record = await self._maker.create(record, image)
            await waking
            await self._start(record)
        except BaseException:  # a full disk and a cancelled request, too
            with suppress(BulkheadError, OSError):
                await asyncio.shield(self._erase(name))
            raise
        finally:
            self._starting.discard(name)
        return await self.inspect(name)

    async def _image(self, request: RunRequest, report: transfer.Report) -> images.Unpacked:
        name = reference.normalize(request.image)
        if request.pull != "always":
            try:
                return await images.resolve(self.containerd, name)
            except NotFound:
                if request.pull == "never":
                    raise NotFound(
                        f"there is no image {name!r} on this machine", hint="pull or import it"
                    ) from None
        await self.pull(name, report=report)
        return await images.resolve(self.containerd, name)

    def _users(self, request: RunRequest) -> int | None:
        if request.userns == "host":
            return None
        return users.choose(records.taken_users(self.places.records))

    def _check_free(self, name: str) -> None:
        if name in records.names(self.places.records):
            raise Exists(
                f"there is a container {name!r} already", hint="choose another name, or remove it"
            )

    def _check_ports(self, record: Record) -> None:
        for other, port in self._clashes(record):
            raise UserError(
                f"port {port.host}/{port.protocol} leads to container {other!r} already",
                hint="choose another port, or stop that container",
            )

    def _clashes(self, record: Record) -> Iterator[tuple[str, Port]]:
        """Yield the others that have one of a container's ports, each with the first of them."""
        wanted = record.request.ports
        for other in records.names(self.places.records) if wanted else ():
            theirs = self._ports(other) if other != record.name else ()
            if (port := ports.taken(wanted, theirs)) is not None:
                yield other, port

    async def _release(self, record: Record) -> None:
        """Take a container's ports from those that have ended by themselves for good."""
        for other, _ in list(self._clashes(record)):
            # Whoever is at work on it has it; nobody waits, so no two wait for each other.
            if not self._alone(other).locked():
                async with self._alone(other):
                    try:
                        await self._retire(other)
                    except BulkheadError as error:
                        log.warning("container %s keeps its ports: %s", other, error)

    async def _retire(self, name: str) -> None:
        record = self._record(name)
        task = await self._task(name)
        policy = record.request.restart.policy
        for_good = policy == "no" or (policy == "on-failure" and task and task.exit_status == 0)
        if for_good and (task is None or task.status == _STOPPED):
            await self._put_away(record, task)

    async def _put_away(self, record: Record, task: m.Process | None) -> int | None:
        """Remember how a container ended, and let go of its network; return its exit code."""
        name = record.name
        code = record.exit_code if task is None else task.exit_status
        if task is not None:
            # Whoever asks meanwhile, and whatever fails below: how it ended is known.
            self._save(record, wanted=record.wanted, exit_code=code)
            await self.containerd.delete_task(name)
        await detach(self.places.network, name)
        self._save(record, wanted=False, exit_code=code)
        return code

    def _ports(self, name: str) -> tuple[Port, ...]:
        """Return the ports that no other container can have."""
        try:
            record = records.load(self.places.records, name)
        except HostError as error:
            log.warning("%s", error)
            given = read_given(self.places, name)
            return given.ports if given else ()
        return record.request.ports if record is not None and record.wanted else ()

    async def _start(self, record: Record) -> None:
        name = record.name
        await attach(self.places.network, name)
        log = f"file://{self.places.log(name)}"
        mounts = await self.containerd.mounts(name) if record.users is None else []
        # containerd-shim-runc-v2 sends both streams to the file that `stdout` names.
        await self.containerd.create_task(
            m.CreateTaskRequest(container_id=name, rootfs=mounts, stdout=log, stderr=log)
        )
        try:
            await self.containerd.start(name)
        except BulkheadError:
            with suppress(BulkheadError):
                await self.containerd.delete_task(name)
            raise
        # Only now: containerd's restart monitor must not start what has not run yet.
        restart = _restart_labels(record.request.restart, log)
        await self.containerd.set_labels(name, creating.labels(record) | restart)

    async def start(self, name: str) -> Container:
        """Start a container that has ended or was stopped.

        Raises:
            NotFound: there is none.
            Busy: it runs.
        """
        async with self._alone(name):
            record = self._record(name)
            task = await self._task(name)
            if task is not None and task.status != _STOPPED:
                raise Busy(f"container {name!r} runs already")
            await self._release(record)
            # No `await` before it is saved: a port must not be given to two.
            self._check_ports(record)
            self._save(record, wanted=True, exit_code=None)
            self._starting.add(name)
            try:
                if task is not None:
                    await self.containerd.delete_task(name)
                await self._start(record)
            except BaseException:
                code = task.exit_status if task is not None else record.exit_code
                with suppress(BulkheadError, OSError):
                    await asyncio.shield(self._give_up(record, code))
                raise
            finally:
                self._starting.discard(name)
            return await self.inspect(name)

    async def _give_up(self, record: Record, code: int | None) -> None:
        """Leave a container that could not be started as it was before."""
        self._save(record, wanted=record.wanted, exit_code=code)
        with suppress(NotFound):
            if await self._task(record.name) is not None:
                await self._end(record.name, 0)
        if not record.wanted:
            await detach(self.places.network, record.name)

    def _save(self, record: Record, *, wanted: bool, exit_code: int | None) -> None:
        changed = msgspec.structs.replace(record, wanted=wanted, exit_code=exit_code)
        records.save(self.places.records, changed)

    async def stop(self, name: str, *, timeout_s: float) -> Ended:
        """Send SIGTERM, and SIGKILL to what still runs after `timeout_s`. It may be stopped already.

        A container stopped like this stays so, whatever its restart policy,
        until it is started: also after a reboot.

        Raises:
            NotFound: there is none.
        """
        async with self._alone(name):
            record = self._record(name)
            # Without its labels the restart monitor lets go of it.
            with suppress(NotFound):
                await self.containerd.set_labels(name, creating.labels(record))
        # This can take an hour, and nobody who wants to remove it shall wait for that.
        with suppress(NotFound):
            await self._quit(name, timeout_s)
        async with self._alone(name):
            now = self._record(name)
            if now.created != record.created:
                raise NotFound(f"container {name!r} was removed meanwhile")
            task = await self._task(name)
            if task is not None and task.status != _STOPPED:
                raise Busy(f"container {name!r} was started again meanwhile")
            code = await self._put_away(now, task)
        return Ended(name=name, exit_code=code)

    async def _end(self, name: str, timeout_s: float) -> int:
        await self._quit(name, timeout_s)
        return await self.containerd.delete_task(name)

    async def _quit(self, name: str, timeout_s: float) -> None:
        with suppress(NotFound):
            await self.containerd.kill(name, signal.SIGTERM)
        try:
            await self.containerd.wait(name, timeout_s=max(timeout_s, 0.001))
        except TimeoutError:
            # The first process takes all others of its process namespace with it.
            with suppress(NotFound):
                await self.containerd.kill(name, signal.SIGKILL)
            await self.containerd.wait(name, timeout_s=30)

    async def remove(self, name: str, *, force: bool) -> Ended:
        """Forget a container, with everything written in it, except volumes and the image.

        Raises:
            NotFound: there is none.
            Busy: it runs and `force` was not given.
        """
        async with self._alone(name):
            try:
                code = self._record(name).exit_code
            except HostError:
                if not force:
                    raise
                code = None  # it goes without its record
            task = await self._task(name)
            if task is not None and task.status != _STOPPED and not force:
                raise Busy(f"container {name!r} runs", hint="stop it first, or use force")
            code = task.exit_status if task and task.status == _STOPPED else code
            await self._erase(name)
            return Ended(name=name, exit_code=code)

    async def _erase(self, name: str) -> None:
        """Remove every trace of a container, however far its making came."""
        with suppress(NotFound):
            await self.containerd.set_labels(name, {})
        with suppress(NotFound):
            if await self._task(name) is not None:
                await self._end(name, 0)
        with suppress(NotFound):
            await self.containerd.delete_container(name)
        await detach(self.places.network, name)
        with suppress(NotFound):
            await self.containerd.remove_snapshot(name)
        shutil.rmtree(self.places.files(name), ignore_errors=True)
        self.places.log(name).unlink(missing_ok=True)
        records.forget(self.places.records, name)

    async def containers(self) -> list[Container]:
        """Return all containers, newest last; of one whose record cannot be read, what there is."""
        tasks = {task.container_id or task.id: task for task in await self.containerd.tasks()}
        found = [
            self._describe(record, tasks.get(record.name))
            if isinstance(record, Record)
            else Container(
                name=record.name,
                image="",
                state=_state(tasks.get(record.name)),
                created=record.written,
                unreadable=record.why,
            )
            for record in records.load_all(self.places.records)
        ]
        return sorted(found, key=lambda container: container.created)

    async def inspect(self, name: str) -> Container:
        """Return one container.

        Raises:
            NotFound: there is none.
        """
        self._record(name)
        task = await self._task(name)
        # Read now: how a process ended is written down before containerd forgets it.
        return self._describe(self._record(name), task)

    def _describe(self, record: Record, task: m.Process | None) -> Container:
        state = _state(task)
        if task is None and record.name in self._starting:
            state = "created"
        given = read_given(self.places, record.name)
        ended = task.exit_status if task and task.status == _STOPPED else record.exit_code
        return Container(
            name=record.name,
            image=record.image,
            state=state,
            exit_code=ended if state == "exited" else None,
            pid=task.pid if task and state == "running" else None,
            created=record.created,
            address=given.address if given else None,
            ports=record.request.ports,
            restart=record.request.restart,
            labels=record.request.labels,
            userns="host" if record.users is None else "own",
            first_user=record.users,
        )

    async def may_write(self, name: str) -> bool:
        """Tell whether a container's log may still grow: it runs, or will be started again.

        Raises:
            NotFound: there is none.
        """
        record = self._record(name)
        task = await self._task(name)
        if task is not None and task.status != _STOPPED:
            return True
        return record.wanted and record.request.restart.policy in ("always", "unless-stopped")

    async def identify(self, name: str, user: str | None) -> accounts.Identity:
        """Return whom `user` is in a container; by default, whom its first process runs as."""
        container = await self.containerd.container(name)
        if user is None:
            own = stored_spec.read((container.spec or m.Any()).value).user
            return accounts.Identity(uid=own.uid, gid=own.gid, groups=own.additional_gids)
        return creating.identify(user, await self.containerd.mounts(name))

    async def process_defaults(self, name: str) -> stored_spec.SpecProcess:
        """Return the stored process part of a container's specification."""
        container = await self.containerd.container(name)
        return stored_spec.read((container.spec or m.Any()).value)

    def _record(self, name: str) -> Record:
        record = records.load(self.places.records, name) if is_name(name) else None
        if record is None:
            known = records.names(self.places.records)
            raise NotFound(f"there is no container {name!r}", hint=suggest.hint(name, known))
        return record

    async def _task(self, name: str) -> m.Process | None:
        try:
            return await self.containerd.task(name)
        except NotFound:
            return None


def _state(task: m.Process | None) -> State:
    return _STATES.get(task.status, "unknown") if task else "exited"


def _restart_labels(restart: Restart, log: str) -> dict[str, str]:
    if restart.policy == "no":
        return {}
    policy = restart.policy + (f":{restart.attempts}" if restart.attempts else "")
    return {RESTART_STATUS: "running", RESTART_POLICY: policy, RESTART_LOG: log}


def _made_up_name(image: str) -> str:
    return f"{reference.short_name(image)[:40]}-{secrets.token_hex(3)}"
