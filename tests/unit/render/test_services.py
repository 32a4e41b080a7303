"""Which services a setting concerns, and that their files do not meet."""

from __future__ import annotations

import pytest

from bulkhead.model.errors import Bug
from bulkhead.model.settings.groups import GENERAL, Groups
from bulkhead.render.service import File, Service, Settings
from bulkhead.render.services import CONFIGURATION_FILES, SERVICES, affected, notes, render


def nothing(settings: Settings) -> tuple[File, ...]:
    """Render no file."""
    return ()


def hosts(settings: Settings) -> tuple[File, ...]:
    """Render one file."""
    return (File(path="/etc/hosts", data=b""),)


TREE = (
    Service(name="hostname", keys=("network.hostname",), render=nothing),
    Service(name="hosts", keys=("network.hosts", "network.hostname"), render=nothing),
    Service(name="links", keys=("network",), render=nothing),
    Service(name="time", keys=("ntp",), render=nothing),
)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (("network", "hostname"), ["hostname", "hosts"]),
        (("network", "mtu"), ["links"]),
        (("network",), ["hostname", "hosts", "links"]),
        (("ntp", "time-servers"), ["time"]),
        (("unknown",), []),
        ((), ["hostname", "hosts", "links", "time"]),
    ],
)
def test_the_nearest_key_decides(key: tuple[str, ...], names: list[str]) -> None:
    """A more exact key hides a more general one; a key above concerns all below it."""
    assert [service.name for service in affected([key], TREE)] == names


def test_settings_that_nothing_reads_are_named_up_to_a_bound() -> None:
    """However many there are; keys that are not set are none of them."""
    tree: dict[str, object] = {"other": {f"k{number:02}": 1 for number in range(25)}}
    asked = [*(("other", f"k{number:02}") for number in range(25)), ("absent",)]

    said = notes(tree, (), asked)

    assert said[0] == "settings.other.k00: nothing in this image reads it"
    assert said[20:] == ("5 more settings are read by nothing in this image",)
    assert notes(tree, (), [("other",)]) == ("settings.other: nothing in this image reads it",)


def test_services_keep_their_order() -> None:
    """They are acted on in the order of the table, whatever the order of the keys."""
    keys = [("ntp",), ("network", "mtu"), ("network", "hostname")]

    assert [s.name for s in affected(keys, TREE)] == ["hostname", "hosts", "links", "time"]


def test_two_services_cannot_write_one_file() -> None:
    """It would depend on their order what is in the file."""
    twice = [Service(name=name, keys=(), render=hosts) for name in ("a", "b")]

    with pytest.raises(Bug, match="two services write /etc/hosts"):
        render({}, twice)


def test_every_service_renders_an_empty_tree() -> None:
    """Nothing is required; every file is below /etc and belongs to a name that the API shows."""
    for service in SERVICES:
        for file in service.render({}):
            assert file.path.startswith("/etc/")
            assert any(
                file.path == path or (path.endswith("/") and file.path.startswith(path))
                for path in service.files.values()
            ), file.path


def test_services_name_settings_that_there_are() -> None:
    """A key that no model has would never come."""
    groups = Groups(GENERAL)
    known = {".".join(key) for key, _ in groups.known()}

    assert [
        key
        for service in SERVICES
        for key in service.keys
        if not any(name == key or name.startswith(f"{key}.") for name in known)
    ] == []


def test_names_of_services_and_files_are_unique() -> None:
    """The API looks them up by name."""
    names = [service.name for service in SERVICES]

    assert len(names) == len(set(names))
    assert len(CONFIGURATION_FILES) == sum(len(service.files) for service in SERVICES)
