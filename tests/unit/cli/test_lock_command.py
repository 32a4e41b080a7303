"""`bulkhead lock` as people and programs use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bulkhead.cli.lock import lock_command
from bulkhead.model.errors import UserError
from tests.support.archive import Archive, serve


def run(*arguments: str) -> Result:
    """Run the command; errors that `main` would print are raised."""
    return CliRunner().invoke(lock_command, arguments, catch_exceptions=False)


@pytest.fixture
def variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the path of a variant whose packages come from an archive of the test's."""
    monkeypatch.setenv("BULKHEAD_CACHE", str(tmp_path / "cache"))
    with serve(tmp_path) as server:
        archive = Archive(tmp_path)
        for name in ("app", "linux-image-cloud-amd64"):
            archive.add(name)
        archive.publish()
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "variant.toml").write_text(
            f"""
            packages.host = ["app"]
            [[repositories]]
            name = "test"
            location = "{server.url}"
            suites = ["trixie"]
            keys = ["../archive.asc"]
            """
        )
        yield str(folder)


def test_lock_says_what_it_chose_and_where_it_wrote(variant: str) -> None:
    """Stdout is the answer: one line for each change, and one in the end."""
    result = run(variant)

    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[:3] == [
        ["CHANGE", "PACKAGE", "FROM", "TO"],
        ["added", "app", "1.0"],
        ["added", "linux-image-cloud-amd64", "1.0"],
    ]
    assert "mine: 2 packages" in result.stdout
    assert f"wrote {variant}/variant.lock" in result.stdout
    assert Path(variant, "variant.lock").is_file()


def test_lock_that_fits_has_nothing_to_do(variant: str) -> None:
    """The second run changes nothing and says so."""
    run(variant)

    assert "nothing to do" in run(variant).stdout
    assert "nothing to do" in run(variant, "--update").stdout


def test_dry_run_only_says_what_would_change(variant: str) -> None:
    """`--dry-run` writes no file."""
    result = run(variant, "--dry-run")

    assert "would change 2; nothing was written" in result.stdout
    assert not Path(variant, "variant.lock").exists()


def test_json_is_one_list_of_locks(variant: str) -> None:
    """Programs get names, versions and what was written."""
    [report] = json.loads(run(variant, "--json").stdout)

    assert (report["name"], report["packages"], report["written"]) == ("mine", 2, True)
    assert report["changes"][0] == {
        "kind": "added", "name": "app", "old": None, "new": "1.0",
    }  # fmt: skip


def test_update_takes_the_name_of_a_package(variant: str) -> None:
    """`--update NAME` refuses a name that is not locked."""
    run(variant)

    with pytest.raises(UserError, match=r"'ap' is in no lock that was named"):
        run(variant, "--update", "ap")


def test_nothing_named_is_a_usage_error() -> None:
    """Without a variant the known ones are listed."""
    result = run()

    assert result.exit_code == 2
    assert "name a variant, --container NAME, --tools NAME, or --all" in result.output
