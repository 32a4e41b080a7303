"""A machine with a store, the program that applies settings, and units that run."""

from __future__ import annotations

import msgspec

from bulkhead.host.apply.agent import Agent
from bulkhead.host.apply.places import Places
from bulkhead.host.store.store import Store
from bulkhead.host.systemd import Systemd
from bulkhead.model.apply import ApplyRequest, ApplyResult
from bulkhead.model.settings.groups import GENERAL, Groups
from bulkhead.model.settings.keys import Settings, parse
from bulkhead.render import services
from bulkhead.render.service import Service
from tests.support.first_process import FakeUnit, FirstProcess

APPLY = ApplyRequest(action="apply")
PLAN = ApplyRequest(action="plan")
TIME = "systemd-timesyncd.service"
NAMES = "systemd-resolved.service"
NETWORK = "systemd-networkd.service"
UNITS = (TIME, NAMES, NETWORK, "containerd.service", "systemd-sysctl.service",
         "systemd-modules-load.service", "nftables.service", "bulkhead-firewall.service",
         "bulkhead-parameters@now.service", "bulkhead-hugepages@now.service")  # fmt: skip
DEFAULTS: Settings = {"motd": "the image's"}


class Node:
    """A machine with a store, an agent and units that run."""

    def __init__(self, places: Places, systemd: FirstProcess) -> None:
        self.places = places
        self.systemd = systemd
        for name in UNITS:
            systemd.units[name] = FakeUnit()
        (places.shipped / "defaults.json").write_bytes(msgspec.json.encode(DEFAULTS))
        (places.shipped / "groups.json").write_bytes(msgspec.json.encode({"groups": GENERAL}))
        for file in services.render(DEFAULTS):
            self.write(
                file.path, (places.image / file.base).read_bytes() if file.base else file.data
            )
        self.store = Store(
            places.settings, pending=places.state / "pending", groups=Groups(GENERAL),
            defaults=DEFAULTS,
        )  # fmt: skip

    def write(self, path: str, data: bytes) -> None:
        """Put a file there."""
        target = self.places.etc / path.removeprefix("/etc/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o644)

    def read(self, path: str) -> str:
        """Return a file's text."""
        return (self.places.etc / path.removeprefix("/etc/")).read_text()

    def exists(self, path: str) -> bool:
        """Tell whether a file is there."""
        return (self.places.etc / path.removeprefix("/etc/")).exists()

    def set(self, settings: Settings) -> int:
        """Commit settings; return the commit's number."""
        self.store.stage("t", settings)
        return self.store.commit("t", who="test").number

    def unset(self, key: str) -> int:
        """Commit that a setting is unset."""
        self.store.stage_unset("t", [parse(key)])
        return self.store.commit("t", who="test").number

    def agent(self, *more: Service) -> Agent:
        """Return a new run of the program, with more services than it has."""
        return Agent(self.places, connect=lambda: Systemd(self.places.systemd), more=more)

    def apply(self, request: ApplyRequest = APPLY) -> ApplyResult:
        """Ask a new run of the program; calls of units count from here."""
        self.systemd.calls.clear()
        return self.agent().answer(request)

    def tree(self) -> dict[str, tuple[bytes, int]]:
        """Return all files of the machine with their modes."""
        return {
            str(path.relative_to(self.places.etc)): (path.read_bytes(), path.stat().st_mode)
            for path in sorted(self.places.etc.rglob("*"))
            if path.is_file()
        }


def statuses(result: ApplyResult) -> dict[str, str]:
    """Return how each service went."""
    return {service.name: service.status for service in result.services}
