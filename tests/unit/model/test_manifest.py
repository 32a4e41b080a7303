"""Reading and writing manifests."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.model import manifest
from bulkhead.model.errors import UserError
from bulkhead.model.lock import Lock
from bulkhead.model.manifest import Builder, Manifest, Output

EXAMPLE = Manifest(
    variant="standalone",
    version="0.1.0",
    architecture="amd64",
    epoch=1763700000,
    root_hash="0123456789abcdef" * 4,
    verity_salt="00ff",
    root_uuid="01234567-89ab-cdef-0123-456789abcdef",
    verity_uuid="01234567-89ab-cdef-0123-456789abcdef",
    signed=True,
    kernel_release="6.12.0",
    command_line="console=ttyS0",
    outputs=(Output(kind="root", file="root.erofs", size=4096, sha256="a" * 64),),
    builder=Builder(version="0.1.0", fingerprint="f" * 64, tools={"image": "k"}),
    inputs={"variants/standalone/variant.toml": "b" * 64},
    lock=Lock(architecture="amd64", request="d" * 64, suites=(), packages=()),
)


def changed(**fields: object) -> bytes:
    """Return the example with other fields."""
    data = msgspec.to_builtins(EXAMPLE)
    data.update(fields)
    return msgspec.json.encode(data)


def test_a_manifest_survives_being_written_and_read() -> None:
    """And is the same bytes each time."""
    raw = manifest.encode(EXAMPLE)

    assert manifest.decode(raw, where="x") == EXAMPLE
    assert manifest.encode(EXAMPLE) == raw
    assert raw.endswith(b"}\n")


def test_fields_of_a_later_builder_are_passed_over() -> None:
    """Within one format, a manifest may know more than we do."""
    assert manifest.decode(changed(novelty=[1]), where="x") == EXAMPLE


def test_outputs_are_found_by_kind() -> None:
    """Nobody looks for them by file name."""
    assert EXAMPLE.output("root") == EXAMPLE.outputs[0]
    assert EXAMPLE.output("disk") is None


@pytest.mark.parametrize(
    "file", ["../root.erofs", "/etc/passwd", "a/b", "", ".hidden", "..", "a\nb", "a\0b"]
)
def test_files_cannot_leave_the_manifests_directory(file: str) -> None:
    """A manifest from elsewhere must not make us read or write other places."""
    output = {"kind": "root", "file": file, "size": 1, "sha256": "a" * 64}

    with pytest.raises(UserError, match=r"x: is no manifest: .*`\$\.outputs\[0\]\.file`"):
        manifest.decode(changed(outputs=[output]), where="x")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 2}, "has manifest format 2; this Bulkhead reads format 1\n  hint: use the"),
        ({"root_hash": "f" * 64}, "are not the halves of root_hash"),
        ({"architecture": "arm64"}, "an image for 'arm64', a lock for 'amd64'"),
        ({"epoch": -1}, "Expected `int` >= 0"),
        ({"variant": "../up"}, r"Expected `str` matching regex"),
        ({"outputs": [{"kind": "root", "file": "a", "size": 1, "sha256": "x"}]}, "sha256"),
        (
            {"outputs": [{"kind": "a", "file": f, "size": 1, "sha256": "a" * 64} for f in "bc"]},
            "two outputs have the kind 'a'",
        ),
        (
            {"outputs": [{"kind": k, "file": "b", "size": 1, "sha256": "a" * 64} for k in "cd"]},
            "two outputs have the file 'b'",
        ),
    ],
)
def test_wrong_manifests_are_refused_with_the_reason(
    fields: dict[str, object], message: str
) -> None:
    """Contradictions and values out of range never get further than the reader."""
    with pytest.raises(UserError, match=message):
        manifest.decode(changed(**fields), where="x")


def test_many_outputs_take_no_time() -> None:
    """Comparing each with all others would take seconds for these."""
    outputs = tuple(
        Output(kind=f"a{number}", file=f"f{number}", size=0, sha256="a" * 64)
        for number in range(10_000)
    )
    raw = changed(outputs=outputs)
    start = time.process_time()

    found = manifest.decode(raw, where="x")

    assert time.process_time() - start < 1
    assert found.outputs == outputs


def test_something_huge_is_refused_before_it_is_read() -> None:
    """An image given in place of its manifest is not parsed."""
    with pytest.raises(UserError, match="larger than"):
        manifest.decode(bytes(manifest.LARGEST_BYTES + 1), where="x")


@given(st.binary(max_size=200) | st.integers(0, 5000).map(lambda depth: b"[" * depth))
def test_arbitrary_bytes_give_a_message(raw: bytes) -> None:
    """Whatever is in the file, the answer is an error for people."""
    with pytest.raises(UserError):
        manifest.decode(raw, where="x")
