from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bulkhead.host.store import store as module
from bulkhead.host.store.changes import differing
from bulkhead.host.store.errors import NoSuchCommit, NothingPending, TooMuch
from bulkhead.model.errors import UserError
from bulkhead.model.history import Change, Commit
from bulkhead.model.settings.groups import SettingsError
from bulkhead.model.settings.keys import Settings
from tests.support.store import DEFAULTS, WHO, put, store

HOSTNAME: Settings = {"network": {"hostname": "node-1"}}


def test_without_commits_the_defaults_are_live(tmp_path: Path) -> None:
    """A node that nobody has configured has the image's settings and no condition."""
    node = store(tmp_path)

    assert node.live() == DEFAULTS
    assert node.own() == {}
    assert node.conditions() == ()
    assert node.history() == []
    assert not (tmp_path / "settings").exists(), "reading makes nothing"


def test_a_commit_makes_what_is_pending_live(tmp_path: Path) -> None:
    """Until the commit nothing changes; then all of the transaction counts, and it is gone."""
    node = store(tmp_path)
    node.stage("one", HOSTNAME)
    node.stage("one", {"motd": "hello"})
    assert node.live() == DEFAULTS
    assert node.pending("one") == {"motd": "hello", **HOSTNAME}
    assert node.transactions() == ["one"]

    commit = node.commit("one", who="ada", message="first")

    assert commit == Commit(
        number=1,
        time=datetime.fromtimestamp(1_795_000_000, UTC),
        who="ada",
        message="first",
        keys=("settings.motd", "settings.network.hostname"),
        changed=(
            Change(key="settings.motd", old=None, new="hello"),
            Change(key="settings.network.hostname", old=None, new="node-1"),
        ),
        os_version="1.0.0",
        schema=1,
    )
    assert node.live() == {**DEFAULTS, "motd": "hello", **HOSTNAME}
    assert node.own() == {"motd": "hello", **HOSTNAME}
    assert node.transactions() == []
    assert store(tmp_path).live() == node.live()
    assert node.history() == [commit]
    assert node.commit_at(1) == commit


def test_transactions_do_not_see_each_other(tmp_path: Path) -> None:
    """Each name has its own values; the last commit wins."""
    node = store(tmp_path)
    node.stage("a", {"motd": "a", "network": {"hostname": "a"}})
    node.stage("b", {"motd": "b"})

    assert node.pending("a") == {"motd": "a", "network": {"hostname": "a"}}
    assert node.pending("b") == {"motd": "b"}
    node.commit("b", who=WHO)
    node.commit("a", who=WHO)
    assert node.own() == {"motd": "a", "network": {"hostname": "a"}}


def test_a_transaction_is_committed_once(tmp_path: Path) -> None:
    """The second commit finds nothing; so does one of a name that nobody has used."""
    node = store(tmp_path)
    put(node, HOSTNAME)

    with pytest.raises(NothingPending, match="transaction 'default' has nothing to commit"):
        node.commit("default", who=WHO)
    with pytest.raises(NothingPending):
        node.commit("other", who=WHO)


def test_delete_forgets_a_transaction_and_names_its_keys(tmp_path: Path) -> None:
    """What was pending is returned; an unknown transaction had nothing."""
    node = store(tmp_path)
    node.stage("one", HOSTNAME)
    node.stage_unset("one", [("motd",)])

    assert node.delete("one") == [("motd",), ("network", "hostname")]
    assert node.delete("one") == []
    assert node.transactions() == []


def test_unset_returns_to_the_default(tmp_path: Path) -> None:
    """A key, or a whole group, is the image's again."""
    node = store(tmp_path)
    put(node, {"motd": "mine", "kernel": {"sysctl": {"vm.swappiness": "1"}}, **HOSTNAME})
    node.stage_unset("default", [("motd",), ("kernel",)])
    commit = node.commit("default", who=WHO)

    assert node.live() == {**DEFAULTS, **HOSTNAME}
    assert commit.keys == ("settings.kernel", "settings.motd")
    assert commit.changed == (
        Change(key='settings.kernel.sysctl."vm.swappiness"', old="1", new=None),
        Change(key="settings.motd", old="mine", new=None),
    )


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (("network", "hostnam"), "did you mean 'hostname'?"),
        (("ntp", "time-server"), "did you mean 'time-servers'?"),
        (("mtod",), "did you mean 'motd'?"),
        (("motd", "x"), None),
    ],
)
def test_a_setting_that_is_not_there_cannot_be_unset(
    tmp_path: Path, key: tuple[str, ...], hint: str | None
) -> None:
    """Whoever misspelt it hears of it, as with `set`; a part of a name or a free name is fine."""
    node = store(tmp_path)
    node.stage_unset("t", [("network",), ("kernel", "sysctl", "vm.swappiness")])

    with pytest.raises(SettingsError, match="there is no such setting") as caught:
        node.stage_unset("u", [key])

    assert caught.value.hint == hint
    assert node.transactions() == ["t"]


