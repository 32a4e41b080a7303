"""Parameters of the next start: one line, which the node puts beside the image's own."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bulkhead.model.boot import PARAMETERS, Parameters
from bulkhead.model.settings import boot_parameters
from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step

_Given = dict[str, tuple[str, ...]]


def render(settings: Settings) -> tuple[File, ...]:
    """Return the line; nothing if no parameter is set."""
    # Kernel and systemd both read the whole line. A "--" between the two would also cut off what a
    # hypervisor appends for the kernel (io.systemd.stub.kernel-cmdline-extra).
    words = [*_words(settings, "kernel-parameters"), *_words(settings, "init-parameters")]
    if not words:
        return ()
    wanted = Parameters(
        line=" ".join(words),
        reboot=read.get(settings, "boot.reboot-to-reconcile", bool) or False,
    )
    return (File(path=PARAMETERS, data=msgspec.json.encode(wanted, order="sorted") + b"\n"),)


def _words(settings: Settings, group: str) -> Iterator[str]:
    for name, values in (read.get(settings, f"boot.{group}", _Given) or {}).items():
        if why := boot_parameters.refusal(name, values):
            raise RenderError(
                f"cannot be set on a node: {why}", where=f"settings.boot.{group}.{name!r}"
            )
        yield from boot_parameters.words(name, values)


SERVICE = Service(
    name="boot",
    keys=("boot",),
    render=render,
    files={"boot": PARAMETERS},
    steps=(Step(verb="restart", unit="bulkhead-parameters@now.service"),),
)
