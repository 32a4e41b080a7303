"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ENDINGS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""Signals that a program may turn into an interrupt, after which it cleans up."""
# Names begin with a dot and the file's own name: what a killed writer left is known by it.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write(path: Path, data: bytes | str, *, mode: int = 0o644, durable: bool = False) -> None:
    """Replace `path` by `data` in one step; readers see the old bytes or the new ones.

    Args:
        path: the file; its directory must exist.
        data: the new content; text is written as UTF-8.
        mode: permission bits, whatever the umask.
        durable: also survive a power cut that comes right after the return.
    """
    raw = data.encode() if isinstance(data, str) else data
    name = path.parent / f".{path.name}.{os.urandom(8).hex()}"
    descriptor = os.open(name, _NEW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in `path` survive a power cut.

    fsync(2): syncing a file does not sync the directory entry that names it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def scratch_directory(target: Path) -> Iterator[Path]:
    """Yield a new directory beside `target`, which goes away with the block.

    An interrupt finds either no directory or one that is removed: it waits
    while the directory is made (pthread_sigmask(3)).
    """
    # Slow to import, and a node's programs write files only.
    import shutil
    import tempfile

    # Only the main thread handles signals; in others there is nothing to hold back.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield a scratch directory that becomes `path` when the block ends well.

    If somebody else made `path` meanwhile, theirs stays and ours is dropped:
    two processes that make the same thing need no lock. On an error or an
    interrupt the scratch directory goes away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_directory(path) as scratch:
        yield scratch
        os.chmod(scratch, 0o755)
        try:
            os.rename(scratch, path)
        except OSError:
            if not path.is_dir():
                raise
