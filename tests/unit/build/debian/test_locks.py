"""Locks: their text, what moves them, and what the command says about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.build.debian import download, locking
from bulkhead.build.debian.lockfile import lock_text, parse_lock, read_lock, write_lock
from bulkhead.build.debian.locking import Change, Request
from bulkhead.build.debian.relock import Relocked, relock
from bulkhead.lib.progress import SILENT
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.lock import Lock, LockedFile
from bulkhead.model.repository import Pin, Repository
from tests.support.archive import Archive, deb, serve


class World:
    """An archive with packages `app` (needs `lib`) and `tool`, and a lock file to be."""

    def __init__(self, root: Path, url: str) -> None:
        self.archive = Archive(root)
        self.url = url
        self.path = root / "x.lock"
        self.archive.add("app", Depends="lib")
        self.archive.add("lib")
        self.archive.add("tool")
        self.archive.publish()

    def request(self, *packages: str, exclude: tuple[str, ...] = ()) -> Request:
        """Return a request for these packages."""
        return Request(
            architecture="amd64", repositories=(self.archive.repository(self.url),),
            packages=packages, exclude=exclude,
        )  # fmt: skip

    def relock(
        self, *packages: str, update: tuple[str, ...] | None = (), dry_run: bool = False
    ) -> Relocked:
        """Bring the lock file up to date with a request for these packages."""
        return relock(
            "x", self.path, self.request(*packages), update=update, dry_run=dry_run,
            cache=self.archive.root / "cache", progress=SILENT,
        )  # fmt: skip

    def newer(self) -> None:
        """Publish version 2 of all packages beside version 1."""
        self.archive.add("app", "2.0", Depends="lib")
        self.archive.add("lib", "2.0")
        self.archive.add("tool", "2.0")
        self.archive.publish()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Yield a published archive."""
    with serve(tmp_path) as server:
        yield World(tmp_path, server.url)


def changed(report: Relocked) -> list[tuple[str, str]]:
    """Return kind and name of all changes."""
    return [(change.kind, change.name) for change in report.changes]


def test_first_lock_is_written(world: World) -> None:
    """Without a lock file everything is added."""
    report = world.relock("app")

    assert changed(report) == [("added", "app"), ("added", "lib")]
    assert (report.written, report.packages) == (True, 2)
    assert [package.name for package in read_lock(world.path).packages] == ["app", "lib"]


def test_lock_that_fits_is_left_alone(world: World) -> None:
    """New versions in the archive are no reason to move."""
    world.relock("app")
    before = world.path.read_bytes()
    world.newer()

    report = world.relock("app")

    assert (report.changes, report.written) == ((), False)
    assert world.path.read_bytes() == before


def test_changed_request_moves_as_little_as_possible(world: World) -> None:
    """A package that is added comes in its best version; the others stay."""
    world.relock("app")
    world.newer()

    report = world.relock("app", "tool")

    assert report.changes == (Change(kind="added", name="tool", new="2.0"),)


def test_update_moves_everything(world: World) -> None:
    """`--update` without names takes the best of all."""
    world.relock("app")
    world.newer()

    assert changed(world.relock("app", update=None)) == [("upgraded", "app"), ("upgraded", "lib")]


def test_update_of_one_package_leaves_the_others(world: World) -> None:
    """`--update lib` moves lib."""
    world.relock("app", "tool")
    world.newer()

    report = world.relock("app", "tool", update=("lib",))

    assert report.changes == (Change(kind="upgraded", name="lib", old="1.0", new="2.0"),)


def test_update_of_an_unknown_package_is_refused(world: World) -> None:
    """A name that is not in the lock comes with the nearest one."""
    world.relock("app")

    with pytest.raises(UserError, match=r"'libb' is not in the lock.*\n.*'lib'"):
        world.relock("app", update=("libb",))


def test_dry_run_writes_nothing(world: World) -> None:
    """`--dry-run` says what would change and leaves the file."""
    report = world.relock("app", dry_run=True)

    assert changed(report) == [("added", "app"), ("added", "lib")]
    assert not report.written
    assert not world.path.exists()


