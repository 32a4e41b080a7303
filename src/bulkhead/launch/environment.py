"""Makes a Python environment from hashed requirements, whole or not at all.

Needs the standard library only, and of that no `ensurepip`, which Debian and
Ubuntu ship in a package of its own. Environments are used as
`bin/python -m …`, so one that was made under another name and renamed works.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from bulkhead.launch import pip, termination
from bulkhead.lib.atomicfile import new_directory
from bulkhead.lib.run import run
from bulkhead.model.errors import BulkheadError, HostError

STALE_S = 24 * 3600


def make(path: str, requirements: str) -> int:
    """Make the environment `path`, tell people about it, and return an exit code."""
    target = Path(path)
    packages = sum(1 for line in Path(requirements).read_text().splitlines() if "==" in line)
    started = time.monotonic()
    _say(f"first run: making a Python environment ({packages} packages)")
    try:
        with termination.as_interrupt():
            build(target, Path(requirements))
    except BulkheadError as error:
        _say(str(error))
        return error.exit_code
    except OSError as error:
        _say(
            f"{target}: cannot make the Python environment: {error.strerror}\n"
            "  hint: name a directory that has room and can be written to in BULKHEAD_CACHE"
        )
        return 1
    except KeyboardInterrupt:
        _say("interrupted; nothing half-made was left, run it again")
        return 130
    _say(f"Python environment ready in {time.monotonic() - started:.0f} s")
    return 0


def build(target: Path, requirements: Path) -> None:
    """Make the environment at `target` unless somebody else does so first.

    Raises:
        HostError: this Python lacks modules or cannot be found, or pip failed.
        RemoteError: pip itself could not be fetched.
    """
    _clear(target)
    if target.is_dir():
        return
    with new_directory(target) as scratch:
        _create(scratch)
        python = scratch / "bin" / "python"
        with pip.command(python) as (command, variables):
            argv = [
                *command, "install",
                "--quiet", "--no-input", "--disable-pip-version-check", "--no-warn-script-location",
                "--require-hashes", "--only-binary=:all:",
                "--requirement", str(requirements),
            ]  # fmt: skip
            done = run(argv, env=variables, check=False)
        if done.returncode != 0:
            raise HostError(
                f"pip could not install {requirements.name}:\n{_indented(done.stderr)}",
                hint="pip uses the machine's own configuration and proxy; see `pip config list`",
            )
        # After a power cut the name could be there before the modules' bytes are. It waits for
        # all disks, but once; syncfs(2) would take ctypes, which a minimal Python may lack.
        os.sync()


def _create(folder: Path) -> None:
    try:
        import venv
    except ImportError as error:
        raise HostError(
            f"this Python has only a part of its standard library: {error}",
            where=sys.executable,
            hint="install the package python3 (not only python3-minimal)",
        ) from error
    if not sys.executable:
        # As in an empty environment; see sys.executable in Python's documentation.
        raise HostError(
            "this Python does not know where it is itself",
            hint="set PATH, as in: PATH=/usr/bin:/bin ./bulkhead",
        )
    # Symbolic links: Debian's interpreter finds its library by where it is.
    venv.EnvBuilder(with_pip=False, symlinks=True, clear=False).create(folder)


def _clear(target: Path) -> None:
    """Remove an environment whose interpreter is gone, and what killed runs left behind."""
    # `exists` follows the link: it is false when the Python it was made from is gone.
    if target.is_dir() and not (target / "bin" / "python").exists():
        dead = target.with_name(f".{target.name}.dead{os.getpid()}")
        target.rename(dead)
        shutil.rmtree(dead, ignore_errors=True)
    for left in target.parent.glob(".*"):
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def _indented(text: bytes) -> str:
    lines = text.decode(errors="replace").splitlines()[-15:]
    return "\n".join(f"    {line}" for line in lines)


def _say(text: str) -> None:
    print(f"bulkhead: {text}", file=sys.stderr, flush=True)
