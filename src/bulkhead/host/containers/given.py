"""What a container has been given since the last boot: written by the network program, read by all."""

from __future__ import annotations

import msgspec

from bulkhead.host.containers.places import Places
from bulkhead.lib.decoding import decode_json
from bulkhead.model.containers import Port


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a container has been given; kept below /run until it is taken back."""

    address: str
    ports: tuple[Port, ...] = ()
    """Those that lead to it: what a stopped container asked for may be another's by now."""


def read_given(places: Places, name: str) -> Given | None:
    """Return what a container has been given since the last boot, or None."""
    try:
        return decode_json((places.networks / f"{name}.json").read_bytes(), Given)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
