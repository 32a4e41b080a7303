"""Attacks on a repository, and what a lock does with an honest one."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pysequoia
import pytest

from bulkhead.build.debian import index, locking, release, sources
from bulkhead.build.debian.lockfile import lock_text
from bulkhead.lib.progress import SILENT
from bulkhead.model.errors import BulkheadError, HostError, RemoteError, Untrusted, UserError
from bulkhead.model.lock import Lock
from bulkhead.model.repository import Repository
from tests.support.archive import Archive, Server, deb, serve


class World:
    """An archive, its server and a cache."""

    def __init__(self, root: Path, server: Server) -> None:
        self.archive = Archive(root)
        self.server = server
        self.cache = root.parent / "cache"
        self.notices: list[str] = []

    def lock(self, *packages: str, repositories: tuple[Repository, ...] = ()) -> Lock:
        """Resolve these packages against the archive."""
        request = locking.Request(
            architecture="amd64",
            repositories=repositories or (self.archive.repository(self.server.url),),
            packages=packages,
        )
        return locking.resolve(request, cache=self.cache, progress=Notices(self.notices))


class Notices:
    """A progress display that keeps what it is told."""

    def __init__(self, notices: list[str]) -> None:
        self.task = SILENT.task
        self._notices = notices

    def notice(self, text: str) -> None:
        """Keep a notice."""
        self._notices.append(text)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Yield a published archive with one package."""
    root = tmp_path / "archive"
    with serve(root) as server:
        world = World(root, server)
        world.archive.add("hello", "1.0")
        world.archive.publish()
        yield world


def refusal(world: World, kind: type[BulkheadError] = Untrusted) -> str:
    """Return why a lock is refused."""
    with pytest.raises(kind) as caught:
        world.lock("hello")
    assert type(caught.value) is kind
    return str(caught.value)


def test_signed_archive_is_locked(world: World) -> None:
    """An honest archive gives a lock that names its package and the suite's state."""
    lock = world.lock("hello")

    assert [(p.name, p.version, p.repository) for p in lock.packages] == [("hello", "1.0", "test")]
    assert [(s.repository, s.suite) for s in lock.suites] == [("test", "trixie")]


def test_lock_never_names_a_server(world: World) -> None:
    """Where the bytes came from is no part of a lock."""
    assert "127.0.0.1" not in lock_text(world.lock("hello"))


def test_second_lock_downloads_only_the_release_file(world: World) -> None:
    """Indexes are kept by their hash."""
    world.lock("hello")
    world.server.requests.clear()

    world.lock("hello")

    assert world.server.requests == [("/dists/trixie/InRelease", "")]


def test_changed_release_file_is_refused(world: World) -> None:
    """One changed byte in the signed text is noticed."""
    text = world.archive.release.read_bytes()
    world.archive.release.write_bytes(text.replace(b"Components: main", b"Components: mAin"))

    assert "its signature does not match" in refusal(world)


def test_text_around_the_signed_part_is_ignored(world: World) -> None:
    """Only what was signed counts: fields before it have no effect."""
    text = world.archive.release.read_bytes()
    world.archive.release.write_bytes(b"Suite: evil\nCodename: evil\n\n" + text)

    assert world.lock("hello").suites[0].suite == "trixie"


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
def test_truncated_release_file_is_refused(world: World, keep: float) -> None:
    """A release file that is cut off anywhere is not believed."""
    text = world.archive.release.read_bytes()
    world.archive.release.write_bytes(text[: int(len(text) * keep)])

    refusal(world)


def test_every_flipped_byte_of_the_signed_text_is_refused(world: World) -> None:
    """No byte of the signed part can change without the signature failing."""
    certs = release.certificates([str(world.archive.key_file)], where="test")
    data = bytearray(world.archive.release.read_bytes())
    start = data.index(b"Suite:")
    end = data.index(b"-----BEGIN PGP SIGNATURE") - 1
    accepted = []
    for position in range(start, end):
        changed = bytearray(data)
        changed[position] ^= 0x01
        try:
            release.verify(bytes(changed), certs, suite="trixie", where="test")
        except Untrusted:
            continue
        accepted.append(position)

    assert accepted == []


def test_unsigned_release_file_is_refused(world: World) -> None:
    """A plain text file is not a signed one."""
    world.archive.release.write_bytes(b"Suite: trixie\nDate: today\n")

    assert "is not a signed file" in refusal(world)


