"""JSON that others wrote."""

from __future__ import annotations

import msgspec
import pytest

from bulkhead.lib.decoding import decode_json


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "truncated"),
        (b"[5]", r"Expected `str`, got `int` - at `\$\[0\]`"),
        (b'["\xff"]', "it is not UTF-8: invalid start byte"),
        (b"[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
    ],
)
def test_whatever_is_wrong_is_one_error(raw: bytes | str, words: str) -> None:
    """Callers catch that one."""
    with pytest.raises(msgspec.DecodeError, match=words):
        decode_json(raw, list[str] if words.startswith("Exp") else object)


def test_what_is_right_is_returned() -> None:
    """As msgspec returns it."""
    assert decode_json(b'["a"]', tuple[str, ...]) == ("a",)
