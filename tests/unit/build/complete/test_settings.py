"""Default settings in the image."""

from __future__ import annotations

import pytest

from bulkhead.build.complete import settings
from bulkhead.build.tree import Tree, file
from bulkhead.model.errors import UserError

AUTHORITIES = "usr/share/bulkhead/ca-certificates.crt"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def test_defaults_are_in_the_image() -> None:
    """A machine without settings of its own finds its files ready."""
    tree = Tree()
    tree.put(AUTHORITIES, file("authorities\n"))

    settings.write(tree, {"motd": "hello", "network": {"hostname": "node"}})

    assert tree["etc/motd"].read() == b"hello\n"
    assert tree["etc/hostname"].read() == b"node\n"
    assert tree["etc/hosts"].read().startswith(b"127.0.0.1 localhost node\n")
    assert tree[BUNDLE].read() == b"authorities\n"


def test_an_image_without_authorities_has_no_bundle() -> None:
    """Nothing is there to be made from."""
    tree = Tree()

    settings.write(tree, {})

    assert BUNDLE not in tree


def test_a_default_that_cannot_be_rendered_stops_the_build() -> None:
    """The image would not be what its variant says."""
    with pytest.raises(UserError, match=r"settings\.network\.hostname: expected one word"):
        settings.write(Tree(), {"network": {"hostname": "a b"}})
