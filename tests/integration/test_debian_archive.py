"""Debian's real archive, from its signature to the trees of its packages."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from bulkhead.build.debian import deb, download, locking
from bulkhead.build.debian.locking import Request
from bulkhead.build.tools import Tools, tools
from bulkhead.build.tree import Kind
from bulkhead.lib import mirrors
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.model.errors import Untrusted
from bulkhead.model.lock import Lock
from bulkhead.model.repository import Repository, debian

REQUEST = Request(
    architecture="amd64",
    sets={"host": ("systemd", "crun"), "agent": ("python3-msgspec", "python3-starlette")},
)


@pytest.fixture(scope="module")
def debian_tools() -> Tools:
    """Return a tree with dpkg."""
    return tools("bench", cache=cache_dir(), progress=SILENT)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def lock(cache: Path) -> Lock:
    """Return a lock of packages that a node needs."""
    return locking.resolve(REQUEST, cache=cache, progress=SILENT)


@pytest.fixture(scope="module")
def debs(lock: Lock, cache: Path) -> dict[str, Path]:
    """Return the lock's packages."""
    return download.fetch(lock, cache=cache, progress=SILENT)


def test_lock_is_the_same_twice(lock: Lock, cache: Path) -> None:
    """The resolver's answer depends on its input alone."""
    assert locking.resolve(REQUEST, cache=cache, progress=SILENT).packages == lock.packages


def test_lock_names_no_server(lock: Lock) -> None:
    """No mirror that this machine uses is in a lock."""
    text = str(lock)

    for role in ("debian", "debian-security"):
        for url in mirrors.candidates(role):
            assert url.split("/")[2] not in text


def test_security_suite_needs_its_own_key(cache: Path) -> None:
    """The key of the main archive does not vouch for the security archive."""
    main, security = debian()
    mixed = Repository(
        name="debian-security", location=security.location, suites=security.suites, keys=main.keys
    )
    request = Request(architecture="amd64", repositories=(main, mixed), packages=("libc6",))

    with pytest.raises(Untrusted, match="signed by other keys"):
        locking.resolve(request, cache=cache, progress=SILENT)


def test_unpacked_packages_are_what_dpkg_deb_unpacks(
    lock: Lock, debs: dict[str, Path], cache: Path, debian_tools: Tools
) -> None:
    """Every path, mode, owner, link and byte is as Debian's own tool gives it."""
    for package in lock.packages:
        tree = deb.unpack(debs[package.name], sha256=package.sha256, cache=cache).tree
        file = debs[package.name]
        unpacked = debian_tools.run(["dpkg-deb", "--fsys-tarfile", str(file)], reads=[file]).stdout
        theirs = {}
        with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
            for info in tar:
                path = info.name.removeprefix("./").removesuffix("/")
                if path in ("", "."):
                    continue
                content = tar.extractfile(info) if info.isreg() or info.islnk() else None
                theirs[path] = (
                    info.uid, info.gid, None if info.issym() else info.mode,
                    info.linkname if info.issym() else None,
                    content.read() if content else None,
                )  # fmt: skip
        ours = {
            path: (
                entry.uid, entry.gid, None if entry.kind is Kind.SYMLINK else entry.mode,
                entry.target, entry.read() if entry.kind is Kind.FILE else None,
            )
            for path, entry in tree.items()
        }  # fmt: skip

        assert ours == theirs, package.name


def test_fields_and_scripts_are_what_dpkg_deb_says(
    lock: Lock, debs: dict[str, Path], cache: Path, debian_tools: Tools
) -> None:
    """Control data is read as Debian's own tool reads it."""
    kinds: Counter[str] = Counter()
    for package in lock.packages:
        ours = deb.unpack(debs[package.name], sha256=package.sha256, cache=cache)
        file = debs[package.name]
        theirs = debian_tools.run(["dpkg-deb", "-f", str(file)], reads=[file]).stdout.decode()
        said = "".join(f"{name}: {value}\n" for name, value in ours.control.items())
        assert said == theirs, package.name
        kinds.update(name for name in ours.scripts if name in deb.SCRIPTS)

    assert kinds["postinst"] > 0