def test_other_key_is_refused(world: World) -> None:
    """A correct signature by someone else is worth nothing, and the message names the signer."""
    world.archive.publish(key=pysequoia.Tsk.generate("Mallory <m@example.org>"))

    assert "is signed by other keys" in refusal(world)


def test_expired_release_file_is_refused(world: World) -> None:
    """An old state cannot be served for ever to hide security updates."""
    world.archive.publish(date=datetime.now(UTC) - timedelta(days=8))

    text = refusal(world)
    assert "expired on" in text
    assert "this machine's clock says" in text


def test_a_release_file_need_not_say_until_when_it_is_valid(world: World) -> None:
    """Debian's stable suite does not, nor do many others; that it is signed says so."""
    world.archive.publish(date=datetime.now(UTC) - timedelta(days=800), Valid_Until="")

    assert world.lock("hello").packages[0].name == "hello"


def test_a_release_file_whose_end_cannot_be_read_is_refused(world: World) -> None:
    """It has one, so it is not treated as if it had none."""
    world.archive.publish(Valid_Until="next Tuesday")

    assert "malformed Valid-Until" in refusal(world, RemoteError)


@pytest.mark.parametrize(
    "date",
    [
        "Sat, 21 Nov 2026 99999999999999999999:15:44 UTC",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Sat, 21 Nov 2026 09:15:44 +99999999999999999999",
        "",
    ],
)
def test_a_date_that_cannot_be_is_refused(world: World, date: str) -> None:
    """Signed nonsense is an error of the server, not of ours."""
    world.archive.publish(Date=date)

    assert "lacks something or is malformed" in refusal(world, RemoteError)


@pytest.mark.parametrize(
    ("suffix", "data"),
    [
        (".gz", b"\x1f\x8b\x08" + b"\xff" * 30),
        (".gz", b"nothing of the kind"),
        (".xz", b"\xfd7zXZ\x00" + b"\xff" * 30),
        (".bz2", b"BZh9" + b"\xff" * 30),
        ("", b"\xff\xfe"),
    ],
)
def test_what_is_no_index_is_refused(suffix: str, data: bytes) -> None:
    """Its hash was right, so the repository itself is broken."""
    with pytest.raises(RemoteError, match="index: is not a package index"):
        index.parse(data, suffix=suffix, architecture="amd64", where="index")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Filename": ""}, "'' is no path below the repository"),
        ({"Filename": "/etc/passwd"}, "'/etc/passwd' is no path below the repository"),
        ({"Filename": "a/../../b"}, "'a/../../b' is no path below the repository"),
        ({"Filename": "a\0b"}, "'a\\x00b' is no path below the repository"),
        ({"Filename": None}, "it has no field 'Filename'"),
        ({"Size": "-5"}, "'-5' is no size of a file"),
        ({"Size": "9" * 30}, f"'{'9' * 30}' is no size of a file"),
        ({"Size": "9" * 5000}, f"'{'9' * 100}' is no size of a file"),
        ({"Size": "\N{ARABIC-INDIC DIGIT ONE}"}, "is no size of a file"),
        ({"SHA256": "../../../x"}, "'../../../x' is no SHA-256 in 64 lower-case digits"),
        ({"SHA256": "A" * 64}, f"'{'A' * 64}' is no SHA-256 in 64 lower-case digits"),
        ({"SHA256": None}, "it has no field 'SHA256'"),
        ({"Version": "1" * 5000}, "version of 'bad' has 5000 characters"),
        ({"Version": ""}, "version of 'bad' has 0 characters"),
        ({"Package": "../bad"}, "'../bad' cannot be a package's name"),
        ({"Architecture": None}, "it has no field 'Architecture'"),
    ],
)
def test_what_cannot_be_of_a_package_is_refused(fields: dict[str, str | None], reason: str) -> None:
    """It would become a path in the cache or a number in a lock; index and package are named."""
    honest = {
        "Package": "bad", "Version": "1", "Architecture": "amd64", "Filename": "pool/bad.deb",
        "Size": "1", "SHA256": "a" * 64,
    }  # fmt: skip
    named = {**honest, **fields}
    text = "".join(f"{name}: {value}\n" for name, value in named.items() if value is not None)

    with pytest.raises(RemoteError) as caught:
        index.parse(text.encode(), suffix="", architecture="amd64", where="index")

    assert str(caught.value).startswith(f"index: package {named['Package']}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2"])
