"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
    name = _beside(path)
    try:
        with os.fdopen(os.open(name, _NEW, 0o600), "wb") as file:
            file.write(raw)
            os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
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

    Its name is known before it is made, so an interrupt at any moment finds it removed.
    """
    import shutil  # slow to import, and a node's programs write files only

    scratch = _beside(target)
    try:
        scratch.mkdir(mode=0o700)
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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


def _beside(path: Path) -> Path:
    """Return a name that nobody has, by which what a killed writer left is known."""
    return path.parent / f".{path.name}.{os.urandom(8).hex()}"
