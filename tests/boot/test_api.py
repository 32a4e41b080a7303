"""The API of a booted machine: who gets in, that it comes and goes, and that it can restart the machine."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.machine.files import REPORT_PORT
from bulkhead.testing.vm import VM
from tests.support import images
from tests.support.node import PORT, TOKEN

pytestmark = pytest.mark.timeout(900)

PROBE = Path(__file__).parent / "probe"
GUEST = repository_root() / "tests" / "data" / "api_guest.py"
USERS = {
    "root": "",
    "api": "User=nobody\nGroup=nogroup\nSupplementaryGroups=api\n",
    "other": "User=nobody\nGroup=nogroup\n",
}
# The port takes one writer at a time; who comes second tries again.
INSIDE = """[Unit]
After=sockets.target multi-user.target
StartLimitIntervalSec=0
[Service]
Type=oneshot
Restart=on-failure
RestartSec=500ms
ExecStart=/usr/bin/python3.13 -I /run/credentials/{unit}/guest.py {name}
LoadCredential=guest.py:/run/credentials/@system/guest.py
StandardOutput=file:/dev/virtio-ports/{port}
RootDirectory=/usr/lib/bulkhead/agent
BindPaths=/run:/run/host
{user}"""
# Every second: the service's state, while nobody asks for anything.
WATCH = f"""[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=file:/dev/virtio-ports/{REPORT_PORT}
ExecStart=systemctl show bulkhead-api.service bulkhead-apply.service --value --property=ActiveState
"""
TIMER = """[Timer]
OnActiveSec=1
OnUnitInactiveSec=1
AccuracySec=100ms
Unit=watch.service
"""


class Guest:
    """The machine's API, as the workstation reaches it."""

    def __init__(self, vm: VM) -> None:
        self.vm = vm

    def call(
        self, request: str, body: object = None, *, token: str | None = TOKEN
    ) -> tuple[int, object]:
        """Send a request; return the status, and the body as JSON or text."""
        method, _, path = request.partition(" ")
        connection = http.client.HTTPConnection("127.0.0.1", self.vm.port(PORT), timeout=120)
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection.request(
                method, path, body=None if body is None else json.dumps(body), headers=headers
            )
            response = connection.getresponse()
            raw = response.read().decode()
        finally:
            connection.close()
        return response.status, json.loads(raw) if raw[:1] in ("{", "[") else raw


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """Start the probe variant with the channel's secret."""
    image = images.build(tmp_path_factory.mktemp("probe"), str(PROBE))
    units = {
        f"{name}.service": INSIDE.format(
            name=name, unit=f"{name}.service", user=user, port=REPORT_PORT
        )
        for name, user in USERS.items()
    }
    with VM(
        image.disk, spec=images.direct(image), disk_size=images.DISK_SIZE, forwards=(PORT,),
        units={**units, "watch.timer": TIMER},
        credentials={
            "bulkhead.channel-token": TOKEN.encode(), "guest.py": GUEST.read_bytes(),
            "systemd.extra-unit.watch.service": WATCH.encode(),
        },
    ) as vm:  # fmt: skip
        vm.wait_until_ready()
        yield Guest(vm)


def reported(guest: Guest, count: int) -> list[dict[str, str]]:
    """Wait for lines of JSON in what the machine reports."""
    end = time.monotonic() + 120
    while True:
        lines = [x for x in guest.vm.report.splitlines() if x.startswith("{") and x.endswith("}")]
        if len(lines) >= count or time.monotonic() > end:
            return [json.loads(line) for line in lines]
        time.sleep(0.2)


def test_the_workstation_needs_the_secret(guest: Guest) -> None:
    """Over TCP nothing is told without it, and everything with it."""
    refused = [guest.call("GET /os", token=token) for token in (None, "", TOKEN[:-1], TOKEN + "0")]
    status, told = guest.call("GET /os")

    assert refused == [(401, "the token is missing or wrong")] * 4
    assert status == 200
    assert isinstance(told, dict)
    assert (told["variant_id"], told["arch"]) == ("probe", "x86_64")
    assert re.fullmatch("[0-9a-f]{12}", told["build_id"])


def test_the_unix_socket_is_for_root_and_the_group_api(guest: Guest) -> None:
    """Mode and group are Bottlerocket's; what works behind the API is for the API alone."""
    found = {line.pop("who"): line for line in reported(guest, len(USERS))}
    ok, no = "HTTP/1.1 200 OK", "PermissionError"
    apply, reboot = "bulkhead-apply/apply.sock", "bulkhead-reboot/reboot.sock"

    assert found == {
        "root": {"mode": "660 0:274", "api.sock": ok, apply: "connected"},
        "api": {"mode": "660 0:274", "api.sock": ok, apply: no, reboot: no},
        "other": {"mode": "660 0:274", "api.sock": no, apply: no, reboot: no},
    }


def test_everything_that_can_be_read_is_answered(guest: Guest) -> None:
    """With the image's own Python and libraries, without docstrings: no 5xx, and the document."""
    document = json.loads((repository_root() / "docs/reference/openapi.json").read_text())
    paths = [path for path, methods in document["paths"].items() if "get" in methods]
    statuses = {path: guest.call(f"GET {path.replace('{number}', '0')}")[0] for path in paths}
    _, served = guest.call("GET /bulkhead/v1/openapi.json")

    assert {path: status for path, status in statuses.items() if status >= 500} == {}
    assert statuses["/"] == statuses["/services"] == statuses["/bulkhead/v1/schema"] == 200
    assert isinstance(served, dict)
    assert served["paths"].keys() == document["paths"].keys()


def test_a_change_takes_effect_and_is_remembered(guest: Guest) -> None:
    """From the workstation to the apply agent and back, with the channel as who did it."""
    guest.call("PATCH /settings?tx=t", {"motd": "hello"})
    status, done = guest.call("POST /bulkhead/v1/commit?tx=t", {"message": "from a test"})
    _, history = guest.call("GET /bulkhead/v1/history")

    assert status == 200
    assert isinstance(done, dict)
    assert done["apply"]["ok"] is True, done
    assert [change["path"] for change in done["apply"]["files"]] == ["/etc/motd"]
    assert isinstance(history, list)
    assert [(h["number"], h["who"], h["message"]) for h in history] == [
        (1, "channel", "from a test")
    ]


def test_it_is_gone_when_nobody_asks_and_back_when_somebody_does(guest: Guest) -> None:
    """Ten seconds after the last request no process is left, nor of the apply agent."""
    guest.call("GET /os")
    seen, end = len(guest.vm.report), time.monotonic() + 15
    states: list[str] = []
    # Two words each second: one for each service.
    while states[-2:] != ["inactive", "inactive"] and time.monotonic() < end:
        time.sleep(0.5)
        states = guest.vm.report[seen:].split()
    status, settings = guest.call("GET /settings?prefix=motd")

    assert "active" in states
    assert states[-2:] == ["inactive", "inactive"], states
    assert (status, settings) == (200, {"motd": "hello"})


def test_it_can_restart_the_machine(guest: Guest) -> None:
    """204, and then the machine ends; QEMU was told not to start it again."""
    assert guest.call("POST /actions/reboot") == (204, "")
    assert guest.vm.wait_for_end(timeout_s=120) == 0
