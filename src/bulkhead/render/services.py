"""All services that settings concern, in the order in which they are acted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bulkhead.model.errors import Bug
from bulkhead.model.settings import keys
from bulkhead.render import (
    dns,
    firewall,
    hostname,
    hosts,
    hugepages,
    links,
    lockdown,
    metrics,
    modules,
    motd,
    ntp,
    parameters,
    pki,
    proxy,
    registry,
    runtime,
    sysctl,
)
from bulkhead.render.service import ConfigurationFile, File, Service, Settings

SERVICES: tuple[Service, ...] = (
    motd.SERVICE,
    hosts.SERVICE,
    # The kernel first: what starts later finds it as it should be.
    modules.SERVICE,
    sysctl.SERVICE,
    hugepages.SERVICE,
    hostname.SERVICE,
    lockdown.SERVICE,
    firewall.SERVICE,
    links.SERVICE,
    dns.SERVICE,
    ntp.SERVICE,
    # All of these restart containerd, once.
    pki.SERVICE,
    proxy.SERVICE,
    runtime.CONTAINERD_SERVICE,
    runtime.DEFAULTS_SERVICE,
    registry.SERVICE,
    # After what its way out depends on.
    metrics.SERVICE,
    # Of the next start, whatever the others did.
    parameters.SERVICE,
)

MOST_UNREAD = 20
"""Settings that nothing reads and that are named one by one."""

CONFIGURATION_FILES: Mapping[str, ConfigurationFile] = {
    name: ConfigurationFile(path=path, service=service.name)
    for service in SERVICES
    for name, path in service.files.items()
}


def render(settings: Settings, services: Sequence[Service] = SERVICES) -> tuple[File, ...]:
    """Return all files of some services, by path.

    Raises:
        RenderError: a setting cannot be written into a file.
        Bug: two services write one file.
    """
    found: dict[str, File] = {}
    for service in services:
        for file in service.render(settings):
            if file.path in found:
                raise Bug(f"two services write {file.path}")
            found[file.path] = file
    return tuple(found[path] for path in sorted(found))


def notes(
    settings: Settings, concerned: Iterable[Service], unread: Iterable[tuple[str, ...]] = ()
) -> tuple[str, ...]:
    """Return what people should know of valid settings that change nothing.

    Args:
        settings: in force.
        concerned: services that were asked for.
        unread: settings that were asked for and that no service reads.
    """
    said = [note for service in concerned for note in service.notes(settings)]
    set_keys = {key[:length] for key in keys.flatten(settings) for length in range(len(key) + 1)}
    idle = [key for key in unread if key in set_keys]
    said += [f"{keys.format(key)}: nothing in this image reads it" for key in idle[:MOST_UNREAD]]
    if len(idle) > MOST_UNREAD:
        said.append(f"{len(idle) - MOST_UNREAD} more settings are read by nothing in this image")
    return tuple(said)


def affected(
    asked_for: Iterable[tuple[str, ...]], services: Sequence[Service] = SERVICES
) -> tuple[Service, ...]:
    """Return the services that some settings concern, in their order.

    The nearest ancestor that a service names counts, as in Bottlerocket: a
    service of `network.hostname` hides one of `network` from that key. A key
    above those that services name (`network`) concerns all of them.
    """
    by_key: dict[tuple[str, ...], set[str]] = {}
    for service in services:
        for key in service.keys:
            by_key.setdefault(tuple(key.split(".")), set()).add(service.name)
    found: set[str] = set()
    for asked in asked_for:
        found |= _nearest(asked, by_key)
    return tuple(service for service in services if service.name in found)


def _nearest(key: tuple[str, ...], by_key: Mapping[tuple[str, ...], set[str]]) -> set[str]:
    below = (names for known, names in by_key.items() if known[: len(key)] == key)
    found = set().union(*below)
    for length in range(len(key), 0, -1):
        if names := by_key.get(key[:length]):
            return found | names
    return found
