"""The tutorial's commands, but those that start a machine, in the order of the page."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.build import compare
from bulkhead.lib.dirs import repository_root
from bulkhead.model import manifest as manifests
from tests.support.images import image_tools

pytestmark = pytest.mark.timeout(900)

PAGE = repository_root() / "docs/tutorial/first-image.md"


def commands(verb: str) -> list[list[str]]:
    """Return the arguments of each `bulkhead VERB` that the page shows."""
    lines = re.findall(rf"^\$ \./bulkhead ({verb} .*)$", PAGE.read_text(), re.MULTILINE)
    return [shlex.split(line.partition("  #")[0]) for line in lines]


def bulkhead(arguments: list[str], folder: Path) -> str:
    """Run a command of the page in `folder`."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bulkhead", *arguments], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(repository_root() / "src")}, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_image_of_ones_own(tmp_path: Path) -> None:
    """Made, changed, built and verified as the page says."""
    (new,), (build,), (verify,) = commands("new"), commands("build"), commands("verify")
    added = re.search(r"```toml\n\[packages\]\n(host = .*)\n```", PAGE.read_text())
    assert added is not None

    made = bulkhead(new, tmp_path)
    variant = tmp_path / "shop/variant.toml"
    variant.write_text(variant.read_text().replace("host = []", added[1]))
    brought = re.search(r"echo \"(\w+)\" > \.\./shop/rootfs/(\S+)$", PAGE.read_text(), re.MULTILINE)
    assert brought is not None
    (tmp_path / "shop/rootfs" / brought[2]).parent.mkdir(parents=True)
    (tmp_path / "shop/rootfs" / brought[2]).write_text(f"{brought[1]}\n")
    # As in a checkout: the page's `..` goes back from a directory that no tool is given.
    (tmp_path / "checkout").mkdir()
    bulkhead(build, tmp_path / "checkout")
    verdict = bulkhead(verify, tmp_path / "checkout")

    assert f"made    {variant}" in made
    path = tmp_path / "shop/out/manifest.json"
    manifest = manifests.decode(path.read_bytes(), where=str(path))
    assert "ethtool" in [package.name for package in manifest.lock.packages]
    [root] = [path.parent / output.file for output in manifest.outputs if output.kind == "root"]
    compare.extract(root, tmp_path / "root", tools=image_tools())
    assert (tmp_path / "root" / brought[2]).read_text() == f"{brought[1]}\n"
    compare.make_removable(tmp_path / "root")
    assert (tmp_path / "shop/out/bulkhead-shop-0.1.report.html").is_file()
    assert "is what a rebuild gives" in verdict
