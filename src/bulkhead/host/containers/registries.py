"""Where an image is fetched from: mirrors by the settings, in their order, and at last its registry.

containerd's Transfer service knows nothing of mirrors. But it stores what it
fetches under any name, so a mirror is a registry of its own to it. What it
fetches is checked against the digests in it; with a tag, that the mirror
means the same by it as the registry is for who set it to say.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bulkhead.host.containers import transfer
from bulkhead.host.containers.containerd import Containerd
from bulkhead.lib.decoding import decode_json
from bulkhead.model import reference
from bulkhead.model.errors import BulkheadError, HostError
from bulkhead.model.runtime_defaults import REGISTRIES, Credential, Registries


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One place to fetch an image from."""

    reference: str = ""
    """The image's name there."""
    credentials: transfer.Credentials | None = None
    endpoint: str = ""
    """The mirror's URL, as it was set; "" for the registry itself."""
    unusable: str = ""
    """Why nothing can be fetched from there; "" if that is possible."""


def load(folder: Path) -> Registries:
    """Read what the settings say of registries; nothing if they do not.

    Raises:
        HostError: the file cannot be read. What is in it is not told.
    """
    path = folder / REGISTRIES
    try:
        return decode_json(path.read_bytes(), Registries)
    except FileNotFoundError:
        return Registries()
    except (OSError, msgspec.MsgspecError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not what is expected"
        raise HostError(f"cannot be read: {reason}", where=str(path)) from None


def sources(
    name: str, known: Registries, *, credentials: transfer.Credentials | None = None
) -> tuple[Source, ...]:
    """Return the places to fetch an image from, first to last.

    Args:
        name: its full name.
        known: what the settings say.
        credentials: for its registry, from who asks; never shown to a mirror.
    """
    registry = reference.registry(name)
    found = [_mirror(endpoint, name, known) for endpoint in _endpoints(registry, known)]
    own = credentials or _credentials(registry, known)
    return (*found, Source(reference=name, credentials=own))


async def pull(
    containerd: Containerd, name: str, places: tuple[Source, ...], *, report: transfer.Report
) -> None:
    """Fetch an image from the first place that has it, and store it as `name`.

    Raises:
        NotFound: the last place, the registry itself, has no such image.
        UserError: it wants (other) credentials, or the image is not for this machine.
        HostError: it cannot be reached.
    """
    failed: list[str] = []
    for place in places:
        try:
            if place.unusable:
                raise HostError(place.unusable)
            await transfer.pull(
                containerd,
                source=place.reference,
                name=name,
                report=report,
                credentials=place.credentials,
            )
        except BulkheadError as error:
            if not place.endpoint:
                hint = "; ".join([*failed, *([error.hint] if error.hint else [])])
                raise type(error)(error.what, where=error.where, hint=hint or None) from error
            failed.append(f"mirror {place.endpoint}: {error.what}")
        else:
            return


def _endpoints(registry: str, known: Registries) -> tuple[str, ...]:
    mine = [
        mirror for mirror in known.mirrors if reference.same_registry(mirror.registry, registry)
    ]
    others = [mirror for mirror in known.mirrors if mirror.registry == "*"]
    return tuple(url for mirror in (mine or others) for url in mirror.endpoints)


def _mirror(endpoint: str, name: str, known: Registries) -> Source:
    url = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    shown = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
    if url.scheme != "https":
        return Source(endpoint=shown, unusable="only https is spoken")
    if url.username or url.password or url.query or url.fragment or not url.hostname:
        return Source(endpoint=shown, unusable="is more than a host; it can have a port")
    if url.path.strip("/") not in ("", "v2"):
        return Source(endpoint=shown, unusable="has a path, which is not supported")
    source = f"{url.netloc}/{name.partition('/')[2]}"
    return Source(reference=source, credentials=_credentials(url.netloc, known), endpoint=shown)


def _credentials(registry: str, known: Registries) -> transfer.Credentials | None:
    for item in known.credentials:
        if reference.same_registry(item.registry, registry):
            return _given(item)
    return None


def _given(item: Credential) -> transfer.Credentials:
    if item.identity_token:
        return transfer.Credentials(secret=item.identity_token)
    return transfer.Credentials(user=item.username, secret=item.password)