def test_package_that_is_not_needed_any_more_is_removed(world: World) -> None:
    """What nothing asks for leaves the lock."""
    world.relock("app", "tool")

    assert changed(world.relock("tool")) == [("removed", "app"), ("removed", "lib")]


def test_same_version_with_other_bytes_is_said(world: World) -> None:
    """A rebuilt package under its old version does not pass unnoticed."""
    world.relock("tool")
    world.archive.remove("tool")
    world.archive.add("tool", Section="other")
    world.archive.publish()

    report = world.relock("tool", update=None)

    assert changed(report) == [("changed", "tool")]


def test_each_set_is_complete_in_itself(world: World) -> None:
    """Sets share packages, and each lists its whole closure."""
    request = Request(
        architecture="amd64", repositories=(world.archive.repository(world.url),),
        sets={"host": ("app", "tool"), "agent": ("lib",)},
    )  # fmt: skip

    lock = locking.resolve(request, cache=world.archive.root / "cache", progress=SILENT)

    assert lock.sets == {"agent": ("lib",), "host": ("app", "lib", "tool")}
    assert [package.name for package in lock.packages] == ["app", "lib", "tool"]


def test_sets_with_different_versions_are_refused(world: World) -> None:
    """One version of a package in an image, in all its trees."""
    world.newer()
    request = Request(
        architecture="amd64", repositories=(world.archive.repository(world.url),),
        sets={"host": ("lib",), "agent": ("lib=1.0",)},
    )  # fmt: skip

    with pytest.raises(UserError, match=r"sets need different versions of 'lib': 1\.0 and 2\.0"):
        locking.resolve(request, cache=world.archive.root / "cache", progress=SILENT)


def test_contradictory_requests_are_refused(world: World) -> None:
    """Two exact versions of one package cannot both be had."""
    with pytest.raises(UserError, match=r"contradictory requests: lib=1 and lib=2"):
        world.relock("lib=1", "lib=2")


SAMPLE = """{"format": 1, "architecture": "amd64", "request": "r", "suites":
    [{"repository": "d", "suite": "s", "date": "2026-01-01T00:00:00Z", "sha256": "0"}],
    "packages": [{"name": "a", "version": "1", "architecture": "all", "repository": "d",
    "path": "pool/ä.deb", "size": 1, "sha256": "1", "source": "a (1)"},
    {"name": "b", "version": "1", "architecture": "all", "repository": "d",
    "path": "pool/b.deb", "size": 1, "sha256": "2", "source": "b (1)"}],
    "files": [{"name": "f", "url": "u", "size": 1, "sha256": "3"}], "sets": {"x": ["a"]}}"""


def whole(text: str) -> str:
    """Return text with hashes of 64 digits where it has one digit."""
    return re.sub(r'"sha256": "(\d)"', lambda match: f'"sha256": "{match[1] * 64}"', text)


def sample() -> Lock:
    """Return a lock with one of everything."""
    return parse_lock(whole(SAMPLE), where="sample")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ('"sha256": "1"', '"sha256": "/etc/passwd"'),
        ('"sha256": "1"', f'"sha256": "{"1" * 63}/"'),
        ('"sha256": "1"', f'"sha256": "{"1" * 64}\\n"'),
        ('"size": 1', '"size": -1'),
        ('"size": 1', '"size": 99999999999999999999'),
        ('"version": "1"', f'"version": "{"1" * 5000}"'),
        ("2026-01-01", "2026-13-01"),
        ("2026-01-01T00:00:00Z", "yesterday"),
        ('["a"]', '["c"]'),
    ],
)
def test_what_becomes_a_path_or_a_number_is_checked(good: str, bad: str) -> None:
    """A lock also comes in the manifest of an image from elsewhere."""
    text = whole(SAMPLE.replace(good, bad, 1))

    with pytest.raises(UserError, match="sample: is not a lock file"):
        parse_lock(text, where="sample")


