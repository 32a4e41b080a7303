"""Copies of disk images."""

from __future__ import annotations

from pathlib import Path

from bulkhead.build import formats

MIB = 1 << 20


def test_holes_stay_holes(tmp_path: Path) -> None:
    """A copy has the same bytes and takes no more room."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(8 * MIB)
        file.seek(5 * MIB)
        file.write(b"middle" * 1000)
        file.seek(7 * MIB)
        file.write(b"end")

    formats.copy_sparse(source, target)

    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < MIB


def test_a_raw_image_is_copied_whole(tmp_path: Path) -> None:
    """Data to the last byte, nothing left beside the result."""
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 33)

    formats.write(source, tmp_path / "out.raw", form=formats.Format.RAW)

    assert (tmp_path / "out.raw").read_bytes() == source.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"source", "out.raw"}