def test_set_after_unset_in_a_transaction_stays(tmp_path: Path) -> None:
    """Within a transaction the last word counts."""
    node = store(tmp_path)
    put(node, {"network": {"hostname": "old", "https-proxy": "http://proxy.example"}})
    node.stage("default", {"motd": "gone again"})
    node.stage_unset("default", [("network",), ("motd",)])
    node.stage("default", {"network": {"hostname": "new"}})

    assert node.pending_unset("default") == (("motd",), ("network",))
    node.commit("default", who=WHO)
    assert node.own() == {"network": {"hostname": "new"}}


def test_preview_shows_what_a_commit_would_bring(tmp_path: Path) -> None:
    """It compares what is live with what would be, and writes nothing."""
    node = store(tmp_path)
    put(node, {"motd": "mine"})
    node.stage("default", HOSTNAME)
    node.stage_unset("default", [("motd",)])

    preview = node.preview("default")

    assert preview.own == HOSTNAME
    assert preview.live == {**DEFAULTS, **HOSTNAME}
    assert preview.changed == (
        Change(key="settings.motd", old="mine", new="Welcome"),
        Change(key="settings.network.hostname", old=None, new="node-1"),
    )
    assert node.own() == {"motd": "mine"}


def test_a_commit_without_a_difference_is_not_recorded(tmp_path: Path) -> None:
    """A client that sets the same each minute must not push everything else out of the history."""
    node = store(tmp_path)
    put(node, HOSTNAME)
    node.stage("again", HOSTNAME)
    commit = node.commit("again", who="somebody")

    assert (commit.number, commit.keys, commit.changed) == (1, ("settings.network.hostname",), ())
    assert [entry.number for entry in node.history()] == [1]
    assert node.transactions() == []


def test_rollback_brings_back_an_earlier_commit(tmp_path: Path) -> None:
    """It is a commit of its own, so it can be undone as well."""
    node = store(tmp_path)
    put(node, {"motd": "one"})
    put(node, {"motd": "two", **HOSTNAME})
    commit = node.rollback(1, who="ada", message="two was wrong")

    assert node.own() == {"motd": "one"}
    assert (commit.number, commit.restores, commit.who) == (3, 1, "ada")
    assert commit.changed == (
        Change(key="settings.motd", old="two", new="one"),
        Change(key="settings.network.hostname", old="node-1", new=None),
    )
    assert commit.keys == ("settings.motd", "settings.network.hostname")
    node.rollback(2, who=WHO)
    assert node.own() == {"motd": "two", **HOSTNAME}
    assert node.rollback(0, who=WHO).restores == 0
    assert node.live() == DEFAULTS


def test_rollback_to_what_is_live_changes_nothing(tmp_path: Path) -> None:
    """There is nothing to record."""
    node = store(tmp_path)
    put(node, HOSTNAME)

    assert node.rollback(1, who=WHO).number == 1
    assert node.commit_at(0).who == "image"
    assert len(node.history()) == 1


def test_a_commit_that_never_was_is_said_so(tmp_path: Path) -> None:
    """The number is in the message."""
    node = store(tmp_path)

    with pytest.raises(NoSuchCommit, match="commit 7 cannot be used: the history does not have it"):
        node.rollback(7, who=WHO)
    with pytest.raises(NoSuchCommit):
        node.commit_at(-1)


def test_wrong_values_are_refused_when_they_are_staged(tmp_path: Path) -> None:
    """Nothing of a refused body is pending."""
    node = store(tmp_path)

    with pytest.raises(SettingsError):
        node.stage("default", {"motd": "fine", "network": {"hostname": "not a name"}})
    with pytest.raises(SettingsError):
        node.stage("default", {"no-such-group": 1})

    assert node.transactions() == []


def test_values_that_are_wrong_together_are_refused_by_the_commit(tmp_path: Path) -> None:
    """Each alone is right; the transaction stays, so that it can be mended."""
    node = store(tmp_path)
    put(node, {"kernel": {"modules": {"sctp": {"allowed": False}}}})
    node.stage("default", {"kernel": {"modules": {"sctp": {"autoload": True}}}})

    with pytest.raises(SettingsError, match="is true although sctp is not allowed"):
        node.preview("default")
    with pytest.raises(SettingsError, match="is true although sctp is not allowed"):
        node.commit("default", who=WHO)

    assert node.own() == {"kernel": {"modules": {"sctp": {"allowed": False}}}}
    node.stage("default", {"kernel": {"modules": {"sctp": {"allowed": True}}}})
    node.commit("default", who=WHO)
    assert node.own() == {"kernel": {"modules": {"sctp": {"allowed": True, "autoload": True}}}}


