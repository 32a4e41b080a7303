"""What the kernel keeps although nobody asks for it any more, and what it refuses."""

from __future__ import annotations

import pytest

from bulkhead.host.apply.places import Places
from bulkhead.host.apply.sysctl import file_of
from bulkhead.lib import conditions
from bulkhead.model.boot import IMPOSSIBLE, PENDING, TOO_FEW
from bulkhead.model.health import Condition
from bulkhead.model.settings.keys import Settings
from tests.support.apply_node import Node, statuses


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("vm.swappiness", "vm/swappiness"),
        ("net/ipv4/conf/eth0.5/forwarding", "net/ipv4/conf/eth0.5/forwarding"),
        ("net.ipv4.conf.eth0/5.forwarding", "net/ipv4/conf/eth0.5/forwarding"),
    ],
)
def test_a_parameter_has_a_file(places: Places, name: str, path: str) -> None:
    """The first separator decides what the others mean (sysctl.d(5))."""
    assert file_of(places, name) == places.proc / "sys" / path


def test_a_kernel_parameter_goes_back_when_it_is_unset(node: Node) -> None:
    """The value of before the first setting is written again, in the file that is read first."""
    swappiness = node.places.proc / "sys" / "vm" / "swappiness"
    node.set({"kernel": {"sysctl": {"vm.swappiness": "10"}}})
    node.apply()
    swappiness.write_text("10\n")  # as systemd-sysctl does
    node.set({"kernel": {"sysctl": {"vm.swappiness": "20"}}})
    node.apply()
    node.unset("settings.kernel.sysctl")

    result = node.apply()

    assert statuses(result) == {"sysctl": "done"}
    assert node.systemd.calls == ["RestartUnit systemd-sysctl.service"]
    assert node.read("/etc/sysctl.d/00-before-settings.conf").endswith("\nvm.swappiness = 60\n")
    assert not node.exists("/etc/sysctl.d/99-settings.conf")


def test_a_parameter_that_the_kernel_lacks_fails(node: Node) -> None:
    """systemd-sysctl says nothing of it; people are told."""
    node.set({"kernel": {"sysctl": {"vm.swapiness": "10"}}})

    result = node.apply()

    assert [s.error for s in result.services] == [
        "the kernel has no parameter vm.swapiness\n"
        "  hint: its module may not be loaded yet; see settings.kernel.modules"
    ]


def test_a_module_that_is_loaded_already_is_told_of(node: Node) -> None:
    """Refusing it now does not take it out of the kernel."""
    node.set({"kernel": {"modules": {"sctp": {"allowed": False}, "udf": {"allowed": False}}}})

    (service,) = node.apply().services

    assert (service.status, service.note, service.reboot) == (
        "done", "loaded until the next start: sctp", True,
    )  # fmt: skip


def test_no_module_to_load_is_no_failure(node: Node) -> None:
    """The unit that loads them does not even start then."""
    node.systemd.units["systemd-modules-load.service"].condition = False
    node.set({"kernel": {"modules": {"udf": {"allowed": False}}}})

    (service,) = node.apply().services

    assert (service.status, service.note) == ("done", None)


def test_lockdown_is_tightened(node: Node) -> None:
    """The kernel is told, at run time as at the start."""
    node.set({"kernel": {"lockdown": "confidentiality"}})

    assert node.agent().boot().ok
    assert node.places.lockdown.read_text() == "confidentiality"


def test_lockdown_is_never_loosened(node: Node) -> None:
    """The kernel would refuse; people are told what would help."""
    node.set({"kernel": {"lockdown": "none"}})

    (service,) = node.apply().services

    assert service.error == (
        "the kernel is locked down for integrity and cannot go back to none\n"
        "  hint: lockdown is loosened by a start with other boot parameters, if at all"
    )
    assert node.places.lockdown.read_text() == "none [integrity] confidentiality\n"


def test_an_interface_that_is_taken_away_stays_until_the_next_start(node: Node) -> None:
    """A VLAN stays in the kernel when nobody asks for it any more; the answer says so."""
    vlan: Settings = {"dhcp4": True, "vlan": {"id": 5, "link": "eth0"}}
    node.set({"network": {"interfaces": {"lan": vlan}}})
    node.apply()
    node.unset("settings.network.interfaces")

    (service,) = node.apply().services

    assert (service.note, service.reboot) == ("as before until the next start: lan", True)


def test_what_comes_of_boot_parameters_is_told(node: Node, places: Places) -> None:
    """What the program of the boot loader's entries left: that they wait for a start, or why they cannot be."""
    pending = Condition(code=PENDING, title="the next time", severity="warning", text="Restart it.")
    conditions.write(places.boot / "parameters.json", (pending,))
    node.set({"boot": {"kernel-parameters": {"isolcpus": ["1"]}}})
    (waiting,) = node.apply().services
    wrong = Condition(code=IMPOSSIBLE, title="cannot be", severity="error", text="Unset them.")
    conditions.write(places.boot / "parameters.json", (wrong,))
    node.set({"boot": {"kernel-parameters": {"isolcpus": ["2"]}}})
    (refused,) = node.apply().services

    assert (waiting.status, waiting.note, waiting.reboot) == ("done", "the next time", True)
    assert waiting.action == "restart bulkhead-parameters@now.service"
    assert (refused.status, refused.error) == ("failed", "cannot be\n  hint: Unset them.")


def test_pages_that_the_kernel_did_not_give_are_told(node: Node, places: Places) -> None:
    """The unit has done what it can, and that is not enough; when it is, nothing is told any more."""
    few = Condition(
        code=TOO_FEW, title="64: the kernel gave 3", severity="error", text="Ask for fewer."
    )
    conditions.write(places.boot / "hugepages.json", (few,))
    node.set({"kernel": {"hugepages": {"static": {"2Mi": {"count": "64"}}}}})
    (failed,) = node.apply().services
    conditions.write(places.boot / "hugepages.json", ())
    (again,) = node.apply().services

    assert failed.error == "64: the kernel gave 3\n  hint: Ask for fewer."
    assert (again.status, again.note) == ("done", None)
