"""chrony's options, as far as systemd-timesyncd has them."""

from __future__ import annotations

import pytest

from bulkhead.render import ntp


@pytest.mark.parametrize(
    ("options", "seconds", "said"),
    [
        ([], None, []),
        (["minpoll 4", "maxpoll", "6"], (16, 64), []),
        (["minpoll 12"], (4096, 4096), []),
        (["iburst"], None, ["systemd-timesyncd has no 'iburst'"]),
        # It does not ask more often than that.
        (["minpoll -1"], (16, 2048), ["systemd-timesyncd asks every 16 to 2048 s"]),
        (["minpoll 7", "maxpoll 6"], (64, 64), ["systemd-timesyncd asks every 64 to 64 s"]),
        (["maxpoll 4"], (16, 16), []),
        (
            ["minpoll", "maxpoll x", "minpoll 25", "minpoll -8"], None,
            ["systemd-timesyncd has no 'x'", "minpoll needs a whole number from -7 to 24",
             "maxpoll needs a whole number from -7 to 24"],
        ),
        (["maxpoll 6 7", "offset -3"], (32, 64), ["systemd-timesyncd has no '7', 'offset -3'"]),
        (["x" * 99] * 10, None,
         [f"systemd-timesyncd has no {', '.join([repr('x' * 32)] * 8)} and 2 more"]),
    ],
)  # fmt: skip
def test_options(options: list[str], seconds: tuple[int, int] | None, said: list[str]) -> None:
    """Times between questions are followed; of everything else a note is made."""
    settings = {"ntp": {"options": options}}
    written = "".join(file.data.decode() for file in ntp.render(settings))

    lines = ["PollIntervalMinSec={}", "PollIntervalMaxSec={}"]
    assert written.splitlines()[2:] == (
        [line.format(s) for line, s in zip(lines, seconds, strict=True)] if seconds else []
    )
    assert list(ntp.notes(settings)) == [f"settings.ntp.options: {what}" for what in said]
