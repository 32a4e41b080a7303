"""The real tool trees: downloaded, unpacked, and run."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.build import tools
from bulkhead.lib import sandbox
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT


@pytest.fixture(scope="module")
def image() -> tools.Tools:
    """Return the tools that make images."""
    return tools.tools("image", cache=cache_dir(), progress=SILENT)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["mkfs.erofs", "--version"], "erofs-utils) 1.8"),
        (["veritysetup", "--version"], "veritysetup 2.7"),
        (["ukify", "--version"], "ukify 257"),
        (["systemd-repart", "--version"], "systemd 257"),
        (["mcopy", "--version"], "GNU mtools"),
        (["mkfs.fat", "--help"], "mkfs.fat 4.2"),
        (["osslsigncode", "--version"], "osslsigncode 2"),
        (["depmod", "--version"], "kmod version 34"),
        (["ldconfig", "--version"], "2.41"),
        (["zstd", "--version"], "Zstandard"),
        (["python3", "--version"], "Python 3.13"),
    ],
)
def test_runs(image: tools.Tools, argv: list[str], says: str) -> None:
    """Each program that the builder calls starts in the tree."""
    done = image.run(argv, check=False)

    assert says in (done.stdout + done.stderr).decode()


def test_makes_an_image_the_same_as_root_and_as_an_ordinary_user(tmp_path: Path) -> None:
    """Who builds does not show in what is built."""
    if os.geteuid() != 0:
        pytest.fail("needs root, to be root and somebody else")
    image = tools.tools("image", cache=_fresh_cache(tmp_path), progress=SILENT)
    for path in (tmp_path, *tmp_path.parents[:2]):  # pytest's directories are its user's own
        path.chmod(0o755)
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    outputs = []
    for user in (0, 65534):
        out = tmp_path / f"out-{user}"
        out.mkdir()
        os.chown(out, user, user)
        box = sandbox.Sandbox(root=image.root, reads=[source], writes=[out], dies_with_us=False)
        argv = ["mkfs.erofs", "--quiet", "--all-root", "-T0", "-zlz4hc",
                "-U5d0b2b1c-6a43-4d0e-9b4e-0a6bd0a0ca5e", f"{out}/image", str(source)]  # fmt: skip
        command = sandbox.command(box, argv)
        command[0] = shutil.which("python3", path="/usr/bin:/usr/local/bin") or command[0]
        subprocess.run(command, user=user, group=user, extra_groups=[], check=True)
        outputs.append((out / "image").read_bytes())

    assert outputs[0] == outputs[1]


def test_two_processes_make_the_same_tree_at_once(tmp_path: Path) -> None:
    """Both end up with the same tree, and nothing else is left in the cache."""
    cache = _fresh_cache(tmp_path)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_make, args=(cache,)) for _ in range(2)]

    for process in processes:
        process.start()
    for process in processes:
        process.join()

    key = tools.tools("image", cache=cache, progress=SILENT).key
    assert [process.exitcode for process in processes] == [0, 0]
    assert os.listdir(cache / "tools") == [key]


def test_an_interrupt_leaves_nothing_half_made(tmp_path: Path) -> None:
    """After Ctrl-C while the tree is written there is no tree, and the next run makes it."""
    cache = _fresh_cache(tmp_path)
    script = (
        "import os, signal; from pathlib import Path; from bulkhead.build import tools;"
        "from bulkhead.lib.progress import SILENT; link = os.link; count = [0]\n"
        "def slow(*a, **k):\n"
        "    count[0] += 1\n"
        "    if count[0] == 100: os.kill(os.getpid(), signal.SIGINT)\n"
        "    link(*a, **k)\n"
        "os.link = slow\n"
        f"tools.tools('image', cache=Path({str(cache)!r}), progress=SILENT)"
    )
    env = {**os.environ, "PYTHONPATH": str(repository_root() / "src")}

    stopped = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, check=False
    )
    left = os.listdir(cache / "tools")
    made = tools.tools("image", cache=cache, progress=SILENT)

    assert stopped.returncode == -signal.SIGINT
    assert left == []
    assert (made.root / "usr/bin/mkfs.erofs").exists()


def _fresh_cache(tmp_path: Path) -> Path:
    """Return a cache that has nothing but the downloads."""
    tools.tools("image", cache=cache_dir(), progress=SILENT)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "objects").symlink_to(cache_dir() / "objects")
    return cache


def _make(cache: Path) -> None:
    tools.tools("image", cache=cache, progress=SILENT)
