"""What no unit's result tells: whether the kernel really has what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from bulkhead.host.apply.places import Places
from bulkhead.host.apply.plan import Change
from bulkhead.host.apply.sysctl import file_of
from bulkhead.lib import conditions
from bulkhead.model.errors import HostError
from bulkhead.render import modules, sysctl


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the machine said."""

    notes: tuple[str, ...] = ()
    reboot: bool = False


def check(service: str, places: Places, changes: Sequence[Change]) -> Seen:
    """Look whether a service's settings hold.

    Args:
        service: its name.
        places: where the machine's files are.
        changes: of files, this service's and others'.

    Raises:
        HostError: they do not, and will not.
    """
    look = _CHECKS.get(service)
    return look(places, changes) if look else Seen()


def _network(places: Places, changes: Sequence[Change]) -> Seen:
    """systemd-networkd makes VLANs and bonds, but neither changes nor removes them."""
    del places
    stale = [
        PurePosixPath(change.path).stem.removeprefix("10-")
        for change in changes
        if change.path.endswith(".netdev") and change.old is not None
    ]
    if not stale:
        return Seen()
    return Seen(notes=(f"as before until the next start: {', '.join(stale)}",), reboot=True)


def _sysctl(places: Places, changes: Sequence[Change]) -> Seen:
    """systemd-sysctl passes over names that the kernel does not have; people do not."""
    del changes
    asked = sysctl.parse(_text(places, sysctl.PATH))
    unknown = [name for name in asked if not file_of(places, name).exists()]
    if unknown:
        raise HostError(
            f"the kernel has no parameter {', '.join(sorted(unknown))}",
            hint="its module may not be loaded yet; see settings.kernel.modules",
        )
    return Seen()


def _modules(places: Places, changes: Sequence[Change]) -> Seen:
    """Say which forbidden modules have been loaded before they were forbidden."""
    del changes
    forbidden = modules.forbidden(_text(places, modules.REFUSED))
    loaded = {line.partition(" ")[0] for line in _proc(places, "modules").splitlines()}
    still = sorted(name for name in forbidden if name.replace("-", "_") in loaded)
    if not still:
        return Seen()
    return Seen(notes=(f"loaded until the next start: {', '.join(still)}",), reboot=True)


def _boot(places: Places, changes: Sequence[Change]) -> Seen:
    """Say what the program of the boot loader's entries has found."""
    del changes
    return _told(places.boot / "parameters.json")


def _hugepages(places: Places, changes: Sequence[Change]) -> Seen:
    """Say what the kernel did not give."""
    del changes
    return _told(places.boot / "hugepages.json")


def _told(path: Path) -> Seen:
    told = conditions.read(path)
    if wrong := [condition for condition in told if condition.severity == "error"]:
        raise HostError("; ".join(c.title for c in wrong), hint=wrong[0].text)
    return Seen(notes=tuple(condition.title for condition in told), reboot=bool(told))


_CHECKS: Mapping[str, Callable[[Places, Sequence[Change]], Seen]] = {
    "sysctl": _sysctl,
    "kernel-modules": _modules,
    "network": _network,
    "boot": _boot,
    "hugepages": _hugepages,
}


def _text(places: Places, path: str) -> str:
    try:
        return (places.etc / path.removeprefix("/etc/")).read_text()
    except FileNotFoundError:
        return ""


def _proc(places: Places, name: str) -> str:
    try:
        return (places.proc / name).read_text()
    except OSError as error:
        raise HostError(f"cannot read /proc/{name}: {error.strerror}") from error
