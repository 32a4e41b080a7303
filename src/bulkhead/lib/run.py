"""The one place that starts other programs.

Never through a shell; every command is logged; a failure carries the end of
the program's standard error, so that whoever reads it need not run it again.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from bulkhead.model.errors import HostError

log = logging.getLogger(__name__)

STDERR_TAIL_LINES = 15

Process = subprocess.Popen[bytes]
"""What `spawn` starts."""


class CommandFailed(HostError):
    """A program ended with an error.

    Attributes:
        argv: the command.
        returncode: its exit code; negative for a signal, as in `subprocess`.
        stderr: all that it wrote to standard error.
    """

    def __init__(self, argv: Sequence[str], returncode: int, stderr: str) -> None:
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stderr = stderr
        how = f"was killed by signal {-returncode}" if returncode < 0 else f"exited {returncode}"
        tail = "\n".join(f"    {line}" for line in stderr.splitlines()[-STDERR_TAIL_LINES:])
        super().__init__(f"{Path(argv[0]).name} {how}" + (f":\n{tail}" if tail else ""))


def run(
    argv: Sequence[str],
    *,
    input: bytes | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run `argv` to its end and return its output.

    Args:
        argv: program and arguments.
        input: bytes or an open file for standard input; nothing by default.
        env: the whole environment; this process's by default.
        cwd: working directory.
        timeout_s: kill it after this many seconds.
        check: raise if it fails.

    Raises:
        CommandFailed: it exited with an error (with `check`).
        HostError: it cannot be started, or took longer than `timeout_s`.
    """
    log.debug("run: %s", shlex.join(argv))
    stdin: dict[str, object]
    if isinstance(input, bytes):
        stdin = {"input": input}
    else:
        stdin = {"stdin": input if input is not None else subprocess.DEVNULL}
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(  # type: ignore[call-overload]  # stdin xor input
            list(argv),
            capture_output=True,
            env=env,
            cwd=cwd,
            timeout=timeout_s,
            check=False,
            **stdin,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{argv[0]} did not end within {timeout_s:g} s") from error
    except OSError as error:
        raise HostError(f"cannot start {argv[0]!r}: {error.strerror}") from error
    if check and done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stderr.decode(errors="replace"))
    return done


def spawn(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = subprocess.DEVNULL,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    new_session: bool = False,
    pass_fds: Sequence[int] = (),
) -> Process:
    """Start `argv` and return at once; the caller owns the process.

    Raises:
        HostError: it cannot be started.
    """
    log.debug("spawn: %s", shlex.join(argv))
    try:
        return subprocess.Popen(
            list(argv), stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd,
            start_new_session=new_session, pass_fds=pass_fds,
        )  # fmt: skip
    except OSError as error:
        raise HostError(f"cannot start {argv[0]!r}: {error.strerror}") from error


def replace(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> None:
    """Become `argv`; does not return.

    Raises:
        HostError: it cannot be started.
    """
    log.debug("exec: %s", shlex.join(argv))
    try:
        os.execvpe(argv[0], list(argv), dict(env if env is not None else os.environ))
    except OSError as error:
        raise HostError(f"cannot start {argv[0]!r}: {error.strerror}") from error
