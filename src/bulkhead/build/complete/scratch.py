"""A part of a tree as real files, for the few tools that cannot work on less."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from bulkhead.build.tree import Kind, Tree


def materialise(tree: Tree, paths: Iterable[str], root: Path) -> None:
    """Write the named files and links of a tree below `root`, which may not exist yet."""
    root.mkdir(parents=True, exist_ok=True)
    for path in sorted(set(paths)):
        entry = tree.get(path)
        if entry is None:
            continue
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind is Kind.DIRECTORY:
            target.mkdir(exist_ok=True)
        elif entry.kind is Kind.SYMLINK:
            target.symlink_to(entry.target or "")
        elif entry.source is not None:
            shutil.copyfile(entry.source, target)
        else:
            target.write_bytes(entry.read())
