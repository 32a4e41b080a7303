"""What leaves the cache, and what stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bulkhead.build.debian import keep


def test_only_what_nothing_used_for_long_is_forgotten(tmp_path: Path) -> None:
    """Old objects, leftovers of killed processes and unpacked packages go; used ones stay."""
    names = ["objects/aa/old", "objects/aa/.old.part", "indexes/old.msgpack", "unpacked/old/000"]
    new = ["objects/aa/new", "indexes/new.msgpack", "unpacked/new/000", "objects/aa/used"]
    kept = ["indexes/suite.release", "tools/key/file"]
    for name in [*names, *new, *kept]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    long_ago = time.time() - keep.KEEP_S - 60
    for name in [*names, *kept, "objects/aa/used", "unpacked/old"]:
        os.utime(tmp_path / name, (long_ago, long_ago))
    keep.touch(tmp_path / "objects/aa/used")

    keep.forget_old(tmp_path)

    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == sorted([*new, *kept])
