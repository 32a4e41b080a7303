"""The engine, on a machine whose containerd and network program say what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from bulkhead.host.containers import creating, images, records, users
from bulkhead.host.containers import messages as m
from bulkhead.host.containers.containerd import Busy, Containerd, NotFound
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.given import Given
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Record
from bulkhead.host.containers.spec import ImageConfig
from bulkhead.model.containers import Port, Restart, RunRequest
from bulkhead.model.errors import HostError, UserError

T = TypeVar("T")
_RUNS, _STOPPED = 2, 3


class Machine(Containerd):
    """containerd's tasks, without containerd."""

    def __init__(self, place: Path) -> None:
        super().__init__(path=str(place / "no-containerd"))
        self.running: dict[str, m.Process] = {}
        self.ended = asyncio.Event()
        self.deaf = False
        """SIGTERM does nothing."""
        self.refuses = False
        """It makes no tasks."""
        self.asked: list[str] = []
        """Whom SIGTERM was sent to."""

    async def tasks(self) -> list[m.Process]:
        """Return what runs."""
        return list(self.running.values())

    async def task(self, name: str) -> m.Process:
        """Return one."""
        if name not in self.running:
            raise NotFound("no task")
        return self.running[name]

    async def create_task(self, request: m.CreateTaskRequest) -> int:
        """Make one, if that is wanted."""
        if self.refuses:
            raise HostError("the disk is full")
        self.running[request.container_id] = m.Process(id=request.container_id, status=_RUNS)
        return 1

    async def start(self, name: str, *, exec_id: str = "") -> int:
        """Do nothing."""
        return 1

    async def kill(self, name: str, signal: int, *, exec_id: str = "") -> None:
        """End one."""
        task = await self.task(name)
        self.asked += [name] if signal == 15 else []
        if signal == 9 or not self.deaf:
            self.running[name] = m.Process(id=task.id, status=_STOPPED, exit_status=signal)
            self.ended.set()

    async def wait(self, name: str, *, exec_id: str = "", timeout_s: float | None = None) -> int:
        """Wait for the end of one."""
        async with asyncio.timeout(timeout_s):
            while (await self.task(name)).status != _STOPPED:
                self.ended.clear()
                await self.ended.wait()
        return self.running[name].exit_status

    async def delete_task(self, name: str) -> int:
        """Forget one that has ended."""
        task = await self.task(name)
        if task.status != _STOPPED:
            raise Busy("it runs")
        return self.running.pop(name).exit_status

    async def set_labels(self, name: str, labels: dict[str, str]) -> None:
        """Do nothing."""

    async def mounts(self, name: str) -> list[m.Mount]:
        """Return nothing."""
        return []

    async def delete_container(self, name: str) -> None:
        """Do nothing."""

    async def remove_snapshot(self, name: str) -> None:
        """Do nothing."""


def record(name: str, *ports: int, first: int | None = None, wanted: bool = True) -> Record:
    """Make a record of a container that publishes some ports."""
    published = tuple(Port(host=port, container=80) for port in ports)
    return Record(
        name=name, image="x", request=RunRequest(image="x", ports=published),
        created="2026-01-01T00:00:00.000Z", users=first, wanted=wanted,
    )  # fmt: skip


def places(tmp_path: Path) -> Places:
    """Put everything below a directory of the test's."""
    made = Places(
        records=tmp_path / "records", networks=tmp_path / "networks", logs=tmp_path / "logs",
        network=tmp_path / "network.sock",
    )  # fmt: skip
    for directory in (made.records, made.networks, made.logs):
        directory.mkdir()
    return made


def on_machine(where: Places, act: Callable[[Engine, Machine], Coroutine[None, None, T]]) -> T:
    """Run something with an engine whose network program agrees to all."""

    async def run() -> T:
        machine = Machine(where.records)
        async with _network(where.network), machine:
            return await act(Engine(machine, where, systemd=False), machine)

    return asyncio.run(run())


