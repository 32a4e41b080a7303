"""From committed settings to files and services: what is done, in which order, and what when it fails."""

from __future__ import annotations

import json
import resource
import shutil
import threading
import tomllib
from pathlib import Path

import msgspec
import pytest

from bulkhead.host.apply import state
from bulkhead.host.store.store import Store
from bulkhead.host.systemd import Systemd
from bulkhead.lib import groups
from bulkhead.lib.dirs import repository_root
from bulkhead.model.apply import ApplyRequest
from bulkhead.model.errors import BulkheadError
from bulkhead.model.settings.groups import GENERAL
from bulkhead.model.settings.keys import Settings
from bulkhead.render.service import File, RenderError, Service, Step
from tests.support.apply_node import APPLY, DEFAULTS, NAMES, NETWORK, PLAN, TIME, Node, statuses
from tests.support.first_process import FakeUnit


def test_nothing_is_done_without_settings(node: Node) -> None:
    """The image has the files of its defaults already."""
    before = node.tree()

    result = node.apply()

    assert (result.ok, result.number, result.files, result.services) == (True, 0, (), ())
    assert node.tree() == before
    assert node.systemd.calls == []


def test_a_setting_becomes_a_file_and_a_restart(node: Node) -> None:
    """Only the file that differs is written, and only its service restarts."""
    number = node.set({"ntp": {"time-servers": ["192.0.2.123"]}})

    result = node.apply()

    assert (result.ok, result.number) == (True, number)
    assert {change.path for change in result.files} == {
        "/etc/systemd/timesyncd.conf.d/60-settings.conf",
        "/etc/systemd/network/80-wired.network.d/60-settings.conf",
    }
    assert node.systemd.calls == [f"ReloadOrTryRestartUnit {NETWORK}", f"TryRestartUnit {TIME}"]
    assert statuses(result) == {"network": "done", "ntp": "done"}
    assert "NTP=192.0.2.123\n" in node.read("/etc/systemd/timesyncd.conf.d/60-settings.conf")


def test_what_is_applied_is_not_applied_again(node: Node) -> None:
    """A second request finds nothing to do."""
    node.set({"motd": "hello", "dns": {"name-servers": ["192.0.2.53"]}})
    node.apply()

    result = node.apply()

    assert (result.ok, result.files, result.services) == (True, (), ())
    assert node.systemd.calls == []


def test_an_unset_setting_gives_the_images_file_back(node: Node) -> None:
    """A file of the image has its content again, one that only settings made is gone."""
    before = node.tree()
    node.set({"motd": "mine", "dns": {"name-servers": ["192.0.2.53"]}, "pki": {}})
    node.apply()
    node.unset("settings.motd")
    node.unset("settings.dns")

    result = node.apply()

    assert result.ok
    assert node.tree() == before
    assert {f.path: f.change for f in result.files} == {
        "/etc/motd": "write",
        "/etc/systemd/resolved.conf.d/60-settings.conf": "remove",
        "/etc/systemd/network/80-wired.network.d/60-settings.conf": "remove",
    }


def test_a_request_may_concern_some_settings_only(node: Node) -> None:
    """What else has been committed waits for its own request."""
    node.set({"motd": "hello", "ntp": {"time-servers": ["192.0.2.123"]}})

    result = node.apply(ApplyRequest(action="apply", keys=("settings.motd",)))

    assert [change.path for change in result.files] == ["/etc/motd"]
    assert node.systemd.calls == []


def test_a_shared_unit_restarts_once(node: Node) -> None:
    """Three services want containerd to read anew."""
    node.set({
        "network": {"https-proxy": "http://proxy.example.com:3128"},
        "container-runtime": {"max-concurrent-downloads": 2},
    })  # fmt: skip

    result = node.apply()

    assert node.systemd.calls == ["TryRestartUnit containerd.service"]
    assert statuses(result) == {"proxy": "done", "container-runtime": "done"}
    assert node.tree()["bulkhead/proxy.env"][1] & 0o777 == 0o600


