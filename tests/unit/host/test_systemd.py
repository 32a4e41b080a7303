"""Jobs of the first process, over its own protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.host import systemd as module
from bulkhead.host.systemd import Systemd
from bulkhead.model.errors import HostError
from tests.support.first_process import FakeUnit, FirstProcess

NAME = "systemd-timesyncd.service"


def act(systemd: FirstProcess, verb: str = "try-restart") -> str:
    """Do something to the unit and return its state."""
    with Systemd(systemd.path) as connection:
        return connection.act(verb, NAME).active


@pytest.mark.parametrize(
    ("verb", "call"),
    [
        ("restart", "RestartUnit"),
        ("try-restart", "TryRestartUnit"),
        ("reload-or-try-restart", "ReloadOrTryRestartUnit"),
    ],
)
def test_a_job_is_waited_for(systemd: FirstProcess, verb: str, call: str) -> None:
    """The answer is how the unit is when its job has ended."""
    systemd.units[NAME] = FakeUnit()

    assert act(systemd, verb) == "active"
    assert systemd.calls == [f"{call} {NAME}"]


def test_a_unit_whose_condition_does_not_hold_has_nothing_to_do(systemd: FirstProcess) -> None:
    """There is no module to load any more, for example; that is no failure."""
    systemd.units[NAME] = FakeUnit(condition=False)

    assert act(systemd, "restart") == "inactive"


def test_a_unit_may_restart_as_often_as_settings_change(systemd: FirstProcess) -> None:
    """Systemd gives up on a unit that starts six times in ten seconds, unless it is told."""
    systemd.units[NAME] = FakeUnit()

    assert [act(systemd) for _ in range(8)] == ["active"] * 8


def test_a_unit_that_nothing_refers_to_can_be_started(systemd: FirstProcess) -> None:
    """It is forgotten between two calls, and systemd has no failures of it to forget either."""
    systemd.units[NAME] = FakeUnit(forgotten=True, active="inactive")

    assert act(systemd, "restart") == "active"
    assert systemd.calls == [f"RestartUnit {NAME}"]


def test_a_unit_that_does_not_run_is_left_alone(systemd: FirstProcess) -> None:
    """It is nobody's fault, so it is no error."""
    systemd.units[NAME] = FakeUnit(active="inactive")

    assert act(systemd) == "inactive"


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        (
            FakeUnit(job="failed", after="failed", failing="exit-code", status=78, text="no such file"),
            "ended with an error (78): no such file",
        ),
        (FakeUnit(job="timeout", after="failed", failing="timeout"), "took longer than it may"),
        (FakeUnit(job="dependency", after="inactive"), "something that it needs failed"),
        (FakeUnit(job="failed", after="activating", failing="protocol"),
         "did not report that it is ready"),
        (FakeUnit(job="done", after="failed", failing="signal", status=11),
         "was killed by a signal (11)"),
        (FakeUnit(job="done", after="inactive"), "is not running"),
    ],
    ids=["exit", "timeout", "dependency", "auto-restart", "signal", "gone"],
)  # fmt: skip
def test_a_unit_that_does_not_come_back_says_why(
    systemd: FirstProcess, unit: FakeUnit, reason: str
) -> None:
    """The job's result, or the service's own, in words; and where to read more."""
    systemd.units[NAME] = unit

    with pytest.raises(HostError) as raised:
        act(systemd)

    assert raised.value.what == reason
    assert raised.value.hint == f"journalctl -u {NAME}"


def test_an_unknown_unit_is_an_error(systemd: FirstProcess) -> None:
    """What systemd says is passed on."""
    with pytest.raises(HostError, match=rf"Unit {NAME} not found"):
        act(systemd)


def test_a_job_that_never_ends_is_given_up(
    systemd: FirstProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever."""
    monkeypatch.setattr(module, "JOB_S", 0.05)
    systemd.units[NAME] = FakeUnit(job="")

    with pytest.raises(HostError, match="took longer than it may"):
        act(systemd)


def test_a_first_process_that_hangs_up_is_an_error(systemd: FirstProcess) -> None:
    """It never looks as if something had been done."""
    systemd.deaf = True

    with pytest.raises(HostError, match="systemd does not answer"):
        act(systemd)


def test_a_busy_first_process_hears_in_the_end(systemd: FirstProcess) -> None:
    """What it has read without looking at it is not lost, and is done once."""
    systemd.busy = True
    systemd.units[NAME] = FakeUnit()

    assert act(systemd) == "active"
    assert systemd.calls == [f"TryRestartUnit {NAME}"]


def test_a_silent_first_process_is_given_up(
    systemd: FirstProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again, less and less often, and not for ever."""
    monkeypatch.setattr(module, "NUDGE_S", 0.01)
    monkeypatch.setattr(module, "REPLY_S", 1.0)
    systemd.silent = True

    with pytest.raises(HostError, match="systemd does not answer: it says nothing"):
        Systemd(systemd.path)

    assert 2 <= systemd.pings <= 8


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    """The message names the socket."""
    with pytest.raises(HostError, match=r"cannot talk to systemd: .*No such file"):
        Systemd(tmp_path / "nothing")


def test_units_are_read_again(systemd: FirstProcess) -> None:
    """`daemon-reload`."""
    with Systemd(systemd.path) as connection:
        connection.reload()

    assert systemd.calls == ["Reload"]


def test_over_the_bus_a_name_is_asked_for_first(systemd: FirstProcess) -> None:
    """A bus ends the connection of whoever does not; the first process's own socket has no names."""
    systemd.units[NAME] = FakeUnit(active="failed")

    with Systemd(systemd.path, bus=True) as connection:
        seen = connection.unit(NAME).active

    assert (seen, systemd.greeted) == ("failed", 1)


def test_a_bus_that_hangs_up_is_an_error(systemd: FirstProcess) -> None:
    """As if nobody were there."""
    systemd.deaf = True

    with pytest.raises(HostError, match="systemd does not answer"):
        Systemd(systemd.path, bus=True)
