"""Bringing locked packages into the cache: resuming, sharing, refusing, and doing without."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.build.debian import download, locking, objects
from bulkhead.build.debian.locking import Request
from bulkhead.lib.progress import SILENT
from bulkhead.model.errors import HostError, RemoteError, Untrusted, UserError
from bulkhead.model.lock import Lock, LockedFile
from tests.support.archive import Archive, Server, serve

NAMES = ("one", "three", "two")


class World:
    """A published archive with three packages, its lock, and an empty cache."""

    def __init__(self, root: Path, server: Server) -> None:
        self.archive = Archive(root / "debian")
        self.server = server
        self.cache = root / "cache"
        self.content = {
            "one": self.archive.add("one", Depends="two"),
            "two": self.archive.add("two"),
            "three": self.archive.add("three"),
        }
        self.archive.publish()
        self.request = self.made_of(f"{server.url}/debian")
        self.lock = locking.resolve(self.request, cache=self.cache, progress=SILENT)
        server.requests.clear()

    def made_of(self, location: str) -> Request:
        """Return the request, with the archive at this location."""
        return Request(
            architecture="amd64",
            repositories=(self.archive.repository(location, name="debian"),),
            sets={"a": ("one",), "b": ("three",)},
        )

    def fetch(self) -> dict[str, Path]:
        """Fetch the lock."""
        return download.fetch(
            self.lock, cache=self.cache, progress=SILENT,
            repositories=self.request.repositories,
        )  # fmt: skip

    def path(self, name: str) -> str:
        """Return the path of a package on the server."""
        return "/debian/" + next(p.path for p in self.lock.packages if p.name == name)

    def part(self, name: str) -> Path:
        """Return where the unfinished download of a package is."""
        whole = self.object(name)
        whole.parent.mkdir(parents=True, exist_ok=True)
        return whole.with_name(f".{whole.name}.part")

    def object(self, name: str) -> Path:
        """Return where the package's bytes will be."""
        return objects.object_path(self.cache, hashlib.sha256(self.content[name]).hexdigest())

    def left(self) -> list[str]:
        """Return the names of all unfinished files in the cache."""
        return [path.name for path in self.cache.glob("objects/*/.*")]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Yield a world whose mirror and snapshot archive are a server of the test's."""
    with serve(tmp_path) as server:
        monkeypatch.setenv("BULKHEAD_MIRROR", f"{server.url}/debian")
        monkeypatch.setenv("BULKHEAD_SNAPSHOT", f"{server.url}/snapshot")
        yield World(tmp_path, server)


def test_packages_are_fetched_once(world: World) -> None:
    """All bytes arrive, read-only, under their hash; the second time nothing is asked."""
    paths = world.fetch()

    assert {name: path.read_bytes() for name, path in paths.items()} == world.content
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths.values()} == {0o444}
    assert world.left() == []
    world.server.requests.clear()
    assert world.fetch() == paths
    assert world.server.requests == []


def test_only_the_named_sets_are_fetched(world: World) -> None:
    """A step that needs one set does not download the others."""
    paths = download.fetch(
        world.lock, sets=["a"], cache=world.cache, progress=SILENT,
        repositories=world.request.repositories,
    )  # fmt: skip

    assert sorted(paths) == ["one", "two"]
    with pytest.raises(UserError, match="the lock has no set 'c'"):
        download.fetch(world.lock, sets=["c"], cache=world.cache, progress=SILENT)


def test_unfinished_download_is_carried_on(world: World) -> None:
    """What an interrupted run left is not downloaded again."""
    world.part("one").write_bytes(world.content["one"][:100])

    world.fetch()

    assert (world.path("one"), "bytes=100-") in world.server.requests
    assert world.object("one").read_bytes() == world.content["one"]


def test_complete_part_needs_no_request(world: World) -> None:
    """A download that was interrupted right before its end is only checked."""
    world.part("one").write_bytes(world.content["one"])

    world.fetch()

    assert world.path("one") not in [path for path, _ in world.server.requests]


@pytest.mark.parametrize("junk", [b"junk" * 10, b"junk" * 10000])
def test_wrong_bytes_of_an_earlier_run_are_thrown_away(world: World, junk: bytes) -> None:
    """A .part file that turns out wrong is started again, not blamed on the server."""
    world.part("one").write_bytes(junk)

    world.fetch()

    assert world.object("one").read_bytes() == world.content["one"]