def test_a_service_that_does_not_come_back_is_reported(node: Node) -> None:
    """It has failed with its reason; the others are up, and the next apply tries it again."""
    node.systemd.units[NAMES] = FakeUnit(
        job="failed", after="failed", failing="exit-code", status=1
    )
    node.set({"dns": {"search-list": ["example.com"]}, "ntp": {"time-servers": ["192.0.2.1"]}})

    result = node.apply()

    assert not result.ok
    assert statuses(result) == {"network": "done", "dns": "failed", "ntp": "done"}
    failed = next(s for s in result.services if s.name == "dns")
    assert failed.error == f"ended with an error (1)\n  hint: journalctl -u {NAMES}"
    assert json.loads((node.places.state / state.RESULT).read_bytes())["ok"] is False

    node.systemd.units[NAMES] = FakeUnit()
    again = node.apply()
    assert (again.ok, again.files, statuses(again)) == (True, (), {"dns": "done"})


def test_a_failed_apply_is_taken_back_when_asked(node: Node) -> None:
    """All files are as before, modes too, and what was restarted reads them again."""
    node.set({"motd": "old", "ntp": {"time-servers": ["192.0.2.1"]}})
    node.apply()
    before = node.tree()
    node.systemd.units[NAMES].job = "failed"
    node.systemd.units[NAMES].after = "failed"
    node.set(
        {
            "motd": "new",
            "dns": {"search-list": ["example.com"]},
            "ntp": {"time-servers": ["192.0.2.2"]},
        }
    )

    result = node.apply(ApplyRequest(action="apply", on_failure="restore"))

    assert (result.ok, result.restored) == (False, True)
    assert statuses(result) == {"motd": "done", "network": "done", "dns": "failed", "ntp": "done"}
    assert node.tree() == before
    assert node.systemd.calls.count(f"TryRestartUnit {TIME}") == 2
    # What is committed is still that: the next apply does it.
    node.systemd.units[NAMES] = FakeUnit()
    assert node.apply().ok
    assert node.read("/etc/motd") == "new\n"


def refuse(settings: object) -> tuple[File, ...]:
    """Render nothing: what the models accept can be rendered, so it takes a service of the test."""
    raise RenderError("cannot be rendered", where="settings.kernel")


BROKEN = Service(name="broken", keys=("kernel",), render=refuse)


def test_a_renderer_that_fails_changes_nothing(node: Node) -> None:
    """No file is written and no unit touched, of no service."""
    node.set({"motd": "new", "dns": {"name-servers": ["192.0.2.53"]}})
    before = node.tree()

    result = node.agent(BROKEN).answer(APPLY)

    assert not result.ok
    assert result.error == "settings.kernel: cannot be rendered"
    assert node.tree() == before
    assert node.systemd.calls == []


def test_a_start_goes_on_without_what_cannot_be_rendered(node: Node) -> None:
    """A wrong parameter of the kernel must not cost the machine its network."""
    node.set({"dns": {"name-servers": ["192.0.2.53"]}})

    result = node.agent(BROKEN).boot()

    assert not result.ok
    assert statuses(result) == {"broken": "failed", "network": "done", "dns": "done"}
    assert "DNS=192.0.2.53\n" in node.read("/etc/systemd/resolved.conf.d/60-settings.conf")


def test_a_start_writes_files_and_leaves_services_alone(node: Node) -> None:
    """They are not there yet; nobody is asked for anything."""
    node.set(
        {"motd": "hello", "network": {"hostname": "node-7"}, "ntp": {"time-servers": ["192.0.2.1"]}}
    )

    assert node.agent().boot().ok
    assert node.read("/etc/hostname") == "node-7\n"
    assert node.systemd.calls == []
    assert node.apply().services == ()


def test_a_write_that_fails_leaves_the_files_of_before(node: Node) -> None:
    """A directory that cannot be made: what was written earlier is taken back."""
    node.set({"motd": "new", "ntp": {"time-servers": ["192.0.2.1"]}})
    (node.places.etc / "systemd").write_text("a file where a directory has to be")
    before = node.tree()

    result = node.apply()

    assert not result.ok
    assert result.error is not None
    assert "/etc/systemd/" in result.error
    assert node.tree() == before
    assert node.systemd.calls == []


@pytest.mark.slow
def test_a_full_file_system_leaves_the_files_of_before(node: Node) -> None:
    """The second file does not fit; the first is as it was."""
    node.set(
        {"motd": "new", "network": {"hosts": [["192.0.2.1", [f"host{n}" for n in range(9999)]]]}}
    )
    before = node.tree()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        result = node.apply()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert result.error == "/etc/hosts: cannot be written: File too large; nothing was changed"
    assert node.tree() == before


