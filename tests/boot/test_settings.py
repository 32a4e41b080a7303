"""Settings of a booted machine: set, in force, still there after a restart and after a power cut.

One machine serves all tests here, in this order. It is asked on the channel
that a workstation uses. What is in force is told by a unit inside the machine
that watches it; the image is the probe variant, which takes such units.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import msgspec
import pytest

from bulkhead.client.connection import Connection
from bulkhead.machine.files import REPORT_PORT
from bulkhead.model.channel import Channel
from bulkhead.model.errors import BulkheadError, RemoteError
from bulkhead.model.history import Commit
from bulkhead.testing.vm import VM
from tests.support import images
from tests.support.node import CREDENTIALS, PORT, TOKEN
from tests.support.web import eventually, web

pytestmark = pytest.mark.timeout(900)

PROBE = Path(__file__).parent / "probe"
# The first event need not be waited for two minutes.
SOONER = "systemd.unit-dropin.bulkhead-metrics-first.timer~sooner"

# Says what is in force, again each time it changes.
WATCH = """\
import json, os, time
def text(path):
    try:
        return open(path).read().strip()
    except OSError:
        return ''
last = None
while True:
    now = [text('/run/etc/motd'), os.uname().nodename, text('/proc/sys/vm/swappiness')]
    if now != last:
        print(json.dumps(now), flush=True)
        last = now
    time.sleep(0.2)
"""
UNIT = f"""\
[Unit]
StartLimitIntervalSec=0
[Service]
# The port may not be there yet.
Restart=on-failure
RestartSec=1
RootDirectory=/usr/lib/bulkhead/agent
MountAPIVFS=yes
BindReadOnlyPaths=/etc:/run/etc
StandardOutput=file:/dev/virtio-ports/{REPORT_PORT}
ExecStart=/usr/bin/python3.13 -I -c "@CODE@"
"""

Tree = dict[str, object]


def unit() -> str:
    """Return the watching unit."""
    return UNIT.replace("@CODE@", WATCH.replace("\n", "\\n"))


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """Start the probe variant with the channel's secret."""
    image = images.build(tmp_path_factory.mktemp("probe"), str(PROBE))
    with VM(
        image.disk, spec=images.direct(image), disk_size=images.DISK_SIZE, forwards=(PORT,),
        credentials={**CREDENTIALS, SOONER: b"[Timer]\nOnActiveSec=2s\n"},
        units={"watch.service": unit()},
    ) as machine:  # fmt: skip
        machine.wait_until_ready()
        yield machine


class Node:
    """The machine's API, as a client of Bottlerocket's would use it."""

    def __init__(self, vm: VM, *, token: str | None = TOKEN) -> None:
        self.connection = Connection(Channel(host="127.0.0.1", port=vm.port(PORT), token=token))

    def send(self, method: str, path: str, body: object = None) -> bytes:
        """Make a request; return the answer."""
        raw = None if body is None else msgspec.json.encode(body)
        with self.connection.open(method, path, body=raw, timeout_s=120) as response:
            return response.read()

    def settings(self) -> Tree:
        """Return what is live."""
        return msgspec.json.decode(self.send("GET", "/settings"), type=Tree)

    def set(self, settings: Tree, *, tx: str = "default") -> list[str]:
        """Set, commit and apply; return the keys."""
        self.send("PATCH", f"/settings?tx={tx}", settings)
        answer = self.send("POST", f"/tx/commit_and_apply?tx={tx}")
        return msgspec.json.decode(answer, type=list[str])

    def history(self) -> list[Commit]:
        """Return all commits."""
        return msgspec.json.decode(
            self.send("GET", "/bulkhead/v1/history?limit=200"), type=list[Commit]
        )


@pytest.fixture
def node(vm: VM) -> Node:
    """Return the API of the machine."""
    return Node(vm)


def machine_says(vm: VM, motd: str, hostname: str, swappiness: str, *, after: int = 0) -> None:
    """Wait until these are in force."""
    line = json.dumps([motd, hostname, swappiness])
    vm.wait_for_report(f"^{re.escape(line)}$", after=after)


ONE: Tree = {
    "motd": "one",
    "network": {"hostname": "node-one"},
    "kernel": {"sysctl": {"vm.swappiness": "11"}},
}
TWO: Tree = {
    "motd": "two",
    "network": {"hostname": "node-two"},
    "kernel": {"sysctl": {"vm.swappiness": "12"}},
}