@pytest.mark.slow
def test_broken_connection_is_carried_on(world: World) -> None:
    """A transfer that breaks in the middle goes on where it was."""
    world.server.faults[world.path("two")] = [("cut", 90), ("status", 503)]

    world.fetch()

    asked = [range_ for path, range_ in world.server.requests if path == world.path("two")]
    assert asked == ["", "bytes=90-", "bytes=90-"]
    assert world.object("two").read_bytes() == world.content["two"]


def test_end_that_may_have_come_early_is_carried_on(world: World) -> None:
    """A server that does not say how much it gives may have been cut off: it is asked for the rest."""
    world.server.faults[world.path("two")] = [("end", 90)]

    world.fetch()

    asked = [range_ for path, range_ in world.server.requests if path == world.path("two")]
    assert asked == ["", "bytes=90-"]
    assert world.object("two").read_bytes() == world.content["two"]


@pytest.mark.slow
def test_end_that_always_comes_early_is_told(world: World) -> None:
    """After some tries it says how much there was; what there was is kept for the next run."""
    world.server.faults[world.path("two")] = [("end", 90)] * 9

    with pytest.raises(
        RemoteError,
        match=r"two_1\.0_amd64\.deb: cannot be downloaded: it ended after 90 of \d+ bytes",
    ):
        world.fetch()

    assert world.part("two").read_bytes() == world.content["two"][:90]


@pytest.mark.slow
def test_wrong_bytes_at_the_last_try_are_no_package(world: World) -> None:
    """A try that resumed what was wrong begins again from the start, also when it is the last."""
    file = world.archive.root.parent / world.path("two").lstrip("/")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    world.server.faults[world.path("two")] = [("cut", 90)] * 3

    with pytest.raises(Untrusted, match="has SHA-256"):
        world.fetch()

    assert not world.object("two").exists()


@pytest.mark.slow
def test_server_that_stays_broken_is_named(world: World) -> None:
    """After some tries the address and the reason are said."""
    world.server.faults[world.path("two")] = [("status", 500)] * 9

    with pytest.raises(
        RemoteError, match=r"two_1\.0_amd64\.deb: cannot be downloaded: HTTP status 500"
    ):
        world.fetch()


def test_changed_package_is_refused(world: World) -> None:
    """Other bytes than the lock names are not kept, and the address is named."""
    file = world.archive.root.parent / world.path("two").lstrip("/")
    file.write_bytes(file.read_bytes()[:-1] + b"!")

    with pytest.raises(Untrusted, match=r"two_1\.0_amd64\.deb: has SHA-256 .*: someone changed it"):
        world.fetch()

    assert not world.object("two").exists()


def test_longer_package_is_refused(world: World) -> None:
    """Reading stops at the size that the lock names."""
    file = world.archive.root.parent / world.path("two").lstrip("/")
    file.write_bytes(file.read_bytes() + b"x" * 1_000_000)

    with pytest.raises(Untrusted, match="bytes, the lock says"):
        world.fetch()


def test_shorter_package_is_refused(world: World) -> None:
    """A package that is complete for the server but shorter than locked is refused."""
    file = world.archive.root.parent / world.path("two").lstrip("/")
    file.write_bytes(file.read_bytes()[:-7])

    with pytest.raises(Untrusted, match="bytes, the lock says"):
        world.fetch()


@pytest.mark.parametrize("name", ["../../../x", "a" * 63 + "/", "", "A" * 64])
def test_what_is_no_hash_is_no_place_in_the_cache(tmp_path: Path, name: str) -> None:
    """Whatever let it through, nothing is written elsewhere."""
    with pytest.raises(Untrusted, match=r"nothing is kept under this name: .* is no SHA-256"):
        objects.object_path(tmp_path, name)


def test_full_disk_is_said_so(world: World) -> None:
    """Without space the message names the file, and what it takes."""
    world.part("one").symlink_to("/dev/full")

    with pytest.raises(
        HostError, match=r"(?s)no space left: it takes about 0\.0 MB.*BULKHEAD_CACHE"
    ):
        world.fetch()


def gone(world: World) -> None:
    """Take package `two` off the mirror, and publish a newer version."""
    world.archive.remove("two")
    world.archive.add("two", "2.0")
    world.archive.publish()


