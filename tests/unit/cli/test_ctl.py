"""`bulkhead ctl` changes settings, and goes back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.model.apply import ApplyRequest, ApplyResult
from bulkhead.model.errors import UserError
from tests.support.ctl import Ctl, broken, restarted, served


@pytest.fixture
def ctl(tmp_path: Path) -> Iterator[Ctl]:
    """Serve a node on which nothing has been set."""
    with served(tmp_path) as made:
        yield made


def test_sets_and_shows(ctl: Ctl) -> None:
    """Types are the settings' own; the answer names commit, settings and services."""
    said = ctl.ok("set", "motd=5", 'settings.kernel.sysctl."vm.swappiness"=10', "-m", "calm down")
    shown = ctl.ok("get", "motd", "kernel")

    assert said == (
        'commit 1: settings.kernel.sysctl."vm.swappiness", settings.motd\n'
        "SERVICE  ACTION                             RESULT  TIME\n"
        "ntp      restart systemd-timesyncd.service  done    0.25 s\n"
    )
    assert shown == (
        "KEY                                     VALUE\n"
        'settings.kernel.sysctl."vm.swappiness"  10\n'
        "settings.motd                           5\n"
    )
    assert ctl.client.commit_at(1).message == "calm down"
    assert ctl.client.transactions() == []


@pytest.mark.parametrize(
    ("arguments", "content", "typed"),
    [
        (["set", "-j", '{"motd": "new"}'], None, None),
        (["set", "-j", '{"settings": {"motd": "new"}}'], None, None),
        (["set", "--file", "FILE"], 'motd = "new"', None),
        (["set", "--file", "FILE"], '{"motd": "new"}', None),
        (["set", "--file", "-"], None, 'motd = "new"'),
        (["apply", "FILE"], '[settings]\nmotd = "new"', None),
        (["apply", "-"], None, '{"settings": {"motd": "new"}}'),
        (["apply"], None, '[settings]\nmotd = "new"'),
    ],
)
def test_takes_settings_in_every_form(
    ctl: Ctl, tmp_path: Path, arguments: list[str], content: str | None, typed: str | None
) -> None:
    """TOML and JSON, from options, files and standard input."""
    file = tmp_path / "file"
    file.write_text(content or "")
    ctl.ok(*(str(file) if part == "FILE" else part for part in arguments), input=typed)

    assert ctl.client.settings() == {"motd": "new"}
    assert ctl.agent.requests == [ApplyRequest(action="apply", keys=("settings.motd",))]


@pytest.mark.parametrize(
    ("arguments", "content", "words"),
    [
        (["set", "motd"], b"", "'motd' is no KEY=VALUE\n  hint: write motd=VALUE"),
        (["set", "mtod=x"], b"", "settings.mtod: there is no such setting"),
        (["set", "network.hostname=-"], b"", "settings.network.hostname: "),
        (["set", "-j", "{"], b"", "--from-json: cannot be read as a JSON object"),
        (["set", "-j", "[" * 100_000], b"", "--from-json: cannot be read as a JSON object"),
        (["set", "-f", "FILE"], b"motd = ", "FILE: cannot be read as TOML"),
        (["set", "-f", "FILE"], b"\xff\xfe", "FILE: is not UTF-8 text"),
        (["set", "-f", "FILE"], b"#" * (2 << 20) + b"\n", "FILE: is longer than 2097152 bytes"),
        (["set", "-f", "FILE"], b"motd = 2026", "settings.motd: expected text, got 2026"),
        (["apply", "FILE"], b'motd = "x"', "FILE: expected one table named settings, found: motd"),
        (["apply", "FILE"], b'settings = "x"', "settings: is no table"),
        (["apply", "FILE"], b"", "FILE: expected one table named settings, found: none"),
        (["unset", "motd..x"], b"", "'motd..x' is not the name of a setting"),
        (["get", "nothing"], b"", "nothing: nothing is set there"),
        (["diff"], b"", "no transaction is pending\n  hint: stage changes with"),
        (["history", "77"], b"", "77"),
        (["rollback", "77"], b"", "77"),
    ],
)
def test_bad_input_changes_nothing(
    ctl: Ctl, tmp_path: Path, arguments: list[str], content: bytes, words: str
) -> None:
    """It is told in words, with where it is; nothing is committed and nothing left pending."""
    file = tmp_path / "file"
    file.write_bytes(content)
    result = ctl.run(*(str(file) if part == "FILE" else part for part in arguments))

    assert isinstance(result.error, UserError), result.error
    assert words.replace("FILE", str(file)) in str(result.error)
    assert ctl.client.history() == []
    assert ctl.client.transactions() == []
    assert ctl.agent.requests == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["set"],
        ["set", "motd=x", "-j", "{}"],
        ["set", "motd=x", "--tx", "t", "--dry-run"],
        ["--machine", "x", "get"],
        ["raw", "GET", "os"],
        ["raw", "GET", "/os x"],
        ["raw", "GET", "/os\r\nX: y"],
        ["raw", "PUT", "/os", "-d", "x", "-f", "y"],
        ["histroy"],
        ["rollback", "-1"],
        ["exec", "box"],
        ["exec", "box", "--"],
    ],
)
def test_wrong_usage_is_exit_code_2(ctl: Ctl, arguments: list[str]) -> None:
    """Before anything is asked of the node."""
    result = ctl.run(*arguments)

    assert (result.exit_code, ctl.client.transactions()) == (2, [])


