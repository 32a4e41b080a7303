"""Which container has a port: nobody twice, and nobody longer than there is use for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bulkhead.host.containers import messages as m
from bulkhead.host.containers import ports, records
from bulkhead.host.containers.engine import Engine
from bulkhead.model.containers import Port, Restart
from bulkhead.model.errors import UserError
from tests.unit.host.containers.test_engine import Machine, on_machine, places, record

_STOPPED = 3


def test_a_port_leads_to_one_place() -> None:
    """Asked for twice, the firewall would refuse it in its own words, or lead to either."""
    web = Port(host=8080, container=80)
    ports.check([web, msgspec.structs.replace(web, protocol="udp"), Port(host=81, container=80)])

    for other in (
        web,
        Port(host=8080, container=81),
        Port(host=8080, container=1, address="1.2.3.4"),
    ):
        with pytest.raises(UserError, match="port 8080/tcp is asked for twice"):
            ports.check([web, other])
    here, there = (Port(host=8080, container=80, address=a) for a in ("1.2.3.4", "1.2.3.5"))
    ports.check([here, there])
    with pytest.raises(UserError, match="port 7433/tcp is the machine's own"):
        ports.check([Port(host=7433, container=80)])


def test_a_container_that_has_ended_for_good_gives_its_port_back(tmp_path: Path) -> None:
    """With its exit code kept; one that will be started again has it still, and one at work too."""
    where = places(tmp_path)
    for name, policy in (("job", "no"), ("again", "always"), ("busy", "no")):
        made = record(name, {"job": 80, "again": 81, "busy": 82}[name])
        request = msgspec.structs.replace(
            made.request, restart=msgspec.convert({"policy": policy}, Restart)
        )
        records.save(where.records, msgspec.structs.replace(made, request=request))
    for name, port in (("x", 80), ("y", 81), ("z", 82)):
        records.save(where.records, record(name, port, wanted=False))

    async def act(engine: Engine, machine: Machine) -> None:
        for name in ("job", "again", "busy"):
            machine.running[name] = m.Process(id=name, status=_STOPPED, exit_status=7)

        assert (await engine.start("x")).state == "running"
        assert (await engine.inspect("job")).exit_code == 7
        assert "job" not in machine.running
        with pytest.raises(UserError, match="port 81/tcp leads to container 'again' already"):
            await engine.start("y")
        async with engine._alone("busy"):
            with pytest.raises(UserError, match="port 82/tcp leads to container 'busy' already"):
                await engine.start("z")
        assert (await engine.start("z")).state == "running"
        with pytest.raises(UserError, match="port 80/tcp leads to container 'x' already"):
            await engine.start("job")

    on_machine(where, act)


def test_how_a_container_ended_outlives_what_fails_then(tmp_path: Path) -> None:
    """The network does not let go of it: it keeps its port, and its exit code is known."""
    where = places(tmp_path)
    deaf = msgspec.structs.replace(where, network=tmp_path / "nobody.sock")
    records.save(where.records, record("job", 80))
    records.save(where.records, record("x", 80, wanted=False))

    async def act(engine: Engine, machine: Machine) -> None:
        machine.running["job"] = m.Process(id="job", status=_STOPPED, exit_status=7)
        broken = Engine(machine, deaf, systemd=False)

        with pytest.raises(UserError, match="port 80/tcp leads to container 'job' already"):
            await broken.start("x")
        assert (await broken.inspect("job")).exit_code == 7
        assert (await engine.start("x")).state == "running"
        assert (await engine.inspect("job")).exit_code == 7

    on_machine(where, act)


def test_a_container_that_is_being_started_has_not_ended(tmp_path: Path) -> None:
    """There is no process yet, which looks like one that is no more."""
    where = places(tmp_path)
    records.save(where.records, record("web", wanted=False))
    seen: list[str] = []

    async def act(engine: Engine, machine: Machine) -> None:
        async def slow(request: m.CreateTaskRequest) -> int:
            seen.extend([container.state for container in await engine.containers()])
            return await Machine.create_task(machine, request)

        machine.create_task = slow  # type: ignore[method-assign]
        seen.append((await engine.inspect("web")).state)
        await engine.start("web")
        seen.append((await engine.inspect("web")).state)

    on_machine(where, act)
    assert seen == ["exited", "created", "running"]