def test_only_the_owner_reads_the_files(tmp_path: Path) -> None:
    """Settings have secrets: files are 0600 and directories 0700, whatever the umask."""
    old = os.umask(0)
    try:
        node = store(tmp_path)
        put(node, HOSTNAME)
        node.stage("left", HOSTNAME)
    finally:
        os.umask(old)
    places = [tmp_path / "settings", tmp_path / "run" / "pending"]
    found = [*places, *(path for place in places for path in place.rglob("*"))]
    modes = {
        str(path.relative_to(tmp_path)): oct(stat.S_IMODE(path.stat().st_mode)) for path in found
    }

    assert modes == {
        "settings": "0o700",
        "settings/commits": "0o700",
        "settings/commits/1.json": "0o600",
        "settings/current": "0o600",
        "run/pending": "0o700",
        "run/pending/left.json": "0o600",
    }


def test_the_history_is_bounded_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go; numbers go on."""
    monkeypatch.setattr(module, "KEEP", 5)
    node = store(tmp_path)
    for number in range(12):
        put(node, {"motd": str(number)})

    assert [commit.number for commit in node.history()] == [12, 11, 10, 9, 8]
    assert [commit.number for commit in node.history(2)] == [12, 11]
    with pytest.raises(NoSuchCommit):
        node.rollback(7, who=WHO)


def test_the_history_is_bounded_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large commits push out more; the newest stays even if it is larger than all together may be."""
    monkeypatch.setattr(module, "KEEP_BYTES", 6000)
    node = store(tmp_path)
    for letter in "abcdefg":
        put(node, {"motd": letter * 400})
    assert 1 < len(node.history()) < 7
    put(node, {"motd": "x" * 20_000})

    assert [commit.number for commit in node.history()] == [8]
    assert node.own() == {"motd": "x" * 20_000}


@pytest.mark.slow
def test_settings_that_are_too_large_are_refused(tmp_path: Path) -> None:
    """A single transaction and all settings together have a limit; what was there stays."""
    node = store(tmp_path)
    put(node, HOSTNAME)
    with pytest.raises(TooMuch, match="at most 2097152 are taken"):
        node.stage("large", {"motd": "x" * 3_000_000})

    def grow() -> None:
        for number in range(8):
            put(node, {"kernel": {"sysctl": {f"vm.p{number}": "x" * 1_500_000}}})

    with pytest.raises(TooMuch, match="the store takes 8388608"):
        grow()
    assert node.conditions() == ()
    assert store(tmp_path).own() == node.own()


def test_pending_transactions_are_bounded_in_number(tmp_path: Path) -> None:
    """A client that begins one after the other is stopped; the others can go on."""
    node = store(tmp_path)
    for number in range(64):
        node.stage(f"tx-{number}", HOSTNAME)

    with pytest.raises(TooMuch, match="64 transactions are pending, more are not taken"):
        node.stage("one-more", HOSTNAME)
    node.stage("tx-1", {"motd": "still taken"})
    node.delete("tx-2")
    node.stage("one-more", HOSTNAME)


@pytest.mark.parametrize(
    "name",
    ["default", "bottlerocket-launch", "../../etc/passwd", ".", "..", "a/b", "%2e", "ünï", ".x"],
)
def test_any_printable_name_of_a_transaction_is_its_own(tmp_path: Path, name: str) -> None:
    """Names are no paths: the file is in the directory of transactions whatever the name says."""
    node = store(tmp_path)
    node.stage(name, HOSTNAME)

    assert node.transactions() == [name]
    assert node.pending(name) == HOSTNAME
    assert len(list((tmp_path / "run" / "pending").iterdir())) == 1
    assert len(list(tmp_path.rglob("*.json"))) == 1
    node.commit(name, who=WHO)
    assert node.transactions() == []


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "nul\0", "\ud800", "ü" * 100])
def test_other_names_of_transactions_are_refused(tmp_path: Path, name: str) -> None:
    """Reading or writing."""
    node = store(tmp_path)

    for use in (node.pending, node.delete, lambda name: node.stage(name, HOSTNAME)):
        with pytest.raises(UserError, match=r"cannot be the name|is too long"):
            use(name)


@pytest.mark.parametrize(
    ("who", "message"),
    [("", None), ("x" * 257, None), ("a\x1b[2J", None), ("a", "\x1b]0;x"), ("a", "x" * 4097)],
)
def test_who_and_why_obey_no_terminal(tmp_path: Path, who: str, message: str | None) -> None:
    """They are shown to people later; control characters and books are refused."""
    node = store(tmp_path)
    node.stage("default", HOSTNAME)

    with pytest.raises(UserError, match="control characters"):
        node.commit("default", who=who, message=message)
    with pytest.raises(UserError, match="control characters"):
        node.rollback(0, who=who, message=message)


def test_an_empty_key_is_not_unset(tmp_path: Path) -> None:
    """It would mean everything."""
    with pytest.raises(UserError, match="an empty key names no setting"):
        store(tmp_path).stage_unset("default", [()])


def test_a_change_of_type_alone_is_a_change(tmp_path: Path) -> None:
    """In Python 1 == True; in settings they differ."""
    assert differing({"a": {"b": [1]}}, {"a": {"b": [True]}}) == [("a", "b")]
    assert differing({"a": 1}, {"a": 1.0}) == [("a",)]
    assert differing({"a": {}}, {}) == []
