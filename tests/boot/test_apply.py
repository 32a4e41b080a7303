"""Settings really take effect: set through the API of a running machine, and at its next start."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.machine.files import REPORT_PORT
from bulkhead.model.apply import ApplyResult
from bulkhead.testing.vm import VM
from tests.support import images

pytestmark = pytest.mark.timeout(1200)

PROBE = Path(__file__).parent / "probe"
GUEST = repository_root() / "tests" / "data" / "apply_guest.py"
BUNDLE = tomllib.loads((repository_root() / "tests/data/render/pki.toml").read_text())["pki"][
    "ours"
]
CERTIFICATE = "".join(
    re.findall(
        r"-----BEGIN.*-----END CERTIFICATE-----\n",
        base64.b64decode(BUNDLE["data"]).decode(),
        re.DOTALL,
    )
)

SETTINGS: dict[str, object] = {
    "motd": "told by settings",
    "network": {
        "hostname": "node-7",
        "hosts": [["192.0.2.10", ["db.example.com", "db"]]],
        "https-proxy": "http://proxy.example.com:3128",
        "interfaces": {
            "LINK": {"dhcp4": True},
            "lan5": {
                "addresses": ["192.0.2.7/24"], "required": False, "vlan": {"id": 5, "link": "LINK"},
                "routes": [{"to": "198.51.100.0/24", "via": "192.0.2.1"}],
            },
            "pair": {"addresses": ["203.0.113.7/24"], "required": False,
                     "bond": {"mode": "active-backup", "members": ["none0"]}},
        },
    },
    "dns": {"name-servers": ["192.0.2.53"], "search-list": ["example.com"]},
    "ntp": {"time-servers": ["192.0.2.123"], "options": ["iburst", "minpoll 4", "maxpoll 6"]},
    "kernel": {
        "lockdown": "confidentiality",
        "sysctl": {"vm.swappiness": "10"},
        "modules": {"dummy": {"allowed": False}, "tun": {"autoload": True}},
    },
    "firewall": {"inbound": {"web": {"protocol": "tcp", "ports": [80, "8000-8100"]}}},
    "pki": {"ours": BUNDLE},
    "container-runtime": {"max-concurrent-downloads": 2},
}  # fmt: skip

PROGRAMS = {
    "nft": "nft list table inet bulkhead",
    "modprobe": "modprobe dummy",
    "network": "networkctl --json=short --no-pager status lan5 pair",
    "time": "timedatectl show-timesync --property=SystemNTPServers --property=FallbackNTPServers "
    "--property=PollIntervalMinUSec --property=PollIntervalMaxUSec",
    "names": "resolvectl --no-pager dns",
    "failed": "systemctl list-units --failed --no-legend --plain --no-pager",
    "boot": "systemctl show bulkhead-apply-boot.service --property=Result "
    "--property=ConditionResult --property=ExecMainStartTimestampMonotonic "
    "--property=ExecMainExitTimestampMonotonic --property=CPUUsageNSec --property=MemoryPeak",
    "journal": "journalctl -b -u bulkhead-apply.service -u bulkhead-apply-boot.service -u bulkhead-api.service "
    "--output=cat --no-pager",
}


def unit(*commands: str, then: str = "", extra: str = "") -> str:
    """Return a unit that reports what commands say, and what comes after it."""
    after = f"OnSuccess={then}\nOnFailure={then}\n" if then else ""
    lines = "".join(f"ExecStart=-{command}\n" for command in commands)
    return (
        f"[Unit]\nDefaultDependencies=no\n{after}[Service]\nType=oneshot\n{extra}"
        f"StandardOutput=file:/dev/virtio-ports/{REPORT_PORT}\nStandardError=inherit\n"
        f"Environment=SYSTEMD_COLORS=0 SYSTEMD_URLIFY=0\n{lines}"
    )


def guest(*arguments: str, then: str) -> str:
    """Return a unit that runs the program of this test inside the agents' tree."""
    code = base64.b64encode(GUEST.read_bytes()).decode()
    words = "".join(f" '{word}'" for word in arguments)
    return unit(
        f'/usr/bin/python3.13 -I -c "import base64;exec(base64.b64decode(\\"{code}\\"))"{words}',
        then=then,
        extra="RootDirectory=/usr/lib/bulkhead/agent\nBindPaths=/run:/run/host /etc:/run/etc\n"
        "BindReadOnlyPaths=/sys/kernel/security:/run/security\n",
    )


