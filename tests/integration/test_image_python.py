"""The unit tests on the Python of the image: a workstation's own may be years older."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from pathlib import Path

import pytest

from bulkhead.build import tools
from bulkhead.build.debian import lockfile
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.lib.run import run

ROOT = repository_root()
PYTEST = ("-m", "pytest", "-q", "-m", "not slow", "--hypothesis-profile=quick")
"""As `check` does, but in one process: a virtual machine may run beside this test."""


def interpreter(folder: Path) -> Path:
    """Return a command that is Debian's Python, for a machine with another C library.

    It runs outside of a sandbox, for tests trace processes, mount and open terminals.
    """
    tree = tools.tools("python", cache=cache_dir(), progress=SILENT).root
    (folder / "bin").mkdir()
    (folder / "lib").symlink_to(tree / "usr/lib")  # where the interpreter looks from its name on
    libraries = next((tree / "usr/lib").glob("*-linux-gnu"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    program = (tree / "usr/bin/python3").resolve()
    command = folder / "bin/python3"
    command.write_text(
        f"#!/bin/sh\nexec {shlex.join(map(str, (loader, '--library-path', libraries)))}"
        f' --argv0 "$0" {shlex.quote(str(program))} "$@"\n'
    )
    command.chmod(0o755)
    return command


@pytest.mark.timeout(600)
def test_the_unit_tests_pass_on_the_python_of_the_image(tmp_path: Path) -> None:
    """With an environment that is made with it: it has neither pip nor ensurepip."""
    ours = ("PYTHON", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    argv = [str(interpreter(tmp_path)), "bulkhead", "python", *PYTEST, "tests/unit"]
    # A directory of its own: pytest takes everybody else's access to the usual one away, which the
    # tests beside this one may need. With a short name, for there are sockets in it.
    with tempfile.TemporaryDirectory(prefix="b-") as place:
        cache = str(tmp_path / "cache")
        env = {**kept, "BULKHEAD_CACHE": cache, "PYTEST_DEBUG_TEMPROOT": place}
        done = run(argv, env=env, cwd=ROOT, check=False)
    text = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")

    assert done.returncode == 0, text[-8000:]
    assert int(re.findall(r"(\d+) passed", text)[-1]) > 2000


def test_it_is_the_python_of_the_image() -> None:
    """The lock of the tools and those of the variants say the same version."""
    (locked,) = _pythons(tools.lock_path("python"))

    for path in sorted((ROOT / "image/variants").glob("*/variant.lock")):
        assert _pythons(path) == [locked]


def _pythons(path: Path) -> list[str]:
    lock = lockfile.read_lock(path)
    return [item.version for item in lock.packages if item.name == "python3.13-minimal"]
