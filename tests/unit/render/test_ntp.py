"""chrony's options, as far as systemd-timesyncd has them."""

from __future__ import annotations

import pytest

from bulkhead.render import ntp


@pytest.mark.parametrize(
    ("options", "lines", "unknown"),
    [
        (["iburst"], (), ("iburst",)),
        (["minpoll 4", "maxpoll", "6"], ("PollIntervalMinSec=16", "PollIntervalMaxSec=64"), ()),
        # It does not ask more often than that.
        (["minpoll -1"], ("PollIntervalMinSec=16", "PollIntervalMaxSec=2048"), ()),
        (["minpoll 12"], ("PollIntervalMinSec=4096", "PollIntervalMaxSec=4096"), ()),
        (["maxpoll 4"], ("PollIntervalMinSec=16", "PollIntervalMaxSec=16"), ()),
        (["minpoll 7", "maxpoll 6"], ("PollIntervalMinSec=64", "PollIntervalMaxSec=64"), ()),
        (["minpoll", "maxpoll x", "minpoll 25"], (), ("minpoll", "maxpoll", "x", "minpoll 25")),
        (["5", "offset -3"], (), ("5", "offset -3")),
        ([], (), ()),
    ],
)
def test_options(options: list[str], lines: tuple[str, ...], unknown: tuple[str, ...]) -> None:
    """Times between questions are followed; of everything else a note is made."""
    settings = {"ntp": {"options": options}}
    written = "".join(file.data.decode() for file in ntp.render(settings))

    assert tuple(written.splitlines()[2:]) == lines
    said = f"settings.ntp.options: systemd-timesyncd has no {', '.join(unknown)}"
    assert ntp.notes(settings) == ((said,) if unknown else ())
