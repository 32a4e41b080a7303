"""Lock files as text: JSON with one artifact per line, so that a diff shows what moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bulkhead.lib import atomicfile
from bulkhead.lib.decoding import decode_json
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.lock import FORMAT, Lock


def lock_text(lock: Lock) -> str:
    """Return the text of a lock file; the same lock is always the same text."""
    sets = [f"{_json(name)}: {_json(lock.sets[name])}" for name in sorted(lock.sets)]
    parts = [
        f'"format": {lock.format}',
        f'"architecture": {_json(lock.architecture)}',
        f'"request": {_json(lock.request)}',
        f'"suites": {_block("[]", [_json(suite) for suite in lock.suites])}',
        f'"packages": {_block("[]", [_json(package) for package in lock.packages])}',
        f'"files": {_block("[]", [_json(file) for file in lock.files])}',
        f'"sets": {_block("{}", sets)}',
    ]
    return "{\n  " + ",\n  ".join(parts) + "\n}\n"


def _json(value: object) -> str:
    # Compact JSON with a space after the separators reads better in a diff.
    return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()


def _block(brackets: str, lines: Sequence[str]) -> str:
    if not lines:
        return brackets
    return brackets[0] + "\n    " + ",\n    ".join(lines) + "\n  " + brackets[1]


def parse_lock(text: str, *, where: str) -> Lock:
    """Read the text of a lock file.

    Raises:
        UserError: it is not one, or one of another format.
    """
    try:
        lock = decode_json(text, Lock)
    except msgspec.DecodeError as error:
        raise UserError(
            f"is not a lock file: {error}", where=where, hint="make it again with: bulkhead lock"
        ) from error
    if lock.format != FORMAT:
        raise UserError(
            f"has format {lock.format}, this Bulkhead reads format {FORMAT}", where=where,
            hint="make it again with: bulkhead lock",
        )  # fmt: skip
    return lock


def read_lock(path: Path) -> Lock:
    """Read a lock file.

    Raises:
        UserError: it does not exist, cannot be read, or is no lock.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(
            "there is no lock file yet", where=str(path), hint="make it with: bulkhead lock"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from error
    return parse_lock(text, where=str(path))


def write_lock(path: Path, lock: Lock) -> None:
    """Replace a lock file in one step.

    Raises:
        HostError: it cannot be written.
    """
    try:
        atomicfile.write(path, lock_text(lock))
    except OSError as error:
        raise HostError(f"cannot be written: {error.strerror}", where=str(path)) from error