def test_what_does_not_take_effect_is_told(ctl: Ctl) -> None:
    """The service, its last words, and what to do; the exit code is 1."""
    ctl.agent.answer = broken
    result = ctl.run("set", "motd=x")

    assert result.exit_code == 1
    assert result.stderr == (
        "ntp: it exited 1: no such host\n  hint: when the reason is gone: bulkhead ctl reapply\n"
    )
    assert ctl.client.settings() == {"motd": "x"}
    ctl.agent.answer = restarted
    assert "ntp" in ctl.ok("reapply")
    assert ctl.agent.requests[-1] == ApplyRequest(action="apply")
    ctl.ok("reapply", "motd")
    assert ctl.agent.requests[-1] == ApplyRequest(action="apply", keys=("settings.motd",))


def test_goes_back_if_that_is_wanted(ctl: Ctl) -> None:
    """With --on-failure rollback the settings are as before, and the exit code is 1 all the same."""
    ctl.agent.answer = broken
    result = ctl.run("set", "motd=x", "--on-failure", "rollback")

    assert result.exit_code == 1
    assert result.stderr == (
        "ntp: it exited 1: no such host\n"
        "rolled back: the settings are as they were before\n"
        "ntp: it exited 1: no such host\n"
    )
    assert ctl.client.settings() == {"motd": "Welcome to Bulkhead!"}


def test_a_dry_run_shows_all_and_leaves_nothing(ctl: Ctl) -> None:
    """Settings, files and services; the transaction is gone afterwards."""
    said = ctl.ok("set", "motd=new", "--dry-run")

    assert said == (
        'settings.motd: "Welcome to Bulkhead!" -> "new"\n'
        "write /etc/motd\n-old\n+new\n"
        "SERVICE  ACTION                             RESULT   TIME\n"
        "ntp      restart systemd-timesyncd.service  planned\n"
    )
    assert ctl.client.history() == []
    assert ctl.client.transactions() == []
    assert [request.action for request in ctl.agent.requests] == ["plan"]


def test_settings_without_effect_are_named(ctl: Ctl) -> None:
    """Whoever sets one hears of it, in a dry run too."""
    note = "settings.ntp.options: systemd-timesyncd has no iburst"
    ctl.agent.answer = lambda request: ApplyResult(ok=True, notes=(note,))
    for more in (("--dry-run",), ()):
        said = ctl.run("set", 'ntp.options=["iburst"]', *more)

        assert (said.exit_code, said.stderr) == (0, f"note: {note}\n")


def test_a_dry_run_tells_what_could_not_take_effect(ctl: Ctl) -> None:
    """For programs that ask before they change something: exit code 1, and 3 for no change."""
    ctl.agent.answer = lambda request: ApplyResult(ok=False, error="the template has no end")
    wrong = ctl.run("set", "motd=new", "--dry-run")
    nothing = ctl.run("set", "motd=Welcome to Bulkhead!", "--dry-run")

    assert wrong.exit_code == 1
    assert wrong.stderr == "nothing takes effect: the template has no end\n"
    assert (nothing.exit_code, ctl.client.transactions()) == (3, [])


