"""What `bulkhead clean` takes from the cache, and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bulkhead.build import clean, steps, tools
from bulkhead.cli.clean import clean_command
from bulkhead.lib import cachelock
from bulkhead.lib.dirs import repository_root
from bulkhead.model.errors import HostError

DAY_S = 24 * 3600
OLD = (
    "objects/aa/old", "objects/aa/.part", "unpacked/old/000", "tools/old/usr/bin/x", "kvm/old",
    "steps/image/old/root", "steps/image/.left/root", "bench/old/disk", ".verify.x/out/y",
    "venvs/old/bin/python", "indexes/old.release",
)  # fmt: skip
NEW = (
    "objects/aa/new", "unpacked/new/000", "tools/new/usr/bin/x", "steps/image/new/root",
    "venvs/new/bin/python",
)  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache with entries that are 40 days old, and others that were used yesterday."""
    cache = tmp_path / "cache"
    for names, days in ((OLD, 40), (NEW, 1)):
        for name in names:
            path = cache / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 10_000)
            then = time.time() - days * DAY_S
            os.utime(path, (then, then))
            for folder in path.relative_to(cache).parents:
                os.utime(cache / folder, (then, then))
    return cache


def files(cache: Path) -> set[str]:
    """Return all files of a cache but its lock."""
    return {str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file()} - {cachelock.LOCK}


def test_what_nothing_used_for_long_goes(cache: Path) -> None:
    """Entries that were used since stay, and so does all else."""
    cleaned = clean.clean(cache, older_than_s=30 * DAY_S)

    assert files(cache) == set(NEW)
    assert {part.name: part.removed for part in cleaned.parts if part.removed} == {
        "objects": 2, "unpacked": 1, "indexes": 1, "tools": 1, "steps": 2, "bench": 1, "kvm": 1,
        "verify": 1, "venvs": 1,
    }  # fmt: skip
    assert cleaned.freed >= len(OLD) * 10_000


def test_a_dry_run_only_says_what_would_go(cache: Path) -> None:
    """The figures are those of the real run."""
    said = clean.clean(cache, older_than_s=30 * DAY_S, dry_run=True)

    assert files(cache) == {*OLD, *NEW}
    done = clean.clean(cache, older_than_s=30 * DAY_S)
    assert (said.parts, said.freed) == (done.parts, done.freed)


def test_everything_goes_but_environments_that_others_may_run_from(cache: Path) -> None:
    """`--all` leaves an empty cache that works."""
    clean.clean(cache, older_than_s=30 * DAY_S, everything=True)

    assert files(cache) == {"venvs/new/bin/python"}


def test_tools_of_this_checkout_stay_however_old(cache: Path) -> None:
    """They would have to be unpacked again for the next build."""
    (tree, *_) = tools.places("image", cache=cache)
    tree.mkdir()
    os.utime(tree, (0, 0))

    clean.clean(cache, older_than_s=0)

    assert list((cache / "tools").iterdir()) == [tree]
    clean.clean(cache, older_than_s=0, everything=True)
    assert list((cache / "tools").iterdir()) == []


def test_the_environment_that_runs_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program does not remove itself."""
    monkeypatch.setattr(sys, "prefix", str(cache / "venvs/old"))

    clean.clean(cache, older_than_s=30 * DAY_S, everything=True)

    assert "venvs/old/bin/python" in files(cache)


def test_files_with_several_names_are_counted_once(cache: Path) -> None:
    """Tool trees are links to unpacked packages: one name less frees nothing."""
    before = clean.clean(cache, older_than_s=30 * DAY_S, dry_run=True)
    os.link(cache / "tools/old/usr/bin/x", cache / "unpacked/new/001")
    then = time.time() - DAY_S
    os.utime(cache / "unpacked/new", (then, then))

    after = clean.clean(cache, older_than_s=30 * DAY_S)

    assert sum(part.size for part in after.parts) == sum(part.size for part in before.parts)
    assert before.freed - after.freed >= 10_000


def test_links_are_removed_and_not_followed(cache: Path, tmp_path: Path) -> None:
    """A cache of `bulkhead verify` that was killed shares parts of the real one by links."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("x")
    (cache / ".verify.x/cache").symlink_to(tmp_path / "precious")
    (cache / "objects/aa/.link").symlink_to(tmp_path / "precious")

    clean.clean(cache, older_than_s=0, everything=True)

    assert (tmp_path / "precious/file").read_text() == "x"


def test_nothing_is_removed_under_a_build(cache: Path) -> None:
    """A process that uses tools or steps holds the cache until it ends."""
    code = (
        "import sys; from pathlib import Path; from bulkhead.build import steps; "
        "steps.cached(Path(sys.argv[1]), 'step', 'x', lambda folder: None); "
        "print('ready', flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository_root() / "src")}
    before = files(cache)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(cache)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment,
    ) as build:  # fmt: skip
        assert build.stdout is not None
        assert build.stdout.readline() == b"ready\n"
        with pytest.raises(HostError, match="another bulkhead command uses the cache now"):
            clean.clean(cache, older_than_s=0, everything=True)
        assert files(cache) == before
        build.communicate()

    clean.clean(cache, older_than_s=0, everything=True)
    assert "tools/new/usr/bin/x" not in files(cache)


def test_the_cache_works_after_it_was_cleaned(cache: Path) -> None:
    """A step is made again."""
    clean.clean(cache, older_than_s=0, everything=True)

    made = steps.cached(cache, "image", "x", lambda folder: (folder / "a").write_text("a"))  # type: ignore[arg-type]  # what it returns is ignored

    assert (made / "a").read_text() == "a"


def test_the_command_says_what_it_freed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes by part for people, the same as JSON for programs."""
    monkeypatch.setenv("BULKHEAD_CACHE", str(cache))
    monkeypatch.setenv("BULKHEAD_STATE", str(cache.parent / "state"))
    run = CliRunner().invoke

    text = run(clean_command, ["--dry-run"], catch_exceptions=False).stdout
    answer = json.loads(run(clean_command, ["--json"], catch_exceptions=False).stdout)
    again = run(clean_command, ["--dry-run"], catch_exceptions=False).stdout

    assert text.splitlines()[0].split() == ["PART", "SIZE", "ENTRIES", "REMOVED"]
    assert f"{cache}: would free " in text
    assert (answer["dry_run"], answer["cache"]) == (False, str(cache))
    assert answer["freed"] > 0
    assert again.splitlines()[-1] == f"{cache}: would free 0 bytes"
    assert files(cache) == set(NEW)


def test_an_empty_cache_is_clean(tmp_path: Path) -> None:
    """Nothing is made where nothing is."""
    cleaned = clean.clean(tmp_path / "none", older_than_s=0)

    assert (cleaned.parts, cleaned.freed) == ((), 0)
    assert not (tmp_path / "none").exists()
