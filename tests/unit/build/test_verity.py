"""Names that follow from the root hash."""

from __future__ import annotations

from uuid import UUID

import pytest

from bulkhead.build import verity
from bulkhead.model.errors import UserError


def test_partition_uuids_are_the_halves_of_the_root_hash() -> None:
    """Discoverable Partitions Specification: first 128 bits for the root, last for verity."""
    root_hash = "00112233445566778899aabbccddeeff" + "f" * 32

    assert verity.partition_uuids(root_hash) == (
        UUID("00112233-4455-6677-8899-aabbccddeeff"),
        UUID("ffffffff-ffff-ffff-ffff-ffffffffffff"),
    )


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "A" * 64, "0" * 63 + "\n", "g" * 64])
def test_anything_but_a_root_hash_is_refused(text: str) -> None:
    """64 lower-case hexadecimal digits, nothing else."""
    with pytest.raises(UserError, match="64 lower-case hexadecimal digits"):
        verity.partition_uuids(text)