# Names the program whose lines follow; the unit need not exist.
MARK = "systemctl show --property=Id mark-{}.service"
WAIT = "[Unit]\nAfter=containerd.service dbus-broker.service\nDefaultDependencies=no\n"
WAIT += "OnSuccess=change.service\nOnFailure=change.service\n"
WAIT += "[Service]\nExecStart=/usr/bin/systemctl is-system-running --wait\n"


class Seen(msgspec.Struct, frozen=True):
    """What the machine said at one of its starts."""

    facts: dict[str, object]
    programs: dict[str, list[str]]
    text: str

    def lines(self, program: str) -> str:
        """Return what a program said."""
        return "\n".join(self.programs[program])


def parse(report: str) -> Seen:
    """Take a report apart."""
    facts: dict[str, object] = {}
    programs: dict[str, list[str]] = {}
    current: list[str] = []
    for line in report.splitlines():
        if line.startswith('{"name": '):
            item = json.loads(line)
            facts[item["name"]] = item["value"]
        elif line.startswith("Id=mark-"):
            name = line.removeprefix("Id=mark-").removesuffix(".service")
            current = programs.setdefault(name, [])
        else:
            current.append(line)
    return Seen(facts=facts, programs=programs, text=report)


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    """Boot, set everything, look, power off; boot again and look again."""
    image = images.build(tmp_path_factory.mktemp("probe"), str(PROBE))
    marked = (c for name, command in PROGRAMS.items() for c in (MARK.format(name), command))
    units = {
        "change.service": guest("set", json.dumps(SETTINGS), then="programs.service"),
        "programs.service": unit(*marked, then="look.service"),
        "look.service": guest("look", then="off.service"),
        "off.service": unit("systemctl poweroff"),
    }
    with VM(
        image.disk, spec=images.direct(image), disk_size=images.DISK_SIZE, units={"wait.service": WAIT},
        credentials={f"systemd.extra-unit.{n}": text.encode() for n, text in units.items()},
    ) as vm:  # fmt: skip
        assert vm.wait_for_end(timeout_s=400) == 0
        first = vm.report
        vm.start()
        assert vm.wait_for_end(timeout_s=400) == 0
        second = vm.report.removeprefix(first)
    return parse(first), parse(second)


def test_settings_are_committed_and_applied(starts: tuple[Seen, Seen]) -> None:
    """Every service is done, and what the plan said is what was done."""
    first, _ = starts
    status, body = answer(first, "commit")
    result = msgspec.convert(json.loads(body)["apply"], ApplyResult)

    assert answer(first, "patch") == (204, ""), first.text
    assert status == 200, body
    assert {s.name: (s.status, s.error) for s in result.services} == {
        s.name: ("done", None) for s in result.services
    }
    assert result.notes == ("settings.ntp.options: systemd-timesyncd has no 'iburst'",)
    planned = msgspec.convert(json.loads(answer(first, "plan")[1])["apply"], ApplyResult)
    assert planned.notes == result.notes
    assert [s.name for s in planned.services] == [s.name for s in result.services]
    assert {f.path for f in planned.files} == {f.path for f in result.files}


def answer(seen: Seen, name: str) -> tuple[int, str]:
    """Return what the API answered."""
    return msgspec.convert(seen.facts[name], tuple[int, str])


BOTH = pytest.mark.parametrize("start", [0, 1], ids=["running", "next-start"])


@BOTH
def test_names_hold(starts: tuple[Seen, Seen], start: int) -> None:
    """The kernel has the host name, and the files are there."""
    facts = starts[start].facts

    assert facts["hostname"] == "node-7"
    assert facts["motd"] == "told by settings\n"
    assert "192.0.2.10 db.example.com db\n" in str(facts["hosts"])


