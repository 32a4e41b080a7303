"""TOML that people did not write by hand: what Python can read and nothing can use."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkhead.build import oci, variants
from bulkhead.model.errors import UserError

DOTTED = (
    ".toml:1: is nested too deeply" if sys.version_info < (3, 14) else ".toml: is nested too deeply"
)
"""What is said of a key of thousands of parts: newer Pythons refuse it themselves, without a line."""
NUL = r"a\u0000b"


def read_variant(folder: Path, text: str) -> object:
    """Read a variant's own file."""
    (folder / "variant.toml").write_text(text)
    return variants.read(folder / "variant.toml")


def read_image(folder: Path, text: str) -> object:
    """Read the definition of a container image."""
    (folder / "image.toml").write_text(text)
    return oci.read(folder)


@pytest.mark.parametrize("read", [read_variant, read_image])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "1" * 5000, ".toml: has a number of too many digits"),
        ("a = " + "[" * 3000, ".toml: is nested too deeply"),
        ("a = " + "{a = " * 3000, ".toml: is nested too deeply"),
        ("a = " + "[" * 100 + "]" * 100, ".toml:1: is nested too deeply"),
        ("a" + ".a" * 3000 + " = 1", DOTTED),
        (f'a = [["./{NUL}"]]', r".toml:1: 'a' has a character NUL in it: './a\x00b'"),
        (f'a = 1\n["{NUL}"]', r".toml: 'a\x00b' has a character NUL in it: 'a\x00b'"),
        ("a = 1", ".toml:1: unknown key 'a'"),
    ],
)
def test_what_nothing_can_use_is_refused(
    tmp_path: Path, read: Callable[[Path, str], object], text: str, message: str
) -> None:
    """There is a message with the file, and the line where it can be told; never a traceback."""
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)

    assert message in str(caught.value)
