"""What unpacked packages leave in the cache, and what is believed of it later."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bulkhead.build.debian import deb
from bulkhead.build.tree import Entry, Kind
from tests.support import archive


def unpack(folder: Path, data: bytes) -> deb.Package:
    """Write a package and unpack it."""
    file = folder / "x.deb"
    file.write_bytes(data)
    return deb.unpack(file, sha256=hashlib.sha256(data).hexdigest(), cache=folder / "cache")


def test_second_unpack_reads_only_the_cache(tmp_path: Path) -> None:
    """A package that was unpacked once is not needed any more."""
    data = archive.deb("x", files={"a": b"1"})
    first = unpack(tmp_path, data)
    (tmp_path / "x.deb").unlink()

    second = deb.unpack(
        tmp_path / "x.deb", sha256=hashlib.sha256(data).hexdigest(), cache=tmp_path / "cache"
    )

    assert dict(second.tree.items()) == dict(first.tree.items())
    assert second.control == first.control


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("000000", b""), ("000000", b"some"), ("000000", None),
        ("index.msgpack", b""), ("index.msgpack", bytes(9)), ("index.msgpack", None),
    ],
)  # fmt: skip
def test_what_is_missing_in_the_cache_is_unpacked_again(
    tmp_path: Path, name: str, left: bytes | None
) -> None:
    """After a power cut, say, an entry is thrown away; nothing wrong gets into an image."""
    data = archive.deb("x", files={"a": b"some text"})
    unpack(tmp_path, data)
    (place,) = (tmp_path / "cache" / "unpacked").iterdir()
    (place / name).unlink()
    if left is not None:
        (place / name).write_bytes(left)

    again = unpack(tmp_path, data)

    assert again.tree["a"].read() == b"some text"
    assert list((tmp_path / "cache" / "unpacked").glob("[!.]*")) == [place]


def test_threads_may_find_the_same_damage_at_once(tmp_path: Path) -> None:
    """Nobody removes what somebody else has just made anew."""
    data = archive.deb("x", files={f"f{number}": b"1" * 5000 for number in range(50)})
    unpack(tmp_path, data)
    (place,) = (tmp_path / "cache" / "unpacked").iterdir()
    (place / "000007").unlink()

    with ThreadPoolExecutor(8) as pool:
        packages = list(pool.map(lambda _: deb.unpack(
            tmp_path / "x.deb", sha256=hashlib.sha256(data).hexdigest(), cache=tmp_path / "cache"
        ), range(8)))  # fmt: skip

    contents = {e.read() for p in packages for _, e in p.tree.items() if e.kind is Kind.FILE}
    assert contents == {b"1" * 5000}


def test_threads_may_unpack_the_same_package_at_once(tmp_path: Path) -> None:
    """Whoever is first makes the cache's entry; all get the same tree, and nothing is left over."""
    data = archive.deb("x", files={f"f{number}": b"1" * 5000 for number in range(50)})
    (tmp_path / "x.deb").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()

    def once(_: int) -> dict[str, Entry]:
        package = deb.unpack(tmp_path / "x.deb", sha256=digest, cache=tmp_path / "cache")
        return dict(package.tree.items())

    with ThreadPoolExecutor(8) as pool:
        trees = list(pool.map(once, range(8)))

    assert all(tree == trees[0] for tree in trees)
    assert len(list((tmp_path / "cache" / "unpacked").glob("[!.]*"))) == 1
    assert trees[0]["f7"].read() == b"1" * 5000
