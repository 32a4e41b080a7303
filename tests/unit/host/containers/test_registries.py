"""Where images are fetched from, and who one says to be there."""

from __future__ import annotations

import pytest

from bulkhead.host.containers.registries import Source, sources
from bulkhead.host.containers.transfer import Credentials
from bulkhead.model.runtime_defaults import Credential, Mirror, Registries

NGINX = "docker.io/library/nginx:1"
DIGEST = "@sha256:" + "0" * 64


def known(*mirrors: tuple[str, str], **credentials: str) -> Registries:
    """Return settings with one endpoint for each mirror; `a_b` names the registry `a.b`."""
    return Registries(
        mirrors=tuple(Mirror(registry=name, endpoints=(url,)) for name, url in mirrors),
        credentials=tuple(
            Credential(registry=name.replace("_", "."), username=user, password="p")
            for name, user in credentials.items()
        ),
    )


def test_without_settings_only_the_registry_is_asked() -> None:
    """By the image's own name."""
    assert sources(NGINX, Registries()) == (Source(reference=NGINX),)


@pytest.mark.parametrize(
    ("endpoint", "reference"),
    [
        ("https://mirror.example", "mirror.example/library/nginx:1"),
        ("https://mirror.example:5000/", "mirror.example:5000/library/nginx:1"),
        ("https://mirror.example/v2", "mirror.example/library/nginx:1"),
    ],
)
def test_a_mirror_is_asked_first(endpoint: str, reference: str) -> None:
    """The path stays, the registry is another."""
    first, last = sources(NGINX, known(("docker.io", endpoint)))

    assert (first.reference, first.unusable, last.reference) == (reference, "", NGINX)


def test_digests_stay() -> None:
    """What is asked for by its hash is what comes, from wherever."""
    first, _ = sources(f"{NGINX}{DIGEST}", known(("docker.io", "https://mirror.example")))

    assert first.reference == f"mirror.example/library/nginx:1{DIGEST}"


@pytest.mark.parametrize(
    "endpoint",
    ["http://mirror.example", "mirror.example", "https://mirror.example/path", "https://",
     "https://user:secret@mirror.example", "ftp://mirror.example", "https://mirror.example?x=1"],
)  # fmt: skip
def test_mirrors_that_cannot_be_used_say_why(endpoint: str) -> None:
    """They are passed over, and no password of theirs is shown."""
    first, last = sources(NGINX, known(("docker.io", endpoint)))

    assert first.unusable
    assert "secret" not in first.endpoint
    assert last.reference == NGINX


def test_a_mirror_for_all_is_for_those_without_their_own() -> None:
    """`*` does not add to what a registry has."""
    settings = known(("*", "https://all.example"), ("docker.io", "https://hub.example"))

    assert [s.reference for s in sources(NGINX, settings)] == ["hub.example/library/nginx:1", NGINX]
    assert [s.reference for s in sources("quay.example/a/b:1", settings)] == [
        "all.example/a/b:1", "quay.example/a/b:1",
    ]  # fmt: skip


def test_credentials_go_to_whom_they_are_for() -> None:
    """A mirror never gets those of the registry, nor those of who asks."""
    settings = known(("docker.io", "https://hub.example"), hub_example="mirrors", docker_io="mine")
    asked = Credentials(user="asker", secret="s")

    users = [s.credentials and s.credentials.user for s in sources(NGINX, settings)]
    assert users == ["mirrors", "mine"]
    users = [
        s.credentials and s.credentials.user for s in sources(NGINX, settings, credentials=asked)
    ]
    assert users == ["mirrors", "asker"]
    only_hub = known(("docker.io", "https://hub.example"), index_docker_io="mine")
    assert [s.credentials is None for s in sources(NGINX, only_hub)] == [True, False]


def test_a_token_has_no_user() -> None:
    """The registry's authorization server takes it in place of both."""
    token = Credential(registry="docker.io", username="ignored", identity_token="t")
    (only,) = sources(NGINX, Registries(credentials=(token,)))

    assert only.credentials == Credentials(secret="t")


def test_secrets_are_not_printed() -> None:
    """Nor in the middle of something else."""
    assert "hidden" not in f"{Source(credentials=Credentials(user='u', secret='hidden'))!r}"
