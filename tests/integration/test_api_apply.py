"""The API and the apply agent together, over their sockets: from a request to files and services."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.host.apply.__main__ import serve
from bulkhead.host.apply.agent import Agent
from bulkhead.host.apply.places import Places
from bulkhead.host.systemd import Systemd
from tests.support.api import Api
from tests.support.first_process import FakeUnit, FirstProcess, first_process

OWN = "/bulkhead/v1"
TIME, NETWORK = "systemd-timesyncd.service", "systemd-networkd.service"


class Machine:
    """A node's API, its apply agent and a first process."""

    def __init__(self, api: Api, systemd: FirstProcess) -> None:
        self.api = api
        self.systemd = systemd
        self.etc = api.directory / "etc"
        self.etc.mkdir()
        (api.directory / "image").mkdir()
        (api.directory / "image" / "ca-certificates.crt").write_bytes(b"authorities\n")
        places = Places(
            etc=self.etc, image=api.directory / "image", state=api.places.applied.parent,
            settings=api.places.settings, shipped=api.places.shipped, systemd=systemd.path,
            lockdown=api.directory / "lockdown", proc=api.directory / "proc",
        )  # fmt: skip
        self._agent = Agent(places, connect=lambda: Systemd(systemd.path))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(api.places.apply))
        self._listener.listen()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            serve(self._listener, self._agent, idle_s=0.05)

    def __enter__(self) -> Machine:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()

    def files(self) -> dict[str, bytes]:
        """Return all files of `/etc`."""
        found = (path for path in sorted(self.etc.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.etc)): path.read_bytes() for path in found}

    def json(self, request: str, body: object = None) -> dict[str, object]:
        """Return the answer to a request that succeeds."""
        answer = self.api.call(request, body)
        assert answer.status == 200, answer
        found = answer.json()
        assert isinstance(found, dict)
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Run a node on which nothing has been set."""
    with (
        Api(tmp_path) as api,
        first_process(tmp_path) as systemd,
        Machine(api, systemd) as made,
    ):
        for unit in (TIME, NETWORK):
            systemd.units[unit] = FakeUnit()
        yield made


def test_a_setting_takes_effect(machine: Machine) -> None:
    """Bottlerocket's two calls, and the file is there when the second one answers."""
    answer = machine.api.set({"motd": "hello"})
    applied = machine.json(f"GET {OWN}/apply")

    assert answer.json() == ["settings.motd"]
    assert (machine.etc / "motd").read_text() == "hello\n"
    assert (applied["ok"], applied["number"]) == (True, 1)


def test_a_plan_shows_files_and_services_and_touches_none(machine: Machine) -> None:
    """What the commit then does is what the plan had said."""
    machine.api.call("PATCH /settings?tx=t", {"ntp": {"time-servers": ["192.0.2.1"]}})
    plan = machine.json(f"POST {OWN}/plan?tx=t")
    untouched = sorted(machine.etc.rglob("*")), list(machine.systemd.calls)
    done = machine.json(f"POST {OWN}/commit?tx=t", {})

    planned, happened = plan["apply"], done["apply"]
    assert isinstance(planned, dict)
    assert isinstance(happened, dict)
    assert untouched == ([], [])
    assert {(s["name"], s["status"]) for s in planned["services"]} == {
        ("ntp", "planned"), ("network", "planned"),
    }  # fmt: skip
    assert {(s["name"], s["status"]) for s in happened["services"]} == {
        ("ntp", "done"), ("network", "done"),
    }  # fmt: skip
    assert [f["path"] for f in planned["files"]] == [f["path"] for f in happened["files"]]
    assert "192.0.2.1" in str(planned["files"])


def test_a_service_that_does_not_come_back_is_told_and_taken_back(machine: Machine) -> None:
    """The result names the unit; the settings and the file are those from before."""
    machine.api.set({"ntp": {"time-servers": ["192.0.2.1"]}})
    before = machine.files()
    unit = machine.systemd.units[TIME]
    machine.systemd.units[TIME] = FakeUnit(job="failed", after="failed", failing="exit-code")
    machine.api.call("PATCH /settings?tx=t", {"ntp": {"time-servers": ["192.0.2.2"]}})
    found = machine.json(f"POST {OWN}/commit?tx=t&on-failure=rollback", {})
    machine.systemd.units[TIME] = unit

    apply = found["apply"]
    assert isinstance(apply, dict)
    assert apply["ok"] is False
    failed = [(s["name"], s["error"]) for s in apply["services"] if s["status"] == "failed"]
    assert [name for name, _ in failed] == ["ntp"]
    assert TIME in failed[0][1]
    again = found["reapplied"]
    assert isinstance(again, dict)
    assert found["rolled_back"] is True
    assert (again["ok"], again["number"]) == (False, 3)  # it is still broken, and that is told
    assert machine.files() == before
    assert machine.json("GET /settings?prefix=ntp") == {"ntp": {"time-servers": ["192.0.2.1"]}}
    assert machine.json(f"POST {OWN}/apply", {"keys": ["settings.ntp"]})["ok"] is True


def test_unset_brings_the_images_file_back(machine: Machine) -> None:
    """Files that are there for the node's own values alone go away again."""
    machine.api.set({"motd": "hello", "ntp": {"time-servers": ["192.0.2.1"]}})
    machine.api.call(f"PATCH {OWN}/unset?tx=u", {"keys": ["settings.ntp", "settings.motd"]})
    machine.json(f"POST {OWN}/commit?tx=u", {})

    assert machine.files() == {"motd": b"Welcome to Bulkhead!\n"}
