"""Names of images, as Docker made them familiar."""

from __future__ import annotations

import pytest

from bulkhead.model import reference
from bulkhead.model.errors import UserError

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("bulkhead/demo", "docker.io/bulkhead/demo:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x/y:1", "localhost:5000/x/y:1"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("quay.io/a/b", "quay.io/a/b:latest"),
        (f"quay.io/a/b@{DIGEST}", f"quay.io/a/b@{DIGEST}"),
        (f"quay.io/a/b:1@{DIGEST}", f"quay.io/a/b:1@{DIGEST}"),
    ],
)
def test_gives_the_full_name(given: str, full: str) -> None:
    """A short name gets registry, `library/` and tag; a full one stays."""
    assert reference.normalize(given) == full
    assert reference.normalize(full) == full


@pytest.mark.parametrize(
    "given", ["", "a:b:c", "-x", "a//b", "A", "x y", "a/../b", "x@sha256:12", "x" * 300, "a\n", "ü"]
)
def test_refuses_what_is_no_name(given: str) -> None:
    """Nothing that a registry could misread gets through."""
    with pytest.raises(UserError, match="an image cannot be named"):
        reference.normalize(given)


def test_takes_a_full_name_apart() -> None:
    """Registry, tag, short and familiar names."""
    full = "localhost:5000/team/web:2.0"

    assert reference.registry(full) == "localhost:5000"
    assert reference.tag(full) == "2.0"
    assert reference.short_name(full) == "web"
    assert reference.familiar("docker.io/library/nginx:1") == "nginx:1"
    assert reference.familiar("docker.io/bulkhead/demo:1") == "bulkhead/demo:1"
