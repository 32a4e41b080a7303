"""What images consist of, whoever made them."""

from __future__ import annotations

import asyncio

import pytest

from bulkhead.host.containers import images
from bulkhead.host.containers import messages as m
from bulkhead.host.containers.containerd import Containerd
from bulkhead.model.errors import UserError


class Content(Containerd):
    """A containerd with one image, whose manifest is `raw`."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.only = m.Image(name="demo", target=m.Descriptor(digest="sha256:0"))

    async def read(self, digest: str, *, limit: int) -> bytes:
        """Return it."""
        return self.raw

    async def image(self, name: str) -> m.Image:
        """Return the image."""
        return self.only


def test_an_image_is_as_large_as_its_layers() -> None:
    """Compressed, as they are stored."""
    layers = b'[{"digest": "a", "size": 5}, {"digest": "b", "size": 7}]'
    there = Content(b'{"config": {"digest": "c"}, "layers": ' + layers + b"}")

    assert asyncio.run(images.describe(there, there.only)).size == 12


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'{"config": {"digest": "\xff"}}',
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_a_crafted_image_does_not_hide_the_others(raw: bytes) -> None:
    """Its size is not known; running it is refused in words."""
    there = Content(raw)

    assert asyncio.run(images.describe(there, there.only)).size == 0
    with pytest.raises(UserError, match="the image's description cannot be read"):
        asyncio.run(images.resolve(there, "demo"))
