"""Settings that are understood and cannot take effect on a node yet: whoever sets one is told.

A setting that is accepted and does nothing would be worse than one that fails.
Each is kept in a file, so that it is told when it is set and not each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from bulkhead.render import read
from bulkhead.render.service import File, Service, Settings, Step

FOLDER = "/etc/bulkhead"


def _service(
    name: str, key: str, wanted: Callable[[Mapping[str, object]], object], why: str
) -> Service:
    path = f"{FOLDER}/{name}.json"

    def render(settings: Settings) -> tuple[File, ...]:
        asked = wanted(read.get(settings, key, dict[str, object]) or {})
        if not asked:
            return ()
        return (File(path=path, data=msgspec.json.encode(asked, order="sorted") + b"\n"),)

    return Service(
        name=name, keys=(key,), render=render, files={name: path},
        steps=(Step(verb="refuse", why=why),),
    )  # fmt: skip


def _parameters(boot: Mapping[str, object]) -> object:
    found = {key: boot.get(key) for key in ("kernel-parameters", "init-parameters")}
    return {key: value for key, value in found.items() if value}


BOOT = _service(
    "boot", "boot", _parameters,
    "the command line is part of the kernel image, which a node cannot change; "
    "give it in the variant: kernel.command-line",
)  # fmt: skip
HUGEPAGES = _service(
    "hugepages", "kernel.hugepages", dict,
    "huge pages cannot be set while the machine runs; "
    "give them in the variant: kernel.command-line, as in hugepages=64",
)  # fmt: skip
