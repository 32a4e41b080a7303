"""Wheels: where they come from, and what an index of them may answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.build.debian import download, wheels
from bulkhead.lib.progress import SILENT
from bulkhead.model.errors import RemoteError
from bulkhead.model.lock import Lock, LockedFile
from tests.support.archive import Server, serve


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Yield a server of an empty directory."""
    with serve(tmp_path) as server:
        yield server


def fetch(file: LockedFile, folder: Path) -> dict[str, Path]:
    """Fetch a lock with this one file."""
    lock = Lock(architecture="amd64", request="r", suites=(), packages=(), files=(file,))
    return download.fetch_files(lock, cache=folder / "cache", progress=SILENT)


def test_wheel_comes_from_the_index_that_pip_uses(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock names a wheel; where the index is, is the machine's business."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    project = tmp_path / "simple" / "some-thing"
    project.mkdir(parents=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "w.whl").write_bytes(b"wheel")
    listed = [{"filename": "some_thing-1-py3-none-any.whl", "url": "../../files/w.whl#sha256=0"}]
    (project / "index.json").write_bytes(msgspec.json.encode({"files": listed}))
    file = LockedFile(
        name="some-thing", url="pypi:Some_Thing/1/some_thing-1-py3-none-any.whl", size=5,
        sha256=hashlib.sha256(b"wheel").hexdigest(),
    )  # fmt: skip

    paths = fetch(file, tmp_path)

    assert paths["some-thing"].read_bytes() == b"wheel"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"files": [{"filename": "w.whl", "url": "http://["}]}', r"has 'http://\[', no web add"),
        (b'{"x": ' + b"[" * 100_000, "is no package index with JSON"),
        (b'{"files": [{"filename": "\xff", "url": ""}]}', "is no package index with JSON"),
    ],
)
def test_index_of_wheels_that_is_none_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, message: str
) -> None:
    """Its page is named, whatever is in it."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    (tmp_path / "simple" / "x").mkdir(parents=True)
    (tmp_path / "simple" / "x" / "index.json").write_bytes(answer)
    file = LockedFile(name="x", url="pypi:x/1/w.whl", size=5, sha256="0" * 64)

    with pytest.raises(RemoteError, match=rf"/simple/x/: {message}"):
        fetch(file, tmp_path)


def test_index_of_wheels_is_pips(tmp_path: Path) -> None:
    """The environment goes before pip's configuration files; both are pip's."""
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://b.example/simple/\n")
    file = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}

    assert (
        wheels.index({"PIP_INDEX_URL": "http://a.example/simple", **file})
        == "http://a.example/simple"
    )
    assert wheels.index(file, home=tmp_path) == "http://b.example/simple"
