"""Conditions that one program of a node leaves for others, in a file."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from bulkhead.lib import atomicfile
from bulkhead.model.health import Condition

log = logging.getLogger(__name__)


def write(path: Path, conditions: tuple[Condition, ...]) -> None:
    """Leave conditions; readers see all of them or those of before."""
    atomicfile.write(path, msgspec.json.encode(conditions) + b"\n")


def read(path: Path) -> tuple[Condition, ...]:
    """Return what was left; nothing if nobody left anything, or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Condition, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("%s cannot be read: %s", path, error)
        return ()
