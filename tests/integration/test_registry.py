"""Images come from mirrors and private registries, as the settings say: with real ones, over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bulkhead.build.tools import Tools, tools
from bulkhead.host.containers import registries
from bulkhead.host.containers.containerd import Containerd
from bulkhead.host.containers.engine import Engine
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.transfer import Credentials
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.model.errors import BulkheadError, HostError
from bulkhead.model.runtime_defaults import REGISTRIES, Credential, Mirror, Registries
from tests.support import containers, registry
from tests.support.web import Web, status

pytestmark = pytest.mark.timeout(300)

IMAGE = "docker.io/library/busybox:1"


@pytest.fixture(scope="module")
def registry_tools() -> Tools:
    """Return containerd and a registry."""
    return tools("registry", cache=cache_dir(), progress=SILENT)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> registry.Certificate:
    """Return the certificate of both registries."""
    return registry.certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def mirror(
    registry_tools: Tools, files: registry.Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[registry.Registry]:
    """Return a registry for everyone, with the image as Docker's hub would name it."""
    where = tmp_path_factory.mktemp("mirror") / "registry"
    with registry.serve(registry_tools, where, files) as running:
        running.push(containers.busybox(), "library/busybox:1")
        yield running


@pytest.fixture(scope="module")
def private(
    registry_tools: Tools, files: registry.Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[registry.Registry]:
    """Return a registry that asks who is there."""
    where = tmp_path_factory.mktemp("private") / "registry"
    with registry.serve(registry_tools, where, files, private=True) as running:
        running.push(containers.busybox(), "team/tool:2")
        running.push(containers.busybox(), "library/busybox:private")
        yield running


@pytest.fixture
def socket(registry_tools: Tools, files: registry.Certificate, tmp_path: Path) -> Iterator[Path]:
    """Return the socket of a containerd that has no image."""
    with registry.containerd(registry_tools, tmp_path / "containerd", files) as path:
        yield path


def pull(
    socket: Path, image: str, known: Registries, *, credentials: Credentials | None = None
) -> list[str]:
    """Pull an image with these settings; return the names of all that containerd has then."""
    settings = socket.parent / "settings"
    settings.mkdir(exist_ok=True)
    (settings / REGISTRIES).write_bytes(msgspec.json.encode(known))

    async def work() -> list[str]:
        async with Containerd(path=str(socket)) as there:
            engine = Engine(there, Places(settings=settings, records=socket.parent / "records"))
            await engine.pull(image, report=lambda _: None, credentials=credentials)
            return [stored.name for stored in await engine.list_images()]

    return asyncio.run(work())


def test_a_mirror_serves_what_another_registry_is_named_for(
    socket: Path, mirror: registry.Registry
) -> None:
    """It is stored under its own name. Mirrors that cannot be used are passed over, in order."""
    dead = f"https://127.0.0.1:{registry.free_port()}"
    endpoints = (
        dead,
        "http://mirror.invalid",
        "https://mirror.invalid/x",
        f"https://{mirror.host}",
    )
    known = Registries(mirrors=(Mirror(registry="docker.io", endpoints=endpoints),))

    assert pull(socket, "busybox:1", known) == [IMAGE]
    assert '"GET /v2/library/busybox/manifests/' in mirror.requests()


def test_the_registry_itself_comes_last(
    socket: Path, mirror: registry.Registry, private: registry.Registry
) -> None:
    """What the mirror for everything else does not have comes from where its name says."""
    known = Registries(
        mirrors=(Mirror(registry="*", endpoints=(f"https://{mirror.host}/v2/",)),),
        credentials=(
            Credential(registry="docker.io", username="other", password="wrong"),
            Credential(registry=private.host, username=registry.USER, password=registry.PASSWORD),
        ),
    )
    name = f"{private.host}/team/tool:2"

    assert pull(socket, name, known) == [name]
    assert "/v2/team/tool/manifests/2" in mirror.requests()
    log = (socket.parent / "log").read_text() + mirror.requests() + private.requests()
    assert registry.PASSWORD not in log


def test_a_mirror_can_be_private(socket: Path, private: registry.Registry) -> None:
    """It gets the credentials that are set for it, and not those of who asks."""
    mirrors = (Mirror(registry="docker.io", endpoints=(f"https://{private.host}",)),)
    mine = Credential(
        registry=f"{private.host}", username=registry.USER, password=registry.PASSWORD
    )
    known = Registries(mirrors=mirrors, credentials=(mine,))
    theirs = Credentials(user="somebody", secret="of the registry itself")

    assert pull(socket, "busybox:private", known, credentials=theirs) == [
        "docker.io/library/busybox:private"
    ]
    assert "somebody" not in private.requests()


@pytest.mark.parametrize(
    "credentials",
    [None, Credentials(user=registry.USER, secret="wrong"), Credentials(secret="a token")],
)
def test_who_does_not_know_the_password_gets_nothing(
    socket: Path, private: registry.Registry, credentials: Credentials | None
) -> None:
    """The error names the image, and not what was tried."""
    with pytest.raises(BulkheadError, match=r"401|403|authorization|unauthorized") as caught:
        pull(socket, f"{private.host}/team/tool:2", Registries(), credentials=credentials)
    assert "wrong" not in str(caught.value)
    assert "a token" not in str(caught.value)


def test_another_host_that_asks_gets_no_password(socket: Path, files: registry.Certificate) -> None:
    """A registry may redirect to anyone, and containerd asks us for whom it meets there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    asking = Web(
        status(401, 'WWW-Authenticate: Basic realm="x"', "Connection: close"),
        context=context, slow_s=0,
    )  # fmt: skip
    place = f"Location: https://127.0.0.1:{asking.port}/v2/team/tool/manifests/2"
    first = Web(status(307, place, "Connection: close"), context=context, slow_s=0)
    with closing(asking), closing(first), pytest.raises(BulkheadError, match="authorization"):
        pull(
            socket, f"127.0.0.1:{first.port}/team/tool:2", Registries(),
            credentials=Credentials(user=registry.USER, secret=registry.PASSWORD),
        )  # fmt: skip

    assert asking.heads
    assert [head for head in asking.heads if "authorization:" in head.lower()] == []


def test_the_last_error_tells_of_the_mirrors(socket: Path, mirror: registry.Registry) -> None:
    """Whoever set a mirror wants to know why it was not used."""
    last = f"127.0.0.1:{registry.free_port()}"
    known = Registries(
        mirrors=(Mirror(registry=last, endpoints=(f"https://{mirror.host}", "mirror.invalid")),)
    )

    with pytest.raises(BulkheadError, match="refused") as caught:
        pull(socket, f"{last}/none", known)
    assert f"mirror https://{mirror.host}: " in str(caught.value)
    assert "mirror http://mirror.invalid: only https is spoken" in str(caught.value)


def test_settings_that_cannot_be_read_stop_a_pull(tmp_path: Path) -> None:
    """Rather than asking the wrong place. What is in the file is not told: it has secrets."""
    (tmp_path / REGISTRIES).write_text('{"credentials": [{"password": "it is a secret", "x')

    with pytest.raises(HostError, match=r"registries\.json: cannot be read") as caught:
        registries.load(tmp_path)
    assert "secret" not in str(caught.value)
