"""The same lock gives the same bytes, whoever builds where and when."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.run import run
from bulkhead.model import manifest as manifests
from bulkhead.model.manifest import Manifest

SHARED = ("objects", "indexes")
STRANGE = {
    "HOME": "/nonexistent",
    "LANG": "de_DE.UTF-8",
    "LC_ALL": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
    "USER": "somebody",
    "TMPDIR": "/var/tmp",
    "PYTHONHASHSEED": "12345",
    "COLUMNS": "40",
}


def copy_of_checkout(folder: Path) -> Path:
    """Copy the files under version control to a directory of another name and depth."""
    root = repository_root()
    names = run(["git", "ls-files", "-z"], cwd=root).stdout.decode().split("\0")
    for name in filter(None, names):
        source, target = root / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_file():
            shutil.copyfile(source, target)
            target.chmod(0o755 if os.access(source, os.X_OK) else 0o664)
            os.utime(target, (0, 0))
    return folder


def fresh_cache(folder: Path) -> Path:
    """Return a cache that shares downloads, which are checked by hash, and nothing else."""
    folder.mkdir()
    for name in SHARED:
        (cache_dir() / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(cache_dir() / name)
    return folder


def build(
    checkout: Path, out: Path, cache: Path, *, strange: bool, program: tuple[str, ...] = ()
) -> Manifest:
    """Build the standalone variant and return its manifest."""
    environment = {**os.environ, **(STRANGE if strange else {})}
    environment |= {"BULKHEAD_CACHE": str(cache), "PYTHONPATH": str(checkout / "src")}
    argv = [
        sys.executable,
        "-P",
        "-m",
        "bulkhead",
        "build",
        "standalone",
        "--locked",
        "-o",
        str(out),
    ]
    before = os.umask(0o077 if strange else 0o022)
    try:
        run([*program, *argv], env=environment, cwd=out.parent)
    finally:
        os.umask(before)
    path = out / "manifest.json"
    return manifests.decode(path.read_bytes(), where=str(path))


@pytest.mark.timeout(900)
def test_two_builds_under_different_conditions_give_the_same_bytes(tmp_path: Path) -> None:
    """Folder, depth, user id, umask, locale, time zone, file times, hash seed and cache differ."""
    plain, strange = tmp_path / "a", tmp_path / "somewhere" / "much deeper"
    plain.mkdir()
    strange.mkdir(parents=True)
    other = copy_of_checkout(strange / "bulk head")

    first = build(repository_root(), plain / "out", fresh_cache(plain / "cache"), strange=False)
    second = build(
        other, strange / "out", fresh_cache(strange / "cache"), strange=True,
        program=("unshare", "--user", "--map-user=1234", "--map-group=1234"),
    )  # fmt: skip

    assert {o.kind: o.sha256 for o in second.outputs} == {o.kind: o.sha256 for o in first.outputs}
    assert second == first
    assert (strange / "out/manifest.json").read_bytes() == (
        plain / "out/manifest.json"
    ).read_bytes()
