"""The root file system: a tree becomes an erofs image.

Updates are fetched block by block (4 KiB) against the running slot, so a
change to one file must not move or re-pack its neighbours: clusters are
aligned, and `fragments`, `dedupe` and `ztailpacking` stay off.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid as uuids
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.build import tar
from bulkhead.build.tree import Tree
from bulkhead.model.errors import UserError

if TYPE_CHECKING:
    from bulkhead.build.tools import Tools

BLOCK = 4096
COMPRESSION = "lz4hc,9"
CLUSTER = 65536

_NAMESPACE = uuids.UUID("2f3c4d0e-6c0b-4c0a-9a34-5e0f0d6f6d11")


def make(
    tree: Tree,
    out: Path,
    *,
    tools: Tools,
    epoch: int,
    uuid: uuids.UUID | None = None,
    compression: str = COMPRESSION,
    cluster: int = CLUSTER,
) -> None:
    """Write `tree` as an erofs image to `out`, the same bytes for the same arguments.

    Args:
        tree: what is in the image.
        out: the image; it appears whole or not at all.
        tools: a tool tree with mkfs.erofs.
        epoch: time of every file, in seconds since 1970.
        uuid: of the file system; by default it is derived from the content.
        compression: as mkfs.erofs names it: `lz4hc,9`, `zstd,level=9`, or `none`.
        cluster: bytes that are compressed together, a multiple of 4096; larger
            is smaller on disk and slower to read.

    Raises:
        UserError: `cluster` is not a multiple of 4096.
        HostError: mkfs.erofs failed, or a file of the tree cannot be read.
    """
    if cluster < BLOCK or cluster % BLOCK:
        raise UserError(f"an erofs cluster must be a multiple of {BLOCK} bytes, got {cluster}")
    # Inside a directory of its own: mkfs.erofs never sees a half-made image
    # of another build, and an interrupt leaves nothing beside `out`.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
        scratch = Path(name)
        stream, image = scratch / "root.tar", scratch / "root.erofs"
        with stream.open("wb") as raw:
            tar.write(tree, raw, epoch=epoch)
        identity = uuid or content_uuid(stream, f"{epoch} {compression} {cluster}")
        compressor = [] if compression == "none" else [f"-z{_option(compression)}", f"-C{cluster}"]
        argv = [
            "mkfs.erofs", "--quiet", "--tar=f", f"-b{BLOCK}", f"-T{epoch}", f"-U{identity}", "-x-1",
            *compressor, str(image), str(stream),
        ]  # fmt: skip
        # Not by SOURCE_DATE_EPOCH: that makes it store a time in every inode,
        # which then takes 64 bytes instead of 32.
        tools.run(argv, writes=[scratch])
        os.chmod(image, 0o644)
        os.replace(image, out)


def _option(compression: str) -> str:
    """Return `zstd,9` as mkfs.erofs 1.8 wants it for every compressor: `zstd,level=9`."""
    name, _, level = compression.partition(",")
    return f"{name},level={level}" if level.isdigit() else compression


def content_uuid(path: Path, parameters: str) -> uuids.UUID:
    """Return a UUID that follows from the bytes of `path` and `parameters`."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return uuids.uuid5(_NAMESPACE, f"{digest} {parameters}")