def official(world: World) -> World:
    """Make the archive play the role of Debian's own."""
    world.request = world.made_of("debian")
    world.lock = locking.resolve(world.request, cache=world.cache, progress=SILENT)
    return world


def test_package_that_left_the_mirror_comes_from_the_snapshot_archive(world: World) -> None:
    """Debian's archive of the past is asked for the time of the lock."""
    official(world)
    gone(world)
    moment = world.lock.suites[0].date.replace("-", "").replace(":", "")
    old = world.archive.root.parent / "snapshot" / "debian" / moment / world.path("two")[8:]
    old.parent.mkdir(parents=True)
    old.write_bytes(world.content["two"])

    assert world.fetch()["two"].read_bytes() == world.content["two"]


def test_package_that_is_nowhere_is_gone(world: World) -> None:
    """The error carries all packages that are gone, and says what to do."""
    official(world)
    gone(world)

    with pytest.raises(download.Gone, match=r"(?s)two 1\.0.*bulkhead lock --update") as caught:
        world.fetch()

    assert [package.name for package in caught.value.packages] == ["two"]
    assert world.object("one").exists()


def test_unreachable_snapshot_archive_is_given_up_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive whose name does not resolve costs no waiting."""
    monkeypatch.setenv("BULKHEAD_SNAPSHOT", "http://snapshot.invalid/archive")
    official(world)
    gone(world)

    with pytest.raises(download.Gone):
        world.fetch()


def test_unreachable_second_mirror_does_not_hide_that_a_package_is_gone(world: World) -> None:
    """When one mirror says that a package has left, another one's silence changes nothing."""
    two = next(package for package in world.lock.packages if package.name == "two")

    def urls(_: objects.Artifact) -> Iterator[str]:
        yield f"{world.server.url}/gone"
        yield "http://second.invalid/two"

    gone = objects.fetch([two], urls, cache=world.cache, progress=SILENT)

    assert gone == [two]


def test_unreachable_mirror_is_replaced_by_the_next(world: World) -> None:
    """The second mirror is asked when the first is out of reach."""
    two = next(package for package in world.lock.packages if package.name == "two")

    def urls(_: objects.Artifact) -> Iterator[str]:
        yield "http://first.invalid/two"
        yield world.server.url + world.path("two")

    assert objects.fetch([two], urls, cache=world.cache, progress=SILENT) == []
    assert world.object("two").exists()


@pytest.mark.parametrize("answer", [b"login", b"x" * 100_000, b"the right length"])
def test_wrong_mirror_is_replaced_by_the_next(world: World, tmp_path: Path, answer: bytes) -> None:
    """A network that wants a login first answers everything; the second mirror is asked."""
    two = next(package for package in world.lock.packages if package.name == "two")
    (tmp_path / "first").write_bytes(answer.ljust(two.size) if b" " in answer else answer)

    def urls(_: objects.Artifact) -> Iterator[str]:
        yield f"{world.server.url}/first"
        yield world.server.url + world.path("two")

    assert objects.fetch([two], urls, cache=world.cache, progress=SILENT) == []
    assert world.object("two").read_bytes() == world.content["two"]


def test_what_each_mirror_gave_is_told(world: World, tmp_path: Path) -> None:
    """When none has the right bytes, it is not one that is to blame."""
    two = next(package for package in world.lock.packages if package.name == "two")
    (tmp_path / "first").write_bytes(b"login")
    (tmp_path / "third").write_bytes(bytes(two.size))
    base = world.server.url

    with pytest.raises(Untrusted) as caught:
        objects.fetch(
            [two], lambda _: iter([f"{base}/first", f"{base}/second", f"{base}/third"]),
            cache=world.cache, progress=SILENT,
        )  # fmt: skip

    zeros = hashlib.sha256(bytes(two.size)).hexdigest()
    assert str(caught.value) == (
        "two: no server gave what the lock names:\n"
        f"    {base}/first: has 5 bytes, the lock says {two.size}\n"
        f"    {base}/second: is not there (any more)\n"
        f"    {base}/third: has SHA-256 {zeros}, the lock says {two.sha256}: someone changed it"
    )
    assert not world.object("two").exists()
    assert world.part("two").read_bytes() == b""


