"""A build that is interrupted, runs out of room or is not alone leaves nothing half-made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.build import folderlock
from bulkhead.lib import cachelock
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.run import run, spawn
from bulkhead.model import manifest
from tests.support import images

# What the builder says when it starts a step; the last one is said by each build that is not interrupted.
STEPS = (
    "unpacking packages", "choosing files", "making the root file system",
    "making the kernel image", "making the disk image",
)  # fmt: skip
COMMAND = [sys.executable, "-m", "bulkhead", "build", "standalone", "-o"]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a cache that knows downloads and tool trees, but nothing of any image."""
    images.build(tmp_path / "first")
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("objects", "indexes", "tools", "unpacked"):
        (cache / name).symlink_to(cache_dir() / name)
    return cache


def environment(cache: Path) -> dict[str, str]:
    """Return the environment of a build with this cache."""
    return {
        **os.environ,
        "BULKHEAD_CACHE": str(cache),
        "PYTHONPATH": str(repository_root() / "src"),
    }


def interrupt(cache: Path, out: Path, step: str, *, terminate: bool = False) -> int:
    """Start a build, press Ctrl-C when it announces `step`, and return its exit code.

    With `terminate` it alone is asked to end, as a CI system or `kill` does.
    """
    build = spawn(
        [*COMMAND, str(out)], stderr=subprocess.PIPE, env=environment(cache), new_session=True
    )
    assert build.stderr is not None
    with build, build.stderr as lines:
        for line in lines:
            if step in line.decode():
                if terminate:
                    build.terminate()
                else:
                    # As a terminal does it: to the whole group of processes.
                    os.killpg(build.pid, signal.SIGINT)
                break
        lines.read()
        return build.wait(timeout=60)


def leftovers(*folders: Path) -> list[str]:
    """Return what is left of unfinished work below these directories."""
    found = [path for folder in folders if folder.exists() for path in folder.rglob(".*")]
    return [str(path) for path in found if path.name not in (cachelock.LOCK, folderlock.LOCK)]


def root_hash(out: Path) -> str:
    """Return the root hash of a finished build."""
    path = out / "manifest.json"
    return manifest.decode(path.read_bytes(), where=str(path)).root_hash


@pytest.mark.timeout(600)
def test_ctrl_c_during_any_step_leaves_nothing_and_the_next_run_carries_on(
    tmp_path: Path, cache: Path
) -> None:
    """Every step can be interrupted; the build after that gives the same image."""
    out = tmp_path / "out"

    for step in STEPS:
        assert interrupt(cache, out, step) == 130, step
        assert leftovers(cache / "steps", out) == [], step
        assert not (out / "manifest.json").exists(), step
    run([*COMMAND, str(out)], env=environment(cache))

    assert root_hash(out) == root_hash(tmp_path / "first")


@pytest.mark.timeout(600)
def test_a_build_that_is_asked_to_end_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    """SIGTERM is cleaned up after as Ctrl-C is; the disk image is what takes most room."""
    out = tmp_path / "out"

    for step in ("making the root file system", "making the disk image"):
        assert interrupt(cache, out, step, terminate=True) == 130, step
        assert leftovers(cache / "steps", out) == [], step
    assert not (out / "manifest.json").exists()


@pytest.mark.timeout(600)
def test_two_builds_into_one_folder_write_one_after_the_other(tmp_path: Path, cache: Path) -> None:
    """The second says that it waits; what the manifest names is there in the end, nothing else."""
    out = tmp_path / "out"
    run([*COMMAND, str(tmp_path / "warm")], env=environment(cache))
    out.mkdir()
    (out / ".bulkhead-standalone-0.0.1.raw.0123456789abcdef").mkdir()
    [disk] = (tmp_path / "warm").glob("*.raw")
    (out / disk.with_suffix(".qcow2").name).write_text("of an earlier build")
    builds = [
        spawn([*COMMAND, str(out), "-f", form], stderr=subprocess.PIPE, env=environment(cache))
        for form in ("raw", "raw.zst")
    ]

    texts = [build.communicate(timeout=500)[1].decode() for build in builds]

    assert [build.returncode for build in builds] == [0, 0], texts
    assert sum(f"another build writes to {out} now; waiting" in text for text in texts) == 1
    found = manifest.decode((out / "manifest.json").read_bytes(), where="manifest.json")
    sizes = {path.name: path.stat().st_size for path in out.glob("[!.m]*")}
    assert sizes == {output.file: output.size for output in found.outputs}
    assert leftovers(out) == []


@pytest.mark.timeout(600)
def test_two_builds_at_once_give_the_same_image(tmp_path: Path, cache: Path) -> None:
    """Builds share a cache without waiting for or disturbing each other."""
    outs = [tmp_path / name for name in ("one", "two")]
    builds = [
        spawn([*COMMAND, str(out)], stderr=subprocess.PIPE, env=environment(cache)) for out in outs
    ]

    codes = []
    for build in builds:
        _, errors = build.communicate(timeout=500)
        codes.append((build.returncode, errors.decode()[-500:] if build.returncode else ""))

    assert codes == [(0, ""), (0, "")]
    assert {root_hash(out) for out in outs} == {root_hash(tmp_path / "first")}
    assert leftovers(cache / "steps", *outs) == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("full", ["cache", "output"])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, cache: Path, full: str) -> None:
    """Without room the build says where, and leaves no image that looks finished."""
    small = tmp_path / "small"
    small.mkdir()
    out = small / "out" if full == "output" else tmp_path / "out"
    if full == "cache":
        (cache / "steps").symlink_to(small)
    script = (
        'mount -t tmpfs -o size=40m none "$1" && shift && "$@"; code=$?;'
        f'find "$0" -name ".*" ! -name {folderlock.LOCK}; exit $code'
    )

    done = run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(small), str(small),
         *COMMAND, str(out)],
        env=environment(cache), check=False,
    )  # fmt: skip

    message = done.stderr.decode()
    assert done.returncode == 1, message
    assert "No space left on device" in message
    assert "Traceback" not in message
    assert done.stdout.decode() == ""
    assert not (out / "manifest.json").exists()
