"""The engine, on a machine whose containerd and network program say what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from bulkhead.host.containers import messages as m
from bulkhead.host.containers import records, users
from bulkhead.host.containers.containerd import Busy, Containerd, NotFound
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.given import Given
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Record
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
    """Others are listed, started and removed; it keeps its users and ports, and can be removed."""
    where = places(tmp_path)
    bad = records.path(where.records, "bad")
    bad.write_bytes(text % (users.FIRST + users.COUNT))
    records.save(where.records, record("web", 8080, first=users.FIRST, wanted=False))
    records.save(where.records, record("db", 5432, wanted=False))
    given = Given(address="10.88.0.2", ports=(Port(host=5432, container=80),))
    (where.networks / "bad.json").write_bytes(msgspec.json.encode(given))

    async def act(engine: Engine, machine: Machine) -> None:
        assert (await engine.start("web")).state == "running"
        assert [container.name for container in await engine.containers()] == ["db", "web"]
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
        HostError, match=r"bad\.json: .*\n  hint: remove container 'bad' with force"
    ):
        records.taken_users(tmp_path)
    (tmp_path / "bad.json").write_bytes(b'{"users":null,')
    assert records.taken_users(tmp_path) == set()
    (tmp_path / "bad.json").write_bytes(b'{"users":10485')
    with pytest.raises(HostError, match="cannot be read"):
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