@asynccontextmanager
async def _network(socket: Path) -> AsyncIterator[None]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"{}\n")
        writer.close()

    async with await asyncio.start_unix_server(answer, socket):
        yield


DAMAGED = {
    "a value of a newer version": b'{"name":"bad","request":{"restart":{"policy":"new"}},"users":%d}',
    "no UTF-8": b'{"name":"\xff","users":%d}',
    "too deep": b'{"users":%d,"x":' + b"[" * 100_000,
    "cut off": b'{"name":"bad","users":%d,',
    "of another container": b'{"name":"other","image":"x","request":{"image":"x"},"created":"","users":%d}',
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_in_nobodys_way(tmp_path: Path, text: bytes) -> None:
    """It is listed with what is known; it keeps its users and ports, and can be removed."""
    where = places(tmp_path)
    bad = records.path(where.records, "bad")
    bad.write_bytes(text % (users.FIRST + users.COUNT))
    records.save(where.records, record("web", 8080, first=users.FIRST, wanted=False))
    records.save(where.records, record("db", 5432, wanted=False))
    given = Given(address="10.88.0.2", ports=(Port(host=5432, container=80),))
    (where.networks / "bad.json").write_bytes(msgspec.json.encode(given))

    async def act(engine: Engine, machine: Machine) -> None:
        assert (await engine.start("web")).state == "running"
        listed = {container.name: container for container in await engine.containers()}
        assert list(listed) == ["db", "web", "bad"]
        assert (listed["bad"].state, listed["bad"].created[:2]) == ("exited", "20")
        assert "hint: remove container 'bad' with force" in str(listed["bad"].unreadable)
        with pytest.raises(UserError, match="port 5432/tcp leads to container 'bad' already"):
            await engine.start("db")
        with pytest.raises(HostError, match=r"bad\.json: "):
            await engine.remove("bad", force=False)
        assert records.taken_users(where.records) == {
            users.FIRST, users.FIRST + users.COUNT,
        }  # fmt: skip
        await engine.remove("bad", force=True)

    on_machine(where, act)
    assert records.names(where.records) == ["db", "web"]


def test_users_that_nobody_knows_are_given_to_nobody(tmp_path: Path) -> None:
    """A new container could have those of one whose record is lost."""
    (tmp_path / "bad.json").write_bytes(b"")
    (tmp_path / "no name.json").write_bytes(b"")  # not the record of any

    with pytest.raises(
        HostError, match=r"bad\.json: does not tell .*\n  hint: remove container 'bad' with"
    ):
        records.taken_users(tmp_path)
    (tmp_path / "bad.json").write_bytes(b'{"users":null,')
    assert records.taken_users(tmp_path) == set()
    (tmp_path / "bad.json").write_bytes(b'{"users":10485')
    with pytest.raises(HostError, match="does not tell the users"):
        records.taken_users(tmp_path)


def test_a_record_of_a_newer_version_is_read(tmp_path: Path) -> None:
    """After a rollback: what is unknown is ignored, in every part of a request too."""
    request = RunRequest(image="x", ports=(Port(host=1, container=2),), restart=Restart())
    known = msgspec.structs.replace(record("web"), request=request)
    fields = msgspec.to_builtins(known)
    for part in (fields, fields["request"], *fields["request"]["ports"]):
        part["new"] = 1
    for name in ("limits", "restart"):
        fields["request"][name]["new"] = {"deep": 1}
    records.path(tmp_path, "web").write_bytes(msgspec.json.encode(fields))

    assert records.load(tmp_path, "web") == known


async def started(engine: Engine, machine: Machine) -> None:
    """Start `web`, which does not end when it is asked to."""
    machine.deaf = True
    await engine.start("web")


async def until(condition: Callable[[], bool]) -> None:
    """Let others go on until something is so."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def test_a_removed_container_does_not_come_back_when_it_is_stopped(tmp_path: Path) -> None:
    """Its removal waits for no stop, however patient that is; the stop is told of it."""
    where = places(tmp_path)
    records.save(where.records, record("web", wanted=False))

    async def act(engine: Engine, machine: Machine) -> None:
        await started(engine, machine)
        stopping = asyncio.create_task(engine.stop("web", timeout_s=3600))
        await until(lambda: machine.asked == ["web"])
        async with asyncio.timeout(10):
            await engine.remove("web", force=True)
            with pytest.raises(NotFound, match="there is no container 'web'"):
                await stopping

    on_machine(where, act)
    assert list(where.records.iterdir()) == []


def test_a_stop_leaves_a_new_container_of_that_name_alone(tmp_path: Path) -> None:
    """What it was told to stop is no more."""
    where = places(tmp_path)
    records.save(where.records, record("web", wanted=False))
    new = msgspec.structs.replace(record("web"), created="2026-01-01T00:00:01.000Z")

    async def act(engine: Engine, machine: Machine) -> None:
        await started(engine, machine)
        stopping = asyncio.create_task(engine.stop("web", timeout_s=3600))
        await until(lambda: machine.asked == ["web"])
        records.save(where.records, new)
        await machine.kill("web", 9)
        with pytest.raises(NotFound, match="container 'web' was removed meanwhile"):
            await stopping

    on_machine(where, act)
    assert records.load(where.records, "web") == new


def test_an_impatient_stop_ends_a_patient_one(tmp_path: Path) -> None:
    """Neither waits for the other, and both tell how it ended."""
    where = places(tmp_path)
    records.save(where.records, record("web", wanted=False))

    async def act(engine: Engine, machine: Machine) -> list[int | None]:
        await started(engine, machine)
        async with asyncio.timeout(10):
            ends = await asyncio.gather(
                engine.stop("web", timeout_s=3600), engine.stop("web", timeout_s=0)
            )
        return [end.exit_code for end in ends]

    assert on_machine(where, act) == [9, 9]
    found = records.load(where.records, "web")
    assert found == msgspec.structs.replace(record("web"), wanted=False, exit_code=9)


def test_a_container_that_cannot_start_keeps_no_port(tmp_path: Path) -> None:
    """It is as it was before: another one may have its port."""
    where = places(tmp_path)
    stopped = msgspec.structs.replace(record("web", 8080, wanted=False), exit_code=7)
    records.save(where.records, stopped)
    records.save(where.records, record("other", 8080, wanted=False))

    async def act(engine: Engine, machine: Machine) -> None:
        machine.refuses = True
        with pytest.raises(HostError, match="the disk is full"):
            await engine.start("web")
        machine.refuses = False
        await engine.start("other")

    on_machine(where, act)
    assert records.load(where.records, "web") == stopped


def test_a_container_is_not_removed_while_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes when it is whole: nothing of it is left."""
    where = places(tmp_path)
    making, go_on = asyncio.Event(), asyncio.Event()

    async def resolve(containerd: Containerd, name: str) -> images.Unpacked:
        return images.Unpacked(name=name, digest="", config=ImageConfig(), snapshot="")

    async def create(maker: creating.Maker, made: Record, image: images.Unpacked) -> Record:
        making.set()
        await go_on.wait()
        records.save(where.records, made)
        return made

    monkeypatch.setattr(images, "resolve", resolve)
    monkeypatch.setattr(creating.Maker, "create", create)

    async def act(engine: Engine, machine: Machine) -> None:
        request = RunRequest(image="x", name="web", userns="host")
        running = asyncio.create_task(engine.run(request, report=lambda progress: None))
        await until(making.is_set)
        removing = asyncio.create_task(engine.remove("web", force=True))
        for _ in range(10):
            await asyncio.sleep(0)
        assert records.names(where.records) == ["web"]
        go_on.set()
        assert (await running).state == "running"
        await removing
        assert machine.running == {}

    on_machine(where, act)
    assert list(where.records.iterdir()) == []
