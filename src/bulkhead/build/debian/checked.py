"""What repositories say of files: it becomes part of a path or is counted with, so it is checked.

A signature says who wrote an index, not that what is in it is harmless.
"""

from __future__ import annotations

import re

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"[0-9]{1,12}")


def sha256(text: str) -> str:
    """Return a SHA-256 as it is.

    Raises:
        ValueError: it is none.
    """
    if not _SHA256.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is no SHA-256 in 64 lower-case digits")
    return text


def size(text: str) -> int:
    """Return the size of a file.

    Raises:
        ValueError: it is none, or one of a terabyte.
    """
    if not _SIZE.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is no size of a file")
    return int(text)


def path(text: str) -> str:
    """Return the path of a file below a repository's root.

    Raises:
        ValueError: it is none, or leads elsewhere.
    """
    if not text or text.startswith("/") or ".." in text.split("/") or not text.isprintable():
        raise ValueError(f"{text[:200]!r} is no path below the repository")
    return text
