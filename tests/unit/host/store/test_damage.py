"""What can be on a disk instead of a commit. The node boots with the newest that can be read."""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from bulkhead.host.store.accept import SET_ASIDE, WRONG_DEFAULTS
from bulkhead.host.store.errors import CannotWrite, NoSuchCommit
from bulkhead.host.store.reading import LOST, UNREADABLE
from bulkhead.model.errors import HostError
from bulkhead.model.health import Condition
from bulkhead.model.settings.groups import Group, Groups
from bulkhead.model.settings.keys import Settings
from tests.support import crash
from tests.support.store import DEFAULTS, NAMES, WHO, put, store


def whole(content: bytes) -> bytes:
    """Return a commit's file with a right checksum around any content."""
    return b'{"crc32":%d,"content":%s}' % (zlib.crc32(content), content)


def commit_file(**changes: object) -> bytes:
    """Return the file of commit 2 with parts of it replaced."""
    document: dict[str, object] = {
        "format": 1,
        "commit": {"number": 2, "time": "2026-11-23T15:00:00Z", "who": "test"},
        "core": {"schema": 1, "versions": {"1": {"motd": "two"}}},
        **changes,
    }
    return whole(msgspec.json.encode(document))


def deep(levels: int) -> bytes:
    """Return a commit whose settings are nested."""
    tree = b'{"a":' * levels + b"1" + b"}" * levels
    core = b'{"schema":1,"versions":{"1":%s}}' % tree
    head = b'"format":1,"commit":{"number":2,"time":"2026-11-23T15:00:00Z","who":"t"}'
    return whole(b'{%s,"core":%s}' % (head, core))


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "Input data was truncated"),
    "truncated": (commit_file()[:-30], "truncated"),
    "zeroes": (b"\0" * 300, "damaged"),
    "not JSON": (b"\x7fELF" * 20, "damaged"),
    "not UTF-8": (commit_file().replace(b"two", b"\xff\xfeo"), "the checksum is another one"),
    "not UTF-8, checksum right": (
        whole(b'{"format":1,"commit":{"who":"\xff\xfe"}}'),
        "damaged",
    ),
    "another JSON": (b'["settings"]', "Expected `object`, got `array`"),
    "one bit": (commit_file().replace(b"two", b"twp"), "the checksum is another one"),
    "newer form": (commit_file(format=2), "a newer version wrote it in the form 2, known is 1"),
    "newer form, other fields": (whole(b'{"format":9,"x":[]}'), "the form 9, known is 1"),
    "only newer schemas": (
        commit_file(core={"schema": 8, "versions": {"8": {}, "7": {}}}),
        r"in the schemas \[7, 8\], this image reads 1 to 1",
    ),
    "no settings": (commit_file(core={"schema": 1}), "missing required field `versions`"),
    "settings are no table": (
        commit_file(core={"schema": 1, "versions": {"1": [1]}}),
        "Expected `object`",
    ),
    "another number": (
        commit_file(commit={"number": 3, "time": "2026-11-23T15:00:00Z", "who": "x"}),
        "it is commit 3 under another name",
    ),
    "nested": (deep(100_000), "nested too deeply"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_commit_is_passed_over(tmp_path: Path, name: str) -> None:
    """The one before it counts, the condition says why, and the next commit works."""
    raw, reason = FILES[name]
    node = store(tmp_path)
    put(node, {"motd": "one"})
    put(node, {"motd": "two"})
    path = tmp_path / "settings" / "commits" / "2.json"
    path.write_bytes(raw)

    state = node.state()

    assert state.own == {"motd": "one"}
    assert [entry.code for entry in state.conditions] == [UNREADABLE]
    assert state.conditions[0].where == str(path)
    assert re.search(reason, state.conditions[0].title), state.conditions[0].title
    assert "In force are those of commit 1." in state.conditions[0].text
    with pytest.raises(NoSuchCommit, match="commit 2 cannot be used"):
        node.rollback(2, who=WHO)
    assert put(node, {"network": {"hostname": "three"}}) == 3
    assert node.own() == {"motd": "one", "network": {"hostname": "three"}}
    assert node.conditions() == ()
    assert path.read_bytes() == raw, "it may be of use to somebody"


def test_the_file_that_these_tests_damage_is_right(tmp_path: Path) -> None:
    """Undamaged, it counts: what is refused above is refused for the reason that is given."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    put(node, {"motd": "x"})
    for raw in (commit_file(), deep(1)):
        (tmp_path / "settings" / "commits" / "2.json").write_bytes(raw)
        assert node.state().stored.commit.number == 2
        assert UNREADABLE not in [entry.code for entry in node.conditions()]


@pytest.mark.parametrize("levels", [50, 300, 900, 990, 1500, 5000])
def test_no_depth_of_nesting_stops_the_reader(tmp_path: Path, levels: int) -> None:
    """Deep but readable JSON is refused or set aside: programs walk through it recursively."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    put(node, {"motd": "two"})
    (tmp_path / "settings" / "commits" / "2.json").write_bytes(deep(levels))

    state = node.state()

    assert state.live == {**DEFAULTS, **state.own}
    assert state.conditions != ()


def test_without_any_readable_commit_the_defaults_are_live(tmp_path: Path) -> None:
    """The node boots; all that is wrong is told."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    put(node, {"motd": "two"})
    for path in (tmp_path / "settings" / "commits").iterdir():
        path.write_bytes(b"")

    assert node.live() == DEFAULTS
    assert [entry.code for entry in node.conditions()] == [UNREADABLE, UNREADABLE]
    assert "In force are the image's defaults." in node.conditions()[0].text
    assert node.history() == []
    assert put(node, {"motd": "three"}) == 3


def test_a_commit_that_vanished_is_noticed(tmp_path: Path) -> None:
    """The file is gone, but not the knowledge that it was there; its number is not used again."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    put(node, {"motd": "two"})
    (tmp_path / "settings" / "commits" / "2.json").unlink()

    assert node.own() == {"motd": "one"}
    assert node.conditions() == (
        Condition(
            code=LOST,
            title="settings are lost: commit 2 was made, and its file is gone",
            severity="error",
            text="In force is commit 1. Look for errors of the disk in the journal, and set again "
            "what is missing.",
            where=str(tmp_path / "settings" / "commits" / "2.json"),
        ),
    )
    assert put(node, {"motd": "three"}) == 3
    assert node.conditions() == ()


def test_a_damaged_number_is_no_harm(tmp_path: Path) -> None:
    """`current` only tells of losses."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    for raw in (b"", b"\xff", b"one\n", b"-1\n", b"9" * 5000 + b"\n"):
        (tmp_path / "settings" / "current").write_bytes(raw)
        assert node.own() == {"motd": "one"}
        assert node.conditions() == ()
    assert put(node, {"motd": "two"}) == 2


def as_pipe(path: Path) -> None:
    """Put a named pipe in place: opening it would wait for ever."""
    os.mkfifo(path)


def as_link(path: Path) -> None:
    """Put a link to somebody else's file in place."""
    path.symlink_to("/etc/shadow")


def as_directory(path: Path) -> None:
    """Put a directory in place."""
    path.mkdir()


def as_giant(path: Path) -> None:
    """Put 10 GB in place, none of it on the disk."""
    with path.open("wb") as file:
        file.truncate(10_000_000_000)


def as_endless(path: Path) -> None:
    """Put a link to a device in place that never ends."""
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put_in_place", [as_pipe, as_link, as_directory, as_giant, as_endless])
@pytest.mark.parametrize("name", ["commits/2.json", "current"])
def test_a_broken_into_api_cannot_lead_root_astray(
    tmp_path: Path, put_in_place: Callable[[Path], None], name: str
) -> None:
    """The apply agent, as root, reads what the API wrote: only plain files, only so much of them."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    put(node, {"motd": "two"})
    path = tmp_path / "settings" / name
    path.unlink()
    put_in_place(path)

    assert node.own()["motd"] in ("one", "two")
    assert all(entry.code == UNREADABLE for entry in node.conditions())
    assert "root:" not in str(node.conditions())


def test_a_linked_directory_is_not_followed(tmp_path: Path) -> None:
    """Commits of somewhere else are not ours."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    commits = tmp_path / "settings" / "commits"
    commits.rename(tmp_path / "elsewhere")
    commits.symlink_to(tmp_path / "elsewhere")

    assert node.live() == DEFAULTS
    assert "the directory cannot be read" in node.conditions()[0].title


def test_names_that_are_no_commits_are_passed_over(tmp_path: Path) -> None:
    """Whatever else is in the directory does not count, and is not touched."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    commits = tmp_path / "settings" / "commits"
    for name in ("x.json", "2.json~", "-2.json", "02.json", "2.JSON", "٣.json", "9" * 16 + ".json"):
        (commits / name).write_bytes(commit_file())

    assert node.own() == {"motd": "one"}
    assert put(node, {"motd": "two"}) == 2


def test_a_damaged_transaction_can_only_be_deleted(tmp_path: Path) -> None:
    """It is named, and nothing of it is guessed."""
    node = store(tmp_path)
    node.stage("one", {"motd": "x"})
    (tmp_path / "run" / "pending" / "one.json").write_bytes(b"\xff{")

    assert node.transactions() == ["one"]
    with pytest.raises(HostError, match="the pending transaction 'one' cannot be read"):
        node.commit("one", who=WHO)


@pytest.mark.parametrize("call", range(12))
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_a_call_changes_nothing(tmp_path: Path, call: int, code: int) -> None:
    """Any one of the commit's calls fails: the old state, a clear error, and it can be tried again."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    node.stage("default", {"motd": "two"})
    message = tmp_path / "message"

    def commit() -> None:
        try:
            node.commit("default", who=WHO)
        except CannotWrite as error:
            message.write_text(str(error))

    crash.run(commit, tmp_path / "settings", refuse=call, code=code)
    state = node.state()

    assert state.conditions == ()
    assert not list(tmp_path.rglob("settings/commits/.*"))
    # After the directory is synced, only `current` is left to write, and that may fail.
    assert message.exists() == (call < 5)
    if message.exists():
        text = message.read_text()
        assert state.own == {"motd": "one"}
        assert "the settings cannot be saved" in text
        assert "nothing has changed" in text
        assert ("make room on the data partition" in text) == (code == errno.ENOSPC)
        assert node.transactions() == ["default"]
        assert node.commit("default", who=WHO).number == 2
    assert node.own() == {"motd": "two"}


def on_a_small_disk(place: Path) -> None:
    """Fill a real file system to the last byte, and commit on it."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_mounts = 0x10000000, 0x20000  # unshare(2)
    assert libc.unshare(new_mounts | (new_user if os.geteuid() else 0)) == 0, ctypes.get_errno()
    assert libc.mount(b"none", b"/", None, 1 << 18 | 1 << 14, None) == 0  # private, below too
    options = b"size=256k,nr_inodes=200"
    assert libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, options) == 0, ctypes.get_errno()
    node = store(place)
    put(node, {"motd": "one"})
    node.stage("default", {"motd": "two", "network": {"hostname": "x" * 60}})
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 1024):
            pass
    with pytest.raises(CannotWrite, match="No space left on device; nothing has changed"):
        node.commit("default", who=WHO)
    with pytest.raises(CannotWrite, match="make room on the data partition"):
        node.rollback(0, who=WHO)
    assert node.own() == {"motd": "one"}
    assert node.conditions() == ()
    assert not list((place / "settings" / "commits").glob(".*"))
    filler.unlink()
    assert node.commit("default", who=WHO).number == 2
    assert store(place).conditions() == ()


def test_a_full_data_partition_changes_nothing(tmp_path: Path) -> None:
    """A clear error, nothing half-made, and with room again the same transaction goes through."""
    process = multiprocessing.get_context("fork").Process(target=on_a_small_disk, args=(tmp_path,))
    process.start()
    process.join(60)

    assert process.exitcode == 0


def test_a_value_that_a_new_image_refuses_is_set_aside(tmp_path: Path) -> None:
    """The others count, the boot goes on, and an image that takes it has it back."""
    values: Settings = {
        "motd": "mine",
        "network": {"hostname": "node-1"},
        "ntp": {"time-servers": ["a.example"]},
    }
    put(store(tmp_path), values)
    other = store(tmp_path, groups=Groups([name for name in NAMES if name != "ntp"]), defaults={})

    state = other.state()

    assert state.live == {"motd": "mine", "network": {"hostname": "node-1"}}
    assert state.aside == {"ntp": {"time-servers": ["a.example"]}}
    assert state.conditions == (
        Condition(
            code=SET_ASIDE,
            title="settings.ntp is not used: this variant has no such settings",
            severity="warning",
            text="This image does not take the value that the node has, and uses its own default. "
            "Set a value that is right, or unset it.",
            where="settings.ntp",
        ),
    )
    put(other, {"motd": "changed"})
    assert other.state().aside == state.aside
    assert store(tmp_path).own() == {**values, "motd": "changed"}


def test_one_wrong_value_in_a_table_does_not_take_the_others_along(tmp_path: Path) -> None:
    """The smallest part that is wrong goes, also when the error is about the whole table."""
    node = store(tmp_path)
    sysctl = {"vm.swappiness": "1", "../../x": "2", "net.core.somaxconn": "4096"}
    put(node, {"motd": "x"})
    put(node, {"motd": "y"})
    settings = {"kernel": {"sysctl": sysctl}, "motd": 7, "network": {"hostname": "fine", "mtu": 1}}
    raw = commit_file(core={"schema": 1, "versions": {"1": settings}})
    (tmp_path / "settings" / "commits" / "2.json").write_bytes(raw)

    state = node.state()

    assert state.own == {
        "kernel": {"sysctl": {"vm.swappiness": "1", "net.core.somaxconn": "4096"}},
        "network": {"hostname": "fine"},
    }
    assert sorted(entry.where or "" for entry in state.conditions) == [
        'settings.kernel.sysctl."../../x"',
        "settings.motd",
        "settings.network.mtu",
    ]


def test_values_that_are_set_aside_can_be_replaced_or_unset(tmp_path: Path) -> None:
    """Then the condition is over."""
    node = store(tmp_path)
    put(node, {"motd": "x"})
    put(node, {"motd": "y"})
    settings = {"motd": 7, "network": {"mtu": 1}}
    raw = commit_file(core={"schema": 1, "versions": {"1": settings}})
    (tmp_path / "settings" / "commits" / "2.json").write_bytes(raw)
    assert len(node.conditions()) == 2

    node.stage("default", {"motd": "right"})
    node.stage_unset("default", [("network", "mtu")])
    commit = node.commit("default", who=WHO)

    assert node.conditions() == ()
    assert node.own() == {"motd": "right"}
    # Nobody knows whether what was set aside was a secret.
    assert [(change.key, change.old) for change in commit.changed] == [
        ("settings.motd", "********"),
        ("settings.network.mtu", "********"),
    ]


def test_rules_of_a_variant_that_fail_do_not_keep_the_node_from_booting(tmp_path: Path) -> None:
    """Its group is set aside; the rest counts."""
    from bulkhead.model.settings.groups import general

    def broken() -> Group:
        motd = general("motd")

        def check(model: object, /, *, complete: bool) -> None:
            del complete
            if model == "boom":
                raise ZeroDivisionError

        return Group("own", motd.kind, check)

    groups = Groups(NAMES, {"own": broken})
    node = store(tmp_path, groups=groups)
    put(node, {"motd": "x"})
    put(node, {"motd": "y"})
    settings = {"motd": "two", "own": "boom"}
    raw = commit_file(core={"schema": 1, "versions": {"1": settings}})
    (tmp_path / "settings" / "commits" / "2.json").write_bytes(raw)

    assert node.own() == {"motd": "two"}
    assert node.conditions()[0].title == (
        "settings.own is not used: cannot be judged: ZeroDivisionError"
    )


def test_wrong_defaults_are_in_force_as_they_are(tmp_path: Path) -> None:
    """There is nothing else to boot with; the condition says so."""
    node = store(tmp_path, defaults={"motd": 1})
    put(store(tmp_path), {"network": {"hostname": "node-1"}})

    assert node.live() == {"motd": 1}
    assert [entry.code for entry in node.conditions()][-1] == WRONG_DEFAULTS
