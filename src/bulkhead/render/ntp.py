"""Time servers of systemd-timesyncd (timesyncd.conf(5)).

`ntp.options` are what chrony.conf(5) has after a server's name. timesyncd can follow two of
them, and for all servers alike: `minpoll N` and `maxpoll N`, the shortest and the longest time
between two questions, 2 to the power of N seconds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping

import msgspec

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings, Step
from bulkhead.render.text import HEAD, word

PATH = "/etc/systemd/timesyncd.conf.d/60-settings.conf"

_KEY = "settings.ntp.options"
_POLLS = ("minpoll", "maxpoll")
_NUMBER = re.compile(r"-?[0-9]+")
_POWER = re.compile(r"-[1-7]|[0-9]|1[0-9]|2[0-4]")
"""What chrony takes; 2^24 seconds are half a year."""
_SHORT_S, _LONG_S = 32, 2048
"""What timesyncd does by itself."""
_LEAST_S = 16
"""It does not ask more often."""
_SHOWN = 8


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    """chrony's options, as far as timesyncd is concerned."""

    powers: dict[str, int]
    """By the names of `_POLLS`."""
    wrong: tuple[str, ...]
    """Of those names, the ones without a number that chrony would take."""
    unknown: tuple[str, ...]
    """What timesyncd has no counterpart of."""


def render(settings: Settings) -> tuple[File, ...]:
    """Return the drop-in; nothing if neither servers nor times between questions are set."""
    lines = []
    if servers := read.texts(settings, "ntp.time-servers"):
        names = " ".join(word(_host(server), "ntp.time-servers") for server in servers)
        # Empty first: what other files name is not asked beside them.
        lines += ["NTP=", f"NTP={names}", "FallbackNTP="]
    if powers := _options(settings).powers:
        shortest, longest = _intervals(powers)
        lines += [f"PollIntervalMinSec={shortest}", f"PollIntervalMaxSec={longest}"]
    if not lines:
        return ()
    text = "\n".join(["[Time]", *lines])
    return (File(path=PATH, data=f"{HEAD}{text}\n".encode()),)


def notes(settings: Settings) -> tuple[str, ...]:
    """Return which options timesyncd does not follow, or not as they are."""
    options = _options(settings)
    said = []
    if options.unknown:
        names = ", ".join(repr(name[:32]) for name in options.unknown[:_SHOWN])
        more = len(options.unknown) - _SHOWN
        said.append(f"systemd-timesyncd has no {names}" + (f" and {more} more" if more > 0 else ""))
    said += [f"{name} needs a whole number from -7 to 24" for name in options.wrong]
    if options.powers:
        intervals = dict(zip(_POLLS, _intervals(options.powers), strict=True))
        if any(2.0**power != intervals[name] for name, power in options.powers.items()):
            said.append("systemd-timesyncd asks every {minpoll} to {maxpoll} s".format(**intervals))
    return tuple(f"{_KEY}: {what}" for what in said)


def _options(settings: Settings) -> _Options:
    """Read the options' words; a name and its number may be in one text or in two."""
    words = deque(part for text in read.texts(settings, "ntp.options") for part in text.split())
    powers: dict[str, int] = {}
    wrong: list[str] = []
    unknown: list[str] = []
    while words:
        name = words.popleft()
        number = words.popleft() if words and _NUMBER.fullmatch(words[0]) else ""
        if name not in _POLLS:
            unknown.append(f"{name} {number}".rstrip())
        elif _POWER.fullmatch(number):
            powers[name] = int(number)
        else:
            wrong.append(name)
    return _Options(powers=powers, wrong=tuple(dict.fromkeys(wrong)), unknown=tuple(unknown))


def _intervals(powers: Mapping[str, int]) -> tuple[int, int]:
    """Return the shortest and the longest time in seconds; timesyncd refuses one that does not fit the other."""
    seconds = {name: max(_LEAST_S, 2 ** max(power, 0)) for name, power in powers.items()}
    longest = seconds.get("maxpoll", max(_LONG_S, seconds.get("minpoll", 0)))
    return min(longest, seconds.get("minpoll", _SHORT_S)), longest


def _host(server: str) -> str:
    """Return the name or address in what may be a URL, as Bottlerocket takes it."""
    rest = server.partition("://")[2] or server
    host = rest.partition("/")[0]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


SERVICE = Service(
    name="ntp",
    keys=("ntp",),
    render=render,
    files={"timesyncd": PATH},
    steps=(Step(verb="try-restart", unit="systemd-timesyncd.service"),),
    notes=notes,
)