def test_transactions_are_staged_looked_at_and_committed(ctl: Ctl) -> None:
    """Several changes become one commit; the name may be left out while there is one."""
    assert ctl.ok("set", "motd=new", "--tx", "mine") == (
        "staged in 'mine'; make it live with: bulkhead ctl commit mine\n"
    )
    ctl.ok("set", "network.hostname=web-1", "--tx", "mine")
    assert ctl.client.settings() == {"motd": "Welcome to Bulkhead!"}
    assert ctl.ok("pending") == (
        "TRANSACTION  CHANGES\nmine         settings.motd settings.network.hostname\n"
    )
    assert ctl.ok("diff").startswith('settings.motd: "Welcome to Bulkhead!" -> "new"\n')
    assert ctl.ok("commit", "-m", "both").startswith(
        "commit 1: settings.motd, settings.network.hostname\n"
    )
    assert ctl.client.settings() == {"motd": "new", "network": {"hostname": "web-1"}}


def test_a_transaction_can_be_forgotten(ctl: Ctl) -> None:
    """Two are pending, so that they have to be named; committing nothing is exit code 3."""
    ctl.ok("set", "motd=one", "--tx", "a")
    ctl.ok("unset", "motd", "--tx", "b")
    result = ctl.run("commit")
    assert str(result.error) == "several transactions are pending\n  hint: name one of: a, b"

    assert ctl.ok("discard", "a") == "forgot 'a': settings.motd\n"
    assert ctl.client.transactions() == ["b"]
    assert ctl.run("diff", "b").exit_code == 3
    nothing = ctl.run("commit", "a")
    assert (nothing.exit_code, nothing.stdout) == (3, "")
    assert "nothing to commit" in nothing.stderr


def test_history_and_the_way_back(ctl: Ctl) -> None:
    """Who, when, what; a rollback is a commit of its own; 0 is the image's."""
    ctl.ok("set", "motd=one", "-m", "first")
    ctl.ok("set", "motd=two")
    said = ctl.ok("rollback", "1")
    rows = ctl.ok("history").splitlines()

    assert said.startswith("commit 3: settings.motd\n")
    assert rows[0].split() == ["COMMIT", "TIME", "WHO", "CHANGED", "MESSAGE"]
    assert [row.split()[0] for row in rows[1:]] == ["3", "2", "1"]
    assert rows[1].endswith("motd     restores 1")
    assert f"uid {os.getuid()}, pid" in rows[3]
    assert ctl.ok("history", "2").endswith('settings.motd: "one" -> "two"\n')
    ctl.ok("rollback", "0")
    assert ctl.client.settings() == {"motd": "Welcome to Bulkhead!"}
    assert len(ctl.ok("history", "-n", "2").splitlines()) == 3


def test_unset_returns_to_the_image(ctl: Ctl) -> None:
    """A setting and everything below it."""
    ctl.ok("set", "motd=one", "network.hostname=web-1", "network.https-proxy=http://p:3128")
    ctl.ok("unset", "settings.network", "motd", "-m", "clean")

    assert ctl.client.settings() == {"motd": "Welcome to Bulkhead!"}


CREDENTIALS = {
    "container-registry": {
        "credentials": [{"registry": "r.example", "username": "me", "password": "geheim"}]
    }
}


def test_secrets_are_shown_on_demand_only(ctl: Ctl) -> None:
    """Nowhere but in `get --show-secrets`: not in JSON, plans, transactions or the history."""
    settings = json.dumps(CREDENTIALS)
    said = [
        ctl.ok("set", "-j", settings, "--dry-run"),
        ctl.ok("set", "-j", settings, "--tx", "t"),
        ctl.ok("pending", "--json"),
        ctl.ok("diff"),
        ctl.ok("diff", "--json"),
        ctl.ok("commit", "--json"),
        ctl.ok("get"),
        ctl.ok("get", "--json"),
        ctl.ok("history", "--json"),
        ctl.ok("history", "1"),
        ctl.ok("unset", "container-registry", "--dry-run"),
        ctl.ok("status", "--json"),
    ]
    open_secret = ctl.ok("get", "container-registry", "--show-secrets", "--json")

    assert [text for text in said if "geheim" in text] == []
    assert "********" in said[7]
    assert json.loads(open_secret)["settings"] == CREDENTIALS