def test_nobody_sets_anything_without_the_secret(vm: VM) -> None:
    """Each request on the channel is refused without it and with a wrong one."""
    for token in (None, "", "0" * 64, TOKEN[:-1]):
        with pytest.raises(RemoteError):
            Node(vm, token=token).settings()


def test_settings_take_effect(vm: VM, node: Node) -> None:
    """A file, the host's name and a parameter of the kernel change on the running machine."""
    assert sorted(node.set(ONE)) == [
        'settings.kernel.sysctl."vm.swappiness"',
        "settings.motd",
        "settings.network.hostname",
    ]

    machine_says(vm, "one", "node-one", "11")
    node.set(TWO)
    machine_says(vm, "two", "node-two", "12")
    live = node.settings()
    assert {name: live[name] for name in TWO} == TWO


def test_a_rollback_takes_effect(vm: VM, node: Node) -> None:
    """All of an earlier commit is in force again, and the history says how it came about."""
    before = len(vm.report)
    node.send("POST", "/bulkhead/v1/rollback", {"to": 1})

    machine_says(vm, "one", "node-one", "11", after=before)
    newest, *older = node.history()
    assert (newest.number, newest.restores) == (3, 1)
    assert [(change.key, change.old, change.new) for change in newest.changed] == [
        ('settings.kernel.sysctl."vm.swappiness"', "12", "11"),
        ("settings.motd", "two", "one"),
        ("settings.network.hostname", "node-two", "node-one"),
    ]
    assert [commit.number for commit in older] == [2, 1]


def test_a_restart_keeps_the_settings_in_force(vm: VM, node: Node) -> None:
    """They are applied at the start; what was pending is gone, as in Bottlerocket."""
    node.send("PATCH", "/settings?tx=forgotten", {"motd": "never committed"})
    node.send("POST", "/actions/reboot")
    assert vm.wait_for_end(timeout_s=300) == 0

    vm.start()
    assert vm.failed_units() == 0

    machine_says(vm, "one", "node-one", "11")
    live = node.settings()
    assert {name: live[name] for name in ONE} == ONE
    assert node.send("GET", "/tx/list") == b"[]"
    assert [commit.number for commit in node.history()] == [3, 2, 1]


def test_a_power_cut_during_commits_leaves_a_committed_state(vm: VM, node: Node) -> None:
    """What was answered is there, nothing is half there, and the machine goes on from it."""
    answered: list[int] = []
    enough = threading.Event()

    def commit() -> None:
        try:
            for turn in range(10_000):
                name = f"turn-{turn}"
                node.send(
                    "PATCH", f"/settings?tx={name}", {"motd": name, "network": {"hostname": name}}
                )
                node.send("POST", f"/tx/commit?tx={name}")
                answered.append(turn)
                if len(answered) == 8:
                    enough.set()
        except BulkheadError:
            enough.set()

    writer = threading.Thread(target=commit)
    writer.start()
    assert enough.wait(300)
    vm.kill()
    writer.join()
    assert len(answered) >= 8
    vm.start()
    assert vm.failed_units() == 0

    live = node.settings()
    history = node.history()
    motd = str(live["motd"])
    turn = int(motd.removeprefix("turn-"))
    assert live["network"] == {"hostname": motd}
    # The one that was under way may have got through, without an answer.
    assert turn in (answered[-1], answered[-1] + 1)
    assert [commit.number for commit in history] == [*range(3 + turn + 1, 0, -1)]
    before = len(vm.report)
    node.set(TWO)
    machine_says(vm, "two", "node-two", "12", after=before)


def test_metrics_reach_the_server_of_the_settings(vm: VM, node: Node, tmp_path: Path) -> None:
    """By TLS, with an authority and a name of the settings."""
    with web(secure=tmp_path, names=("metrics.test",)) as server:
        authority = base64.b64encode((tmp_path / "certificate.pem").read_bytes()).decode()
        node.set({
            "network": {"hosts": [["10.0.2.2", ["metrics.test"]]]},
            "pki": {"own": {"data": authority, "trusted": True}},
            "metrics": {"send-metrics": True, "metrics-url": f"https://metrics.test:{server.port}/v1"},
        })  # fmt: skip
        eventually(lambda: len(server.requests) == 1, limit_s=120)
        sent = [dict(parse_qsl(line.split()[1].partition("?")[2])) for line in server.requests]
    assert [event["event"] for event in sent] == ["boot_success"]
    assert sent[0]["variant"] == "probe"
