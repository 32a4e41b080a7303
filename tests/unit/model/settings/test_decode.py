"""Settings as bytes from outside: whatever they are, they are read whole or refused in one sentence."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.model.errors import UserError
from bulkhead.model.settings import decode
from bulkhead.model.settings.groups import GENERAL, Groups
from tests.support.settings import trees


@given(trees(Groups(GENERAL)))
def test_reads_every_settings_as_they_were_written(settings: dict[str, object]) -> None:
    """No right settings are taken for some with a name twice."""
    assert decode.from_json(msgspec.json.encode(settings)) == settings


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "settings: is not JSON: Input data was truncated"),
        (b'{"a": ', "settings: is not JSON: Input data was truncated"),
        (b"{}x", "settings: is not JSON: JSON is malformed: trailing characters"),
        (b"[]", "settings: expected `object`, got `array`"),
        (b"null", "settings: expected `object`, got `null`"),
        (b'{"a": "\xff"}', "settings: is not UTF-8"),
        (b'{"a": "\\ud800"}', "settings: is not JSON: Input data was truncated"),
        (b'{"a": 1e999}', "settings: number out of range"),
        (b'{"a": ' + b"9" * 5000 + b"}", "settings: integer value out of range"),
        (b'{"a": NaN}', "settings: is not JSON: JSON is malformed: invalid character (byte 6)"),
        (b'{"a":' + b"[" * 100_000, "settings: is nested too deep"),
        (b'{"a":' * 100_000, "settings: is nested too deep"),
        (b'{"a": {"b": 1, "b": 1}}', "settings.b: is there twice in one table\n"
         "  hint: keep one of the two"),
        (b'{"a": [{"c:\\"": 1, "c:\\u0022": 2}]}', 'settings."c:\\"": is there twice in one table\n'
         "  hint: keep one of the two"),
    ],
)  # fmt: skip
def test_refuses_json_that_is_none(data: bytes, message: str) -> None:
    """Cut off, of another type, not UTF-8, too big, too deep, said twice."""
    with pytest.raises(UserError) as caught:
        decode.from_json(data)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = ", "settings: is not TOML: "),
        (b"a = 1\na = 2\n", "settings: is not TOML: Cannot overwrite a value"),
        (b"a = \xff", "settings: is not UTF-8: byte 4 cannot be"),
        (b"a = " + b"[" * 100_000, "settings: is nested too deep"),
    ],
)
def test_refuses_toml_that_is_none(data: bytes, message: str) -> None:
    """The same for user data."""
    with pytest.raises(UserError) as caught:
        decode.from_toml(data)

    assert str(caught.value).startswith(message)


def test_a_date_is_no_setting() -> None:
    """TOML has kinds of values that JSON and settings have not."""
    settings = decode.from_toml(b"motd = 2026-01-01\n[metrics]\nsend-metrics = inf\n")

    with pytest.raises(UserError, match=r"settings\.motd: expected text, got a date"):
        Groups(GENERAL).check(settings)


@given(st.binary(max_size=60))
def test_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing else than settings or an error comes of any bytes."""
    for read in (decode.from_json, decode.from_toml):
        try:
            settings = read(data)
        except UserError:
            continue
        assert isinstance(settings, dict)