def test_dry_run_shows_and_changes_nothing(node: Node) -> None:
    """Files with their differences, services with what would be done to them."""
    node.set({"motd": "old"})
    node.apply()
    before = node.tree()

    result = node.apply(
        msgspec.structs.replace(
            PLAN, settings={"motd": "new", "ntp": {"time-servers": ["192.0.2.1"]}}
        )
    )

    assert result.ok
    assert {s.name: (s.status, s.action, s.units) for s in result.services} == {
        "motd": ("planned", "none", ()),
        "network": ("planned", f"reload-or-try-restart {NETWORK}", (NETWORK,)),
        "ntp": ("planned", f"try-restart {TIME}", (TIME,)),
    }
    motd = next(change for change in result.files if change.path == "/etc/motd")
    assert motd.diff == "--- /etc/motd\n+++ /etc/motd\n@@ -1 +1 @@\n-old\n+new"
    assert node.tree() == before
    assert node.systemd.calls == []
    assert not node.exists("/etc/systemd/timesyncd.conf.d/60-settings.conf")


def test_what_a_setting_cannot_do_here_is_said(node: Node) -> None:
    """Valid settings that nothing follows are no failure, and nobody has to find out by waiting."""
    tree: Settings = {
        "ntp": {"options": ["iburst", "maxpoll 10"]},
        "container-runtime": {"max-concurrent-unpacks": 2},
        "updates": {"version-lock": "latest", "targets-base-url": "https://updates.example"},
        "motd": "hello",
    }
    asked = ("settings.updates.targets-base-url", "settings.ntp", "settings.container-runtime")
    planned = node.apply(msgspec.structs.replace(PLAN, settings=tree, keys=asked))
    node.set(tree)

    done = node.apply(msgspec.structs.replace(APPLY, keys=asked))

    assert done.ok
    assert done.notes == planned.notes == (
        "settings.ntp.options: systemd-timesyncd has no 'iburst'",
        "settings.container-runtime.max-concurrent-unpacks: containerd 1.7 unpacks the layers of "
        "an image one after another, so no limit is ever reached",
        "settings.updates.targets-base-url: nothing in this image reads it",
    )  # fmt: skip
    assert node.apply(msgspec.structs.replace(APPLY, keys=("settings.motd",))).notes == ()


def test_dry_run_refuses_wrong_settings(node: Node) -> None:
    """They are judged here too, whoever hands them over."""
    result = node.apply(msgspec.structs.replace(PLAN, settings={"motdd": "x"}))

    assert not result.ok
    assert result.error is not None
    assert "motdd" in result.error


def test_secrets_are_in_no_answer(node: Node) -> None:
    """Neither in differences nor in what is kept, whether they come, change or go."""
    secret = "s3cr3t-passw0rd"
    login = {"registry": "docker.io", "username": "robot", "password": secret}
    settings: Settings = {"container-registry": {"credentials": [login]}}
    answers = [node.apply(msgspec.structs.replace(PLAN, settings=settings))]
    node.set(settings)
    answers.append(node.apply())
    assert secret in node.read("/etc/bulkhead/registries.json")
    node.unset("settings.container-registry")
    answers.append(node.apply(PLAN))
    answers.append(node.apply())

    assert [answer.ok for answer in answers] == [True] * 4
    assert all(answer.files for answer in answers)
    assert secret.encode() not in b"".join(map(msgspec.json.encode, answers))
    assert secret not in "".join(p.read_text() for p in node.places.state.iterdir() if p.is_file())


