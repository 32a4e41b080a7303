"""Logs: their end, what comes later, and their bound."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.host.containers import logs, shorten


def collect(path: Path, *, tail: int | None = None) -> bytes:
    """Read a log to its end."""

    async def run() -> bytes:
        return b"".join([chunk async for chunk in logs.read(path, tail=tail, follow=None)])

    return asyncio.run(run())


@settings(deadline=None)  # an event loop for each example, on a busy machine
@given(
    lines=st.lists(st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"")), max_size=8),
    count=st.integers(0, 10),
    closed=st.booleans(),
)
def test_tail_gives_the_last_lines(
    tmp_path_factory: pytest.TempPathFactory, *, lines: list[bytes], count: int, closed: bool
) -> None:
    """As `tail -n` would, whether or not the last line is ended."""
    data = b"\n".join(lines) + (b"\n" if closed and lines else b"")
    path = tmp_path_factory.getbasetemp() / "log"
    path.write_bytes(data)
    expected = b"".join(_lines(data)[-count:] if count else [])

    assert collect(path, tail=count) == expected
    assert collect(path) == data


def _lines(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return lines + ([parts[-1]] if parts[-1] else [])


def test_follows_until_told_that_nothing_comes(tmp_path: Path) -> None:
    """What is written between two looks is seen, the last words too."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    turns = iter([b"two\n", b"three\n"])

    async def more() -> bool:
        data = next(turns, None)
        if data is None:
            return False
        with path.open("ab") as file:
            file.write(data)
        return True

    async def run() -> bytes:
        return b"".join([chunk async for chunk in logs.read(path, tail=None, follow=more)])

    assert asyncio.run(run()) == b"one\ntwo\nthree\n"


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    """A container that has not started yet has written nothing."""
    assert collect(tmp_path / "none", tail=5) == b""


def test_a_long_log_loses_its_beginning_in_place(tmp_path: Path) -> None:
    """The writer's descriptor goes on; the newest bytes stay; small logs are left alone."""
    path, small = tmp_path / "big.log", tmp_path / "small.log"
    small.write_bytes(b"x" * 1000)
    block = 64 * 1024
    with path.open("ab", buffering=0) as writer:
        for number in range(8):
            writer.write(bytes([number]) * block)

        shortened = shorten.shorten(tmp_path, largest=4 * block, kept=2 * block)
        writer.write(b"end")

    assert shortened == (["big"], {})
    assert path.read_bytes() == bytes([6]) * block + bytes([7]) * block + b"end"
    assert small.stat().st_size == 1000


def test_a_shortened_log_begins_with_a_whole_line(tmp_path: Path) -> None:
    """Who reads lines of JSON finds no half of one; cut twice, and cut between two lines, too."""
    path = tmp_path / "web.log"
    line = b'{"text":"%06d"}\n'
    path.write_bytes(b"".join(line % number for number in range(40_000)))

    for kept in (300_000, 150_000):
        shorten.shorten(tmp_path, largest=kept, kept=kept)
        lines = collect(path).splitlines(keepends=True)
        assert path.read_bytes().startswith(shorten.MARK)
        assert all(len(each) == 18 and each.startswith(b"{") for each in lines)
        assert lines[-1] == line % 39_999
        assert [int(each[9:15]) for each in lines] == list(range(40_000 - len(lines), 40_000))
        assert collect(path, tail=100_000) == collect(path)
        assert len(b"".join(lines)) > kept - 18

    whole = b"x" * (64 * 1024 - 1) + b"\n"
    path.write_bytes(whole * 3)
    shorten.shorten(tmp_path, largest=1, kept=2 * len(whole))
    assert collect(path) == whole * 2

    for half, left in ((b"abc\n", b"   \n"), (b"1234567\n", b""), (b"\n", b"\n")):
        path.write_bytes(b"x" * 64 * 1024 + half + whole)
        shorten.shorten(tmp_path, largest=1, kept=len(whole))
        assert collect(path) == left + whole, half


def test_a_log_that_cannot_be_shortened_keeps_no_other_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The later ones would fill the disk. It is told by its name, and the run has failed."""
    elsewhere = tmp_path / "elsewhere"
    for path in (elsewhere, tmp_path / "web.log"):
        with path.open("wb") as file:
            file.truncate(shorten.LARGEST + 1)
    (tmp_path / "bad.log").symlink_to(elsewhere)
    monkeypatch.setattr(shorten, "DIRECTORY", tmp_path)

    code = shorten.main()

    link = tmp_path / "bad.log"
    assert (code, capsys.readouterr().err) == (
        1,
        "shortened: web\n"
        "cannot shorten the log of container 'bad': "
        f"[Errno 40] Too many levels of symbolic links: '{link}'\n",
    )
    assert (tmp_path / "web.log").stat().st_size < shorten.LARGEST
    assert elsewhere.stat().st_size == shorten.LARGEST + 1
