"""Did you mean …: the nearest known name."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, or None when nothing is close."""
    import difflib  # 6 ms; only needed once something is already wrong

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def hint(name: str, known: Iterable[str]) -> str | None:
    """Return a hint that names the nearest known name, or None."""
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else None