def test_other_repositories_are_not_looked_up_in_the_snapshot_archive(world: World) -> None:
    """Only Debian's own packages are in Debian's archive of the past."""
    gone(world)

    with pytest.raises(download.Gone):
        world.fetch()

    assert not [path for path, _ in world.server.requests if path.startswith("/snapshot")]


def test_gone_package_is_resolved_again_with_a_notice(world: World) -> None:
    """Only what is gone moves, and people are told."""
    notices: list[str] = []

    class Notices:
        task = SILENT.task

        def notice(self, text: str) -> None:
            notices.append(text)

    world.archive.add("three", "3.0")
    gone(world)

    lock, paths = download.fetch_or_resolve(
        world.lock, world.request, cache=world.cache, progress=Notices()
    )

    assert {p.name: p.version for p in lock.packages} == {
        "one": "1.0",
        "two": "2.0",
        "three": "1.0",
    }
    assert sorted(paths) == list(NAMES)
    assert notices == ["locked versions have left the mirror; using others: two 1.0 → 2.0"]


def test_gone_package_is_an_error_when_locked(world: World) -> None:
    """With --locked nothing is resolved again."""
    gone(world)

    with pytest.raises(download.Gone, match="--locked forbids"):
        download.fetch_or_resolve(
            world.lock, world.request, cache=world.cache, progress=SILENT, locked=True
        )


def test_unknown_repository_of_a_lock_is_named(world: World) -> None:
    """A lock that names a repository that is not configured cannot be fetched."""
    other = world.archive.repository(world.server.url, name="debain")

    with pytest.raises(UserError, match=r"repository 'debian', which is not configured"):
        download.fetch(world.lock, cache=world.cache, progress=SILENT, repositories=(other,))


def test_single_file_is_fetched_by_its_address(world: World, tmp_path: Path) -> None:
    """Files from elsewhere are checked against the lock like packages."""
    (tmp_path / "kubelet").write_bytes(b"program")
    file = LockedFile(
        name="kubelet", url=f"{world.server.url}/kubelet", size=7,
        sha256=hashlib.sha256(b"program").hexdigest(),
    )  # fmt: skip
    lock = msgspec.structs.replace(world.lock, files=(file,))

    assert (
        download.fetch_files(lock, cache=world.cache, progress=SILENT)["kubelet"].read_bytes()
        == b"program"
    )

    changed = msgspec.structs.replace(lock, files=(msgspec.structs.replace(file, sha256="0" * 64),))
    with pytest.raises(Untrusted, match="kubelet: has SHA-256"):
        download.fetch_files(changed, cache=world.cache, progress=SILENT)

    kept = objects.object_path(world.cache, file.sha256)
    kept.chmod(0o644)
    kept.write_bytes(b"changed")
    with pytest.raises(Untrusted, match="it was changed after it was downloaded"):
        download.fetch_files(lock, cache=world.cache, progress=SILENT)


def fetch_in_a_process(lock: Lock, request: Request, cache: Path) -> None:
    """Fetch and end with an error code if anything is wrong."""
    paths = download.fetch(lock, cache=cache, progress=SILENT, repositories=request.repositories)
    assert sorted(paths) == list(NAMES)


@pytest.mark.slow
def test_processes_share_a_cache(world: World) -> None:
    """Several builds at once fetch each package a single time."""
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=fetch_in_a_process, args=(world.lock, world.request, world.cache))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0, 0]
    asked = sorted(path for path, _ in world.server.requests)
    assert asked == sorted(world.path(name) for name in NAMES)
    assert world.left() == []


@pytest.mark.slow
def test_interrupt_leaves_only_parts(world: World) -> None:
    """Ctrl-C in the middle of a transfer leaves no object that is not complete, and ends soon."""
    context = multiprocessing.get_context("spawn")
    # The server says 503 for a while: the fetch waits between its tries when the signal comes.
    world.server.faults[world.path("two")] = [("cut", 50), *([("status", 503)] * 9)]
    process = context.Process(
        target=fetch_in_a_process, args=(world.lock, world.request, world.cache)
    )
    process.start()
    while not world.part("two").exists() or world.part("two").stat().st_size < 50:
        assert process.is_alive()
        process.join(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(10)

    assert process.exitcode not in (None, 0)
    assert not world.object("two").exists()
    assert world.part("two").read_bytes() == world.content["two"][:50]
