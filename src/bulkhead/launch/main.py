"""Enters the Python environment of the command that was asked for, making it first if need be.

Called by `./bulkhead` at the repository's root with whatever Python the
machine has. The usual case, where the environment exists, must cost next to
nothing: all else is imported only when it does not.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

DEVELOPMENT = ("check", "test", "python")
"""Commands that need the development tools too. `python` is that interpreter itself, for
benchmarks and for people who work on Bulkhead."""


def main(root: str, arguments: Sequence[str]) -> int:  # noqa: RET503  # execve does not return
    """Become `python -m bulkhead ARGUMENTS` in its environment.

    Returns only when it cannot be made: the exit code.

    Args:
        root: the checkout.
        arguments: the command line, without the program's name.
    """
    command = next((word for word in arguments if not word.startswith("-")), "")
    requirements = os.path.join(
        root, "requirements", "dev.txt" if command in DEVELOPMENT else "build.txt"
    )
    python = os.path.join(_cache(), "venvs", key(requirements), "bin", "python")
    if not os.path.exists(python):
        from bulkhead.launch.environment import make

        if (code := make(os.path.dirname(os.path.dirname(python)), requirements)) != 0:
            return code
    with suppress(OSError):
        os.utime(os.path.dirname(os.path.dirname(python)))  # `bulkhead clean` keeps what is used
    environment = {**os.environ, "PYTHONPATH": os.path.join(root, "src")}
    environment.pop("PYTHONHOME", None)
    if sys.getfilesystemencoding() != "utf-8":
        # Names and texts are UTF-8 in an image, whatever they are on this machine. Not `-X utf8`:
        # the sandbox's own interpreter has to agree on what a path's bytes are.
        environment["LC_ALL"] = "C.UTF-8"
    if arguments[:1] == ["python"]:
        environment["PYTHONPATH"] += os.pathsep + root
        os.execve(python, [python, "-P", *arguments[1:]], environment)
    # -P: the directory one happens to be in must not be able to replace modules.
    os.execve(python, [python, "-P", "-m", "bulkhead", *arguments], environment)


def key(requirements: str) -> str:
    """Return what an environment is named by: all that decides what is in it."""
    with open(requirements, "rb") as file:
        digest = hashlib.sha256(file.read())
    digest.update(f"{sys.version}\0{sys.base_prefix}\0{os.uname().machine}".encode())
    return digest.hexdigest()[:32]


def _cache() -> str:
    """Return `lib.dirs.cache_dir()`, without the cost of importing pathlib.

    A test holds the two together.
    """
    if value := os.environ.get("BULKHEAD_CACHE"):
        return os.path.abspath(value)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "bulkhead")
