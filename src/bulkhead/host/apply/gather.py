"""What the settings want and what the machine has. Reads only."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence

import msgspec

from bulkhead.host.apply import sysctl
from bulkhead.host.apply.places import Places
from bulkhead.host.apply.plan import Content, Wanted
from bulkhead.host.apply.state import State
from bulkhead.model.apply import ServiceResult
from bulkhead.model.errors import BulkheadError, HostError
from bulkhead.render.service import File, Service, Settings


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a plan is made from."""

    wanted: tuple[Wanted, ...]
    current: Mapping[str, Content]
    """Files of the machine that are concerned, by path; those that exist."""
    before: Mapping[str, str]
    """Kernel parameters that settings change, and their values without settings."""
    broken: tuple[ServiceResult, ...] = ()
    """Services whose settings cannot be rendered (`tolerant`)."""


def gather(
    settings: Settings,
    services: Sequence[Service],
    state: State,
    places: Places,
    *,
    defaults: Settings,
    tolerant: bool = False,
) -> Facts:
    """Render the services' files and read what is there now.

    Args:
        settings: in force.
        services: those that are concerned.
        state: of earlier runs.
        places: where the machine's files are.
        defaults: the image's settings, whose files are in the image.
        tolerant: a service that cannot be rendered stays as it is, and the others do not suffer:
            a machine that starts must get its network although its message of the day is wrong.

    Raises:
        RenderError: a setting cannot be rendered (without `tolerant`).
        HostError: a file cannot be read.
    """
    wanted: list[Wanted] = []
    broken: list[ServiceResult] = []
    for service in services:
        try:
            files = tuple(_complete(file, places) for file in service.render(settings))
            wanted.append(Wanted(
                service=service, files=files, retry=service.name in state.failed,
                leftover=_leftover(service, state, defaults),
            ))  # fmt: skip
        except BulkheadError as error:
            if not tolerant:
                raise
            broken.append(ServiceResult(name=service.name, status="failed", error=str(error)))
    before = sysctl.before(wanted, state, places)
    wanted = [sysctl.with_restore(item, before) for item in wanted]
    paths = {path for w in wanted for path in (*(f.path for f in w.files), *w.leftover)}
    current = {path: found for path in sorted(paths) if (found := content(places, path))}
    return Facts(wanted=tuple(wanted), current=current, before=before, broken=tuple(broken))


def _complete(file: File, places: Places) -> File:
    """Return a file with the image's bytes that come first."""
    if file.base is None:
        return file
    try:
        base = (places.image / file.base).read_bytes()
    except OSError as error:
        raise HostError(
            f"the image has no {file.base}: {error.strerror}", where=file.path
        ) from error
    return msgspec.structs.replace(file, data=base + file.data, base=None)


def _leftover(service: Service, state: State, defaults: Settings) -> tuple[str, ...]:
    """Return the files that may be there for a service without being wanted any more."""
    written = {path for path, name in state.files.items() if name == service.name}
    try:
        shipped = {file.path for file in service.render(defaults)}
    except BulkheadError:  # the build would have failed; whatever it is, it is not ours to remove
        shipped = set()
    return tuple(sorted(written | shipped))


def content(places: Places, path: str) -> Content | None:
    """Return what a file below `/etc` is; None if it is not there.

    Raises:
        HostError: it is no file, or cannot be read.
    """
    target = places.etc / path.removeprefix("/etc/")
    try:
        data = target.read_bytes()
        mode = stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"cannot be read: {error.strerror}", where=path) from error
    return Content(data=data, mode=mode)
