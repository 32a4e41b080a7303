"""The container images that a variant brings along."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bulkhead.build import oci, steps
from bulkhead.lib.progress import Progress
from bulkhead.model.arch import Architecture
from bulkhead.model.errors import UserError


def fingerprints(items: Sequence[str]) -> dict[str, str]:
    """Return a hash for each item of a variant's `preload`.

    Raises:
        UserError: an item is not there.
    """
    found: dict[str, str] = {}
    for item in items:
        path = Path(item) if _is_archive(item) else oci.find(item)
        digest = _digest(path) if _is_archive(item) else oci.fingerprint(path)
        steps.add_fingerprints(found, {f"preload/{path.name}": digest})
    return found


def archives(
    items: Sequence[str],
    *,
    arch: Architecture,
    epoch: int | None,
    cache: Path,
    progress: Progress,
    locked: bool,
) -> dict[str, Path]:
    """Return the archives of a variant's `preload`, by the names that they get in the image.

    A name holds the archive's hash: by it the node knows what it has stored.
    Making one may make or move its lock (without `locked`), and with it what
    `fingerprints` returns. `epoch` is the time of the files in it; None for
    the date of its own lock, so that it is the same in every image.

    Raises:
        UserError: an item is not there, or cannot be made.
    """
    found = {}
    for item in items:
        if _is_archive(item):
            path, stem = Path(item), Path(item).stem
        else:
            built = oci.build(
                item, arch=arch, cache=cache, progress=progress, locked=locked, epoch=epoch
            )
            path, stem = built.path, oci.find(item).name
        found[f"{stem}-{_digest(path)[:12]}.tar"] = path
    return found


def definitions(items: Sequence[str]) -> list[str]:
    """Return those of a variant's `preload` that are made of packages, and so have a lock."""
    return [item for item in items if not _is_archive(item)]


def _is_archive(item: str) -> bool:
    return item.endswith(".tar")


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"the container image cannot be read: {error.strerror}", where=str(path)
        ) from error
