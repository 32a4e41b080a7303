"""dm-verity: the hash tree over the root and the partition names that follow from it.

The salt is the same for every image: a node that has a block under one image
recognises it by its hash in the tree of the next one, which is what makes
updates small. A salt protects against precomputed collisions only, and
there are none for SHA-256.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid as uuids
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bulkhead.build.erofs import content_uuid
from bulkhead.model.errors import UserError

if TYPE_CHECKING:
    from bulkhead.build.tools import Tools

BLOCK = 4096
# SHA-256 of "bulkhead verity salt 1"; changing it makes the next update a full download.
SALT = "eee76ab45fe531195712b8bccc06900460f6ea618a6d035cb20530383a5348c3"


class VerityResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `make` found out."""

    root_hash: str
    """64 lower-case hexadecimal digits; whoever knows it knows every byte of the image."""
    salt: str
    data_bytes: int
    hash_tree_bytes: int


def make(
    data: Path,
    hash_tree: Path,
    *,
    tools: Tools,
    salt: str = SALT,
    uuid: uuids.UUID | None = None,
) -> VerityResult:
    """Write the hash tree of `data`, superblock first, to `hash_tree`.

    Args:
        data: the image; its size must be a multiple of 4096.
        hash_tree: the result; it appears whole or not at all.
        tools: a tool tree with veritysetup.
        salt: hexadecimal; keep the default if updates are to stay small.
        uuid: of the superblock; by default it is derived from `data`.

    Raises:
        UserError: the size of `data` is not a multiple of 4096.
        HostError: veritysetup failed.
    """
    size = data.stat().st_size
    if size == 0 or size % BLOCK:
        raise UserError(
            f"dm-verity needs whole blocks of {BLOCK} bytes, got {size} bytes", where=str(data)
        )
    identity = uuid or content_uuid(data, f"verity {salt}")
    with tempfile.TemporaryDirectory(dir=hash_tree.parent, prefix=f".{hash_tree.name}.") as name:
        scratch = Path(name)
        tree, root = scratch / "verity", scratch / "roothash"
        argv = [
            "veritysetup", "format", str(data), str(tree), "--hash=sha256", f"--salt={salt}",
            f"--uuid={identity}", f"--data-block-size={BLOCK}", f"--hash-block-size={BLOCK}",
            f"--root-hash-file={root}",
        ]  # fmt: skip
        tools.run(argv, reads=[data], writes=[scratch])
        root_hash = root.read_text().strip()
        check_root_hash(root_hash)
        os.chmod(tree, 0o644)
        os.replace(tree, hash_tree)
    return VerityResult(
        root_hash=root_hash, salt=salt, data_bytes=size, hash_tree_bytes=hash_tree.stat().st_size
    )


def check_root_hash(root_hash: str) -> None:
    """Accept 64 lower-case hexadecimal digits.

    Raises:
        UserError: it is something else.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", root_hash):
        raise UserError(f"a root hash is 64 lower-case hexadecimal digits, got {root_hash!r}")


def partition_uuids(root_hash: str) -> tuple[uuids.UUID, uuids.UUID]:
    """Return the UUIDs of the root and the verity partition that belong to `root_hash`.

    Discoverable Partitions Specification: the root partition is named by the
    first 128 bits of the root hash, the verity partition by the last 128.

    Raises:
        UserError: it is not a root hash.
    """
    check_root_hash(root_hash)
    return uuids.UUID(root_hash[:32]), uuids.UUID(root_hash[32:])
