"""Certificate authorities that the machine and containerd trust besides the image's own."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from bulkhead.render import read
from bulkhead.render.service import File, RenderError, Service, Settings, Step

PATH = "/etc/ssl/certs/ca-certificates.crt"
BASE = "ca-certificates.crt"
"""The image's own, in its `usr/share/bulkhead`."""
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\s+[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----", re.ASCII
)


class _Bundle(msgspec.Struct, frozen=True, kw_only=True):
    data: str = ""
    trusted: bool = False


def render(settings: Settings) -> tuple[File, ...]:
    """Return the whole bundle: the image's, then each trusted one by name."""
    bundles = read.get(settings, "pki", dict[str, _Bundle]) or {}
    added = b""
    for name, bundle in sorted(bundles.items()):
        if bundle.trusted and bundle.data:
            added += _certificates(bundle.data, f"settings.pki.{name}.data")
    return (File(path=PATH, data=added, base=BASE),)


def _certificates(data: str, where: str) -> bytes:
    """Return the certificates alone: text around them may look like anything."""
    try:
        pem = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RenderError("is not base64", where=where) from error
    found = _PEM.findall(pem)
    if not found:
        raise RenderError("has no certificate in it", where=where)
    return b"".join(certificate + b"\n" for certificate in found)


SERVICE = Service(
    name="pki",
    keys=("pki",),
    render=render,
    files={"ca-certificates": PATH},
    # Programs read the bundle once.
    steps=(Step(verb="try-restart", unit="containerd.service"),),
)
