"""What is sent about the node, and where to. Bulkhead has no server of its own: both are set or nothing is."""

from __future__ import annotations

import msgspec

from bulkhead.model.metrics import PATH, Metrics
from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings, Step
from bulkhead.render.text import line, url

_URL = "metrics.metrics-url"


def render(settings: Settings) -> tuple[File, ...]:
    """Return what the program reads; nothing unless `send-metrics` is true, which asks for a URL."""
    target = read.text(settings, _URL)
    if target is None or not read.get(settings, "metrics.send-metrics", bool):
        return ()
    checks = read.texts(settings, "metrics.service-checks")
    wanted = Metrics(
        url=url(target, _URL),
        checks=tuple(dict.fromkeys(line(unit, "metrics.service-checks") for unit in checks)),
        seed=read.get(settings, "updates.seed", int),
        version_lock=read.text(settings, "updates.version-lock") or "latest",
        ignore_waves=read.get(settings, "updates.ignore-waves", bool) or False,
    )
    return (File(path=PATH, data=msgspec.json.encode(wanted, order="sorted") + b"\n"),)


SERVICE = Service(
    name="metrics",
    keys=("metrics", "updates.seed", "updates.version-lock", "updates.ignore-waves"),
    render=render,
    files={"metrics": PATH},
    # Without the file the timers' condition does not hold, and they stay down. With it the
    # second one runs the program in two minutes: a server that cannot be reached is seen soon.
    steps=(
        Step(verb="restart", unit="bulkhead-metrics.timer"),
        Step(verb="restart", unit="bulkhead-metrics-first.timer"),
    ),
)