def test_text_of_a_lock_has_one_line_for_each_artifact() -> None:
    """A diff of two locks shows the packages that moved and nothing else."""
    text = lock_text(sample())

    lines = text.splitlines()
    assert [line for line in lines if '"name": "a"' in line] == [
        '    {"name": "a", "version": "1", "architecture": "all", "repository": "d", '
        + whole('"path": "pool/ä.deb", "size": 1, "sha256": "1", "source": "a (1)"},')
    ]
    assert text.endswith("}\n")
    assert len(lines) == 18


def test_lock_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """Writing and reading lose nothing, empty lists included."""
    for lock in (sample(), msgspec.structs.replace(sample(), files=(), sets={}, packages=())):
        write_lock(tmp_path / "x.lock", lock)

        assert read_lock(tmp_path / "x.lock") == lock


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a lock file"),
        ('{"x": ' + "[" * 100_000, "is not a lock file"),
        ("{}", "is not a lock file"),
        (
            '{"format": 9, "architecture": "a", "request": "", "suites": [], "packages": []}',
            "has format 9",
        ),
    ],
)
def test_broken_lock_file_is_refused(tmp_path: Path, text: str, why: str) -> None:
    """What is no lock says so, with the way to make it again."""
    (tmp_path / "x.lock").write_text(text)

    with pytest.raises(UserError, match=rf"(?s)x\.lock: {why}.*bulkhead lock"):
        read_lock(tmp_path / "x.lock")


def test_missing_lock_file_says_how_to_make_it(tmp_path: Path) -> None:
    """There is a command for it."""
    with pytest.raises(UserError, match=r"(?s)there is no lock file yet.*bulkhead lock"):
        read_lock(tmp_path / "x.lock")


def test_lock_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(HostError, match=r"missing/x\.lock: cannot be written"):
        write_lock(tmp_path / "missing" / "x.lock", sample())


def test_rebuilt_package_in_a_directory_makes_the_lock_stale(tmp_path: Path) -> None:
    """One's own package under development is taken again when its bytes change."""
    repository = Repository(name="own", location=f"dir:{tmp_path}")
    request = Request(architecture="amd64", repositories=(repository,), packages=("mine",))
    (tmp_path / "mine.deb").write_bytes(deb("mine", files={"a": b"1"}))
    cache = tmp_path / "cache"
    first = relock("x", tmp_path / "x.lock", request, cache=cache, progress=SILENT)

    (tmp_path / "mine.deb").write_bytes(deb("mine", files={"a": b"2"}))
    second = relock("x", tmp_path / "x.lock", request, cache=cache, progress=SILENT)
    lock = read_lock(tmp_path / "x.lock")
    paths = download.fetch(lock, cache=cache, progress=SILENT, repositories=(repository,))

    assert (changed(first), changed(second)) == ([("added", "mine")], [("changed", "mine")])
    assert paths["mine"].read_bytes() == (tmp_path / "mine.deb").read_bytes()


def test_lock_knows_the_request_it_was_made_for(world: World, tmp_path: Path) -> None:
    """Everything that decides the answer counts; the order of names and the place of keys do not."""
    base = world.request("a", "b")
    elsewhere = tmp_path / "elsewhere.asc"
    elsewhere.write_bytes(world.archive.key_file.read_bytes())
    moved = msgspec.structs.replace(base.repositories[0], keys=(str(elsewhere),))
    other = Archive(tmp_path / "other").repository(world.url, name="test")
    file = LockedFile(name="f", url="u", size=1, sha256="0")
    replace = msgspec.structs.replace

    assert world.request("b", "a").digest() == base.digest()
    assert replace(base, repositories=(moved,)).digest() == base.digest()
    different = [
        world.request("a"),
        world.request("a", "b", exclude=("c",)),
        replace(base, repositories=(other,)),
        replace(base, pins=(Pin(packages=("a",), priority=1),)),
        replace(base, sets={"y": ("a",)}),
        replace(base, files=(file,)),
        replace(base, architecture="arm64"),
    ]
    assert len({base.digest(), *(request.digest() for request in different)}) == 8