def test_an_interrupted_apply_is_finished_by_the_next(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the files and the services: the services are not forgotten."""
    node.set({"ntp": {"time-servers": ["192.0.2.1"]}})

    def killed(_: Path) -> Systemd:
        raise KeyboardInterrupt

    monkeypatch.setattr("tests.support.apply_node.Systemd", killed)
    with pytest.raises(KeyboardInterrupt):
        node.apply()
    monkeypatch.undo()

    result = node.apply()

    assert result.files == ()
    assert statuses(result) == {"network": "done", "ntp": "done"}


def test_without_the_first_process_services_fail(node: Node) -> None:
    """The files are there, and the answer says that nobody reads them."""
    node.set({"ntp": {"time-servers": ["192.0.2.1"]}})
    node.systemd.close()

    result = node.apply()

    assert set(statuses(result).values()) == {"failed"}
    assert all("cannot talk to systemd" in str(s.error) for s in result.services)


def test_a_group_of_the_variant_takes_effect(node: Node) -> None:
    """Its template is filled and its unit restarts; its secrets are in no answer."""
    shipped, name = node.places.shipped, "journal"
    folder = shipped / "groups" / name
    shutil.copytree(repository_root() / "tests/data/variants/logger/settings" / name, folder)
    described = tomllib.loads((folder / "group.toml").read_text())
    (folder / "group.json").write_bytes(msgspec.json.encode(described))
    listed = {"groups": GENERAL, "own": [name]}
    (shipped / "groups.json").write_bytes(msgspec.json.encode(listed))
    defaults = {**DEFAULTS, name: described["defaults"]}
    (shipped / "defaults.json").write_bytes(msgspec.json.encode(defaults))
    journald = "systemd-journald.service"
    node.systemd.units[journald] = FakeUnit()
    forward = {"address": "log.example.com", "token": "s3cr3t"}
    node.store = Store(
        node.places.settings, pending=node.places.state / "pending",
        groups=groups.load(shipped), defaults=defaults,
    )  # fmt: skip
    node.set({name: {"keep-days": 3, "forward": forward}})

    shown = node.apply(PLAN)
    result = node.apply()

    assert statuses(result) == {name: "done"}
    assert node.systemd.calls == [f"RestartUnit {journald}"]
    assert node.read("/etc/systemd/journald.conf.d/60-settings.conf") == (
        "[Journal]\nSystemMaxUse=500M\nMaxRetentionSec=3day\nForwardToSocket=log.example.com\n"
    )
    assert [change.diff for change in shown.files] == [None]


def test_units_are_read_again_when_one_of_their_files_has_changed(node: Node) -> None:
    """Once, before anything restarts."""
    unit = File(path="/etc/systemd/system/a.service.d/x.conf", data=b"[Service]\n")
    service = Service(
        name="a", keys=("motd",), render=lambda _: (unit,),
        steps=(Step(verb="restart", unit="a.service"),),
    )  # fmt: skip
    node.systemd.units["a.service"] = FakeUnit()

    assert node.agent(service).answer(APPLY).ok
    assert node.systemd.calls == ["Reload", "RestartUnit a.service"]


def test_two_at_once_do_not_mix(node: Node) -> None:
    """One waits for the other; in the end everything is there once."""
    node.set({"ntp": {"time-servers": ["192.0.2.1"]}, "motd": "hello"})
    agents = [threading.Thread(target=node.agent().answer, args=(APPLY,)) for _ in range(4)]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join()

    assert node.systemd.calls.count(f"TryRestartUnit {TIME}") == 1
    assert node.read("/etc/motd") == "hello\n"


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"\xff\xfe", b'{"files": 3}'])
def test_a_damaged_memory_is_forgotten(node: Node, broken: bytes) -> None:
    """It is about this start of the machine only; nothing depends on it but tidiness."""
    (node.places.state / "state.json").write_bytes(broken)
    node.set({"motd": "hello"})

    assert node.apply().ok
    assert node.read("/etc/motd") == "hello\n"


def test_the_timers_of_metrics_start_and_stop_with_the_settings(node: Node) -> None:
    """The program's file is there while metrics are sent; without it the timers' condition fails."""
    timers = ("bulkhead-metrics.timer", "bulkhead-metrics-first.timer")
    for timer in timers:
        node.systemd.units[timer] = FakeUnit(active="inactive")
    restarts = [f"RestartUnit {timer}" for timer in timers]
    node.set({"metrics": {"send-metrics": True, "metrics-url": "https://metrics.example.com"}})

    on = node.apply()

    assert (statuses(on), node.systemd.calls) == ({"metrics": "done"}, restarts)
    assert node.read("/etc/bulkhead/metrics.json") == '{"url":"https://metrics.example.com"}\n'
    for timer in timers:
        node.systemd.units[timer].condition = False
    node.unset("settings.metrics.send-metrics")

    off = node.apply()

    assert (statuses(off), node.systemd.calls) == ({"metrics": "done"}, restarts)
    assert not node.exists("/etc/bulkhead/metrics.json")
    assert {node.systemd.units[timer].active for timer in timers} == {"inactive"}


def test_metrics_cannot_be_sent_to_nobody(node: Node) -> None:
    """Such a commit is refused: it would look as if something were sent."""
    with pytest.raises(BulkheadError, match="metrics-url: is missing, and send-metrics is true"):
        node.set({"metrics": {"send-metrics": True}})
