"""Time servers of systemd-timesyncd (timesyncd.conf(5)).

`ntp.options` are what chrony.conf(5) has after a server's name. timesyncd can follow two of
them, and for all servers alike: `minpoll N` and `maxpoll N`, the shortest and the longest time
between two questions, 2 to the power of N seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings, Step
from bulkhead.render.text import HEAD, word

PATH = "/etc/systemd/timesyncd.conf.d/60-settings.conf"

_POLLS = ("minpoll", "maxpoll")
_NUMBER = re.compile(r"-?[0-9]+")
_POWER = re.compile(r"-?[0-9]|1[0-9]|2[0-4]")
"""What chrony takes; 2^24 seconds are half a year."""
_SHORT_S, _LONG_S = 32, 2048
"""What timesyncd does by itself."""
_LEAST_S = 16
"""It does not ask more often."""


def render(settings: Settings) -> tuple[File, ...]:
    """Return the drop-in; nothing if no servers are set."""
    lines = []
    if servers := read.texts(settings, "ntp.time-servers"):
        names = " ".join(word(_host(server), "ntp.time-servers") for server in servers)
        # Empty first: what other files name is not asked beside them.
        lines += ["NTP=", f"NTP={names}", "FallbackNTP="]
    polls, _ = _read(_words(settings))
    lines += [f"{name}={seconds}" for name, seconds in _intervals(polls).items()]
    if not lines:
        return ()
    text = "\n".join(["[Time]", *lines])
    return (File(path=PATH, data=f"{HEAD}{text}\n".encode()),)


def notes(settings: Settings) -> tuple[str, ...]:
    """Return which options mean nothing to timesyncd."""
    _, unknown = _read(_words(settings))
    if not unknown:
        return ()
    return (f"settings.ntp.options: systemd-timesyncd has no {', '.join(unknown)}",)


def _words(settings: Settings) -> list[str]:
    """Return the options' words; a name and its number may be one text or two."""
    return [part for text in read.texts(settings, "ntp.options") for part in text.split()]


def _read(words: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Return the times between questions in seconds, and what timesyncd cannot follow."""
    polls: dict[str, int] = {}
    unknown: list[str] = []
    for name, number in _pairs(words):
        if name in _POLLS and _POWER.fullmatch(number):
            polls[name] = max(_LEAST_S, 2 ** max(int(number), 0))
        else:
            unknown.append(f"{name} {number}".rstrip())
    return polls, unknown


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return names with the number that follows each, or ""."""
    for index, name in enumerate(words):
        if not _NUMBER.fullmatch(name) or index == 0:
            after = words[index + 1] if index + 1 < len(words) else ""
            yield name, after if _NUMBER.fullmatch(after) else ""


def _intervals(polls: Mapping[str, int]) -> dict[str, int]:
    """Return what is written; timesyncd would take its own for both if one did not fit the other."""
    if not polls:
        return {}
    longest = polls.get("maxpoll", max(_LONG_S, polls.get("minpoll", 0)))
    shortest = min(longest, polls.get("minpoll", _SHORT_S))
    return {"PollIntervalMinSec": shortest, "PollIntervalMaxSec": longest}


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