def test_bomb_in_place_of_an_index_is_refused(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decompressing ends at a limit, whoever signed it."""
    monkeypatch.setattr(index, "LIMIT", 1 << 20)
    zeros = bytes(2 << 20)
    bombs = {
        ".gz": gzip.compress(zeros), ".xz": lzma.compress(zeros), ".bz2": bz2.compress(zeros),
    }  # fmt: skip

    with pytest.raises(RemoteError, match="more than 1048576 bytes when decompressed"):
        index.parse(bombs[suffix], suffix=suffix, architecture="amd64", where="index")


def test_one_broken_relation_does_not_spoil_a_repository(world: World) -> None:
    """Other packages can be had; that one is refused with its name and its repository's."""
    world.archive.add("odd", Provides="foo!!")
    world.archive.publish()

    assert [package.name for package in world.lock("hello").packages] == ["hello"]
    with pytest.raises(
        RemoteError, match=r"odd 1\.0 of repository test: 'foo!!' is not a relation"
    ):
        world.lock("odd")


@pytest.mark.parametrize(
    "row", ["../../../x 5 main/a", f"{'a' * 64} -5 main/a", f"{'a' * 64} {'9' * 5000} main/a"]
)
def test_release_file_with_hashes_that_cannot_be_is_refused(world: World, row: str) -> None:
    """An index's hash becomes a path in the cache."""
    world.archive.publish(row=row)

    assert "lacks something or is malformed: '" in refusal(world, RemoteError)


def test_unsigned_state_is_never_cached(world: World) -> None:
    """What was refused once is refused again: nothing of it was kept."""
    honest = world.archive.release.read_bytes()
    world.archive.publish(key=pysequoia.Tsk.generate("Mallory <m@example.org>"))
    refusal(world)

    assert list(world.cache.glob("indexes/*")) == []
    world.archive.release.write_bytes(honest)
    assert world.lock("hello").packages[0].name == "hello"


def test_release_file_from_the_future_is_refused(world: World) -> None:
    """A date in the future would defeat the protection against going back."""
    world.archive.publish(date=datetime.now(UTC) + timedelta(days=2))

    assert "is dated in the future" in refusal(world)


def test_release_file_of_another_suite_is_refused(world: World) -> None:
    """A signed release file of another suite cannot take this one's place."""
    world.archive.publish(Suite="oldstable", Codename="bookworm")

    assert "is for suite 'oldstable' ('bookworm'), not for 'trixie'" in refusal(world)


def test_older_release_file_than_before_is_not_used(world: World) -> None:
    """Going back in time is noticed, and the newer state that was seen stays in force."""
    world.archive.publish(date=datetime.now(UTC) - timedelta(days=1))
    old = world.archive.release.read_bytes(), world.archive.index.read_bytes()
    world.archive.add("hello", "2.0")
    world.archive.publish()
    world.lock("hello")
    world.archive.release.write_bytes(old[0])
    world.archive.index.write_bytes(old[1])

    lock = world.lock("hello")

    assert lock.packages[0].version == "2.0"
    assert "staying with the newer one" in world.notices[0]


OTHERS = {
    "a network that wants a login": b"<html>Please log in</html>",
    "a mirror of something else": b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nx\n",
    "a mirror that fell behind": None,
}


@pytest.mark.parametrize("given", OTHERS.values(), ids=OTHERS)
def test_wrong_mirror_of_a_suite_is_replaced_by_the_next(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bytes | None
) -> None:
    """What the second gives is verified like what the first gives; when none is good, each is told."""
    other = Archive(tmp_path / "other")
    other.publish(date=datetime.now(UTC) - timedelta(days=8), key=world.archive.key)
    if given is not None:
        other.release.write_bytes(given)
    with serve(tmp_path / "other") as server:
        monkeypatch.setattr(sources, "bases", lambda _: [server.url, world.server.url])

        assert [package.name for package in world.lock("hello").packages] == ["hello"]

        world.archive.release.write_bytes(b"changed")
        told = refusal(world)

    assert ("expired on" in told) == (given is None)
    assert told.startswith("suite 'trixie' of repository test: no server gave it:\n")
    for base in (server.url, world.server.url):
        assert f"\n    {base}/dists/trixie/InRelease: " in told


def test_changed_index_is_refused(world: World) -> None:
    """An index whose bytes are not those that were signed is not parsed."""
    data = bytearray(world.archive.index.read_bytes())
    data[len(data) // 2] ^= 0xFF
    world.archive.index.write_bytes(data)

    assert "is not what the signed release file lists" in refusal(world)


def test_truncated_index_is_refused(world: World) -> None:
    """A shorter index than the signed one is refused."""
    world.archive.index.write_bytes(world.archive.index.read_bytes()[:-9])

    assert "incomplete" in refusal(world)


def test_longer_index_is_not_downloaded_to_its_end(world: World) -> None:
    """A server cannot fill memory: reading stops at the signed size."""
    with world.archive.index.open("ab") as file:
        file.write(b"x" * 100)

    assert "more than the expected" in refusal(world, RemoteError)


def test_index_is_fetched_by_its_hash(world: World) -> None:
    """While a mirror is being updated the index's plain name may already be another file."""
    world.archive.add("newer")
    world.archive.publish(Acquire_By_Hash="yes")

    assert [package.name for package in world.lock("newer").packages] == ["newer"]


def test_missing_component_is_explained(world: World) -> None:
    """A component that the repository does not have is named together with those that it has."""
    base = world.archive.repository(world.server.url)
    repository = Repository(
        name="test",
        location=base.location,
        suites=base.suites,
        keys=base.keys,
        components=("mian",),
    )

    with pytest.raises(UserError, match=r"mian/binary-amd64.*\n.*it has: main; for: amd64"):
        world.lock("hello", repositories=(repository,))


def test_repository_without_keys_is_refused(world: World) -> None:
    """There is no way to use a repository whose signature is not checked."""
    repository = Repository(name="test", location=world.server.url, suites=("trixie",))

    with pytest.raises(UserError, match="needs at least one key"):
        world.lock("hello", repositories=(repository,))


@pytest.mark.parametrize("suite", ["flat/", "./flat/", "/flat/"])
def test_flat_repository_is_read(world: World, suite: str) -> None:
    """A repository without dists/ works too; its suite is a path that ends in a slash."""
    archive = world.archive
    flat = archive.root / "flat"
    flat.mkdir()
    text = archive.index.read_bytes()
    (flat / "Packages.xz").write_bytes(text)
    signed = f"Date: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S} +0000\nSHA256:\n"
    signed += f" {hashlib.sha256(text).hexdigest()} {len(text)} Packages.xz\n"
    (flat / "InRelease").write_bytes(
        pysequoia.sign(archive.key.signer(), signed.encode(), mode=pysequoia.SignatureMode.CLEAR)
    )
    repository = Repository(
        name="flat", location=world.server.url, suites=(suite,), keys=(str(archive.key_file),)
    )

    assert world.lock("hello", repositories=(repository,)).packages[0].repository == "flat"


def test_cache_that_cannot_be_written_is_said_so(world: World) -> None:
    """The message names the place and how to have another."""
    world.cache.write_text("a file where the cache should be")
    world.cache.chmod(0o444)

    with pytest.raises(HostError, match=r"(?s)indexes: cannot be written: .*BULKHEAD_CACHE"):
        world.lock("hello")


def test_directory_of_packages_is_a_repository(tmp_path: Path) -> None:
    """One's own .deb files need no index and no signature."""
    (tmp_path / "mine.deb").write_bytes(deb("mine", "3", fields={"Depends": "other"}))
    (tmp_path / "other.deb").write_bytes(deb("other", "1"))
    request = locking.Request(
        architecture="amd64",
        repositories=(Repository(name="own", location=f"dir:{tmp_path}"),),
        packages=("mine",),
    )

    lock = locking.resolve(request, cache=tmp_path / "cache", progress=SILENT)

    assert [(p.name, p.path) for p in lock.packages] == [
        ("mine", "mine.deb"),
        ("other", "other.deb"),
    ]


def test_broken_package_in_a_directory_is_named(tmp_path: Path) -> None:
    """A file that only looks like a package is an error that names it."""
    (tmp_path / "mine.deb").write_bytes(b"hello")
    request = locking.Request(
        architecture="amd64",
        repositories=(Repository(name="own", location=f"dir:{tmp_path}"),),
        packages=("mine",),
    )

    with pytest.raises(Untrusted, match=r"mine\.deb: is not a Debian package"):
        locking.resolve(request, cache=tmp_path / "cache", progress=SILENT)