@BOTH
def test_the_kernel_has_its_parameters(starts: tuple[Seen, Seen], start: int) -> None:
    """A parameter, a tighter lockdown, a module that is loaded and one that is refused."""
    seen = starts[start]

    assert seen.facts["swappiness"] == "10"
    assert seen.facts["lockdown"] == "none integrity [confidentiality]"
    assert "tun" in msgspec.convert(seen.facts["modules"], list[str])
    assert "dummy" not in msgspec.convert(seen.facts["modules"], list[str])
    assert "modprobe: ERROR" in seen.lines("modprobe")


@BOTH
def test_the_network_is_as_told(starts: tuple[Seen, Seen], start: int) -> None:
    """Networkd has made the VLAN and the bond and given them addresses and routes."""
    text = starts[start].lines("network")

    assert {"lan5", "pair"} <= set(msgspec.convert(starts[start].facts["links"], list[str]))
    assert '"Name":"lan5"' in text
    assert '"Kind":"vlan"' in text
    assert '"Kind":"bond"' in text
    assert '"NetworkFile":"/etc/systemd/network/10-lan5.network"' in text


@BOTH
def test_names_and_time_come_from_the_servers_that_were_named(
    starts: tuple[Seen, Seen], start: int
) -> None:
    """Those that DHCP offers are not asked beside them."""
    seen = starts[start]
    servers = [x for x in str(seen.facts["resolv.conf"]).splitlines() if x.startswith("nameserver")]

    assert servers == ["nameserver 192.0.2.53"]
    assert "search example.com" in str(seen.facts["resolv.conf"])
    assert "SystemNTPServers=192.0.2.123\n" in seen.lines("time") + "\n"
    assert "PollIntervalMinUSec=16s\n" in seen.lines("time") + "\n"
    assert "PollIntervalMaxUSec=1min 4s\n" in seen.lines("time") + "\n"


@BOTH
def test_the_firewall_lets_in_what_was_named(starts: tuple[Seen, Seen], start: int) -> None:
    """The rules are in the kernel, beside those of the image."""
    text = starts[start].lines("nft")

    assert 'tcp dport { 80, 8000-8100 } accept comment "web"' in text
    assert "policy drop" in text


@BOTH
def test_containerd_has_the_proxy_and_the_authority(starts: tuple[Seen, Seen], start: int) -> None:
    """Its environment names the proxy, and the bundle that it reads has the certificate."""
    facts = starts[start].facts
    environment = msgspec.convert(facts["environment"], list[str])

    assert "HTTPS_PROXY=http://proxy.example.com:3128" in environment
    assert "NO_PROXY=localhost,127.0.0.1,::1" in environment
    assert str(facts["bundle"]).endswith(CERTIFICATE)


@BOTH
def test_the_first_process_hears_a_message_that_came_too_early(
    starts: tuple[Seen, Seen], start: int
) -> None:
    """The real one leaves it in its buffer until there is a second; with one less this is not needed."""
    sent, active = msgspec.convert(starts[start].facts["hears"], tuple[int, str])

    assert (sent, active) == (2, "active")


@BOTH
def test_no_unit_failed(starts: tuple[Seen, Seen], start: int) -> None:
    """Everything that was restarted is up."""
    assert starts[start].lines("failed") == "", starts[start].text


def test_a_start_without_settings_does_nothing(starts: tuple[Seen, Seen]) -> None:
    """On a node that has set nothing the unit's condition says no, and no process is started."""
    shown = starts[0].lines("boot")

    assert "ConditionResult=no" in shown
    assert "ExecMainStartTimestampMonotonic=0" in shown


def test_a_start_applies_settings_before_services_need_them(starts: tuple[Seen, Seen]) -> None:
    """The same state without a restart: nothing is acted on, and nothing is left to do."""
    first, second = starts
    result = msgspec.json.decode(answer(second, "last")[1], type=ApplyResult)
    committed = msgspec.convert(json.loads(answer(first, "commit")[1])["apply"], ApplyResult)

    assert "Result=success" in second.lines("boot")
    assert "ConditionResult=yes" in second.lines("boot")
    assert (result.ok, result.number) == (True, committed.number)
    assert {f.path for f in result.files} == {
        f.path for f in committed.files if "00-before" not in f.path
    } | {"/etc/sysctl.d/00-before-settings.conf"}
