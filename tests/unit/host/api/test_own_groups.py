"""Settings that a variant brings along, seen through the API: like Bulkhead's own in every way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.build import groups, variants
from bulkhead.build.tree import Kind, Tree
from bulkhead.lib.dirs import repository_root
from tests.support.api import Api

EXAMPLE = repository_root() / "tests" / "data" / "variants" / "logger"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Serve a node of the example, with what its image ships."""
    tree = Tree()
    groups.place(tree, groups.choose(variants.load(str(EXAMPLE))))
    prefix = f"{groups.PLACE}/"
    for path in tree.below(groups.PLACE):
        if tree[path].kind is Kind.FILE:
            target = tmp_path / "shipped" / path.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tree[path].read())
    with Api(tmp_path, shipped=True) as made:
        yield made


def test_they_are_set_checked_and_named(api: Api) -> None:
    """Types, rules, suggestions and defaults are the group's."""
    guessed = api.call(
        "PATCH /settings/keypair?tx=t", {"request_payload": ["settings.journal.keep-days=7"]}
    )
    wrong = api.call("PATCH /settings", {"journal": {"keep-days": 0}})
    misspelt = api.call("PATCH /settings", {"journal": {"keep-day": 7}})
    committed = api.call("POST /tx/commit?tx=t")
    live = api.call("GET /settings?prefix=journal").json()

    assert guessed.status == 204
    assert (wrong.status, misspelt.status) == (400, 400)
    assert "settings.journal.keep-days" in wrong.text
    assert "did you mean 'keep-days'" in misspelt.text
    assert committed.json() == ["settings.journal.keep-days"]
    assert live == {"journal": {"max-use": "500M", "keep-days": 7}}


def test_their_services_and_files_are_listed(api: Api) -> None:
    """Metadata does not tell them from others, but says where their files come from."""
    assert api.call("GET /metadata/affected-services?keys=settings.journal.keep-days").json() == {
        "settings.journal.keep-days": ["journal"]
    }
    assert api.call("GET /services?names=journal").json() == {
        "journal": {
            "configuration-files": ["journal-60-settings.conf"],
            "restart-commands": ["systemctl restart systemd-journald.service"],
        }
    }
    assert api.call("GET /configuration-files?names=journal-60-settings.conf").json() == {
        "journal-60-settings.conf": {
            "path": "/etc/systemd/journald.conf.d/60-settings.conf",
            "template-path": "groups/journal",
        }
    }


def test_their_secrets_are_hidden(api: Api) -> None:
    """In the history and in what is shown, as for Bulkhead's own."""
    api.set({"journal": {"forward": {"address": "log.example", "token": "hunter2"}}})
    shown = [
        api.call("GET /bulkhead/v1/history"),
        api.call("GET /bulkhead/v1/settings"),
    ]

    assert [b"hunter2" in answer.raw for answer in shown] == [False, False]
    assert [b"log.example" in answer.raw for answer in shown] == [True, True]


def test_the_schema_has_them(api: Api) -> None:
    """Who writes settings for this variant finds them where all others are."""
    schema = api.call("GET /bulkhead/v1/schema").json()

    assert isinstance(schema, dict)
    assert {"journal", "motd"} <= set(schema["properties"])
