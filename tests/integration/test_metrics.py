"""A node's metrics and the server they go to: HTTP, HTTPS, a proxy, and everything that can be wrong with them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import msgspec
import pytest

from bulkhead.host.metrics import sending
from bulkhead.host.metrics.__main__ import run
from bulkhead.host.metrics.places import Places
from bulkhead.model.errors import HostError, RemoteError
from bulkhead.model.metrics import Metrics
from tests.support.first_process import FakeUnit, FirstProcess, first_process
from tests.support.registry import free_port
from tests.support.web import OK, Web, status, web

LIMIT_S = 5.0


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[FirstProcess]:
    """Run a first process, with the bus in front of it."""
    with first_process(tmp_path) as served:
        yield served


class Node:
    """The files of a machine, and its program."""

    def __init__(self, directory: Path) -> None:
        self.places = Places(
            metrics=directory / "metrics.json", authorities=directory / "authorities.crt",
            os_release=directory / "os-release", bus=directory / "systemd-private",
            state=directory / "state",
        )  # fmt: skip
        self.places.state.mkdir()
        self.places.os_release.write_text("VERSION_ID=1.4.2\nVARIANT_ID=standalone\n")
        self.places.authorities.write_bytes(b"")

    def wants(self, url: str, *checks: str) -> None:
        """Write what the settings say."""
        wanted = Metrics(url=url, checks=checks, seed=7)
        self.places.metrics.write_bytes(msgspec.json.encode(wanted))

    def trusts(self, certificate: Path) -> None:
        """Add an authority, as `settings.pki` does."""
        self.places.authorities.write_bytes(certificate.read_bytes())

    def sends(self, **environment: str) -> str:
        """Run the program and return which event was delivered."""
        return run(self.places, environment, pauses_s=())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Make a machine that has just started."""
    return Node(tmp_path)


def attempt(
    server: Web, *, authorities: Path, limit_s: float = LIMIT_S, **environment: str
) -> None:
    """Send one request by HTTPS."""
    sending.attempt(
        f"https://127.0.0.1:{server.port}/v1", "/v1?event=boot_success", authorities=authorities,
        environment=environment, limit_s=limit_s,
    )  # fmt: skip


def test_a_start_is_told_once_and_health_after_that(node: Node, systemd: FirstProcess) -> None:
    """The server hears everything that is said, and nothing else."""
    systemd.units["containerd.service"] = FakeUnit()
    systemd.units["kubelet.service"] = FakeUnit(active="failed", status=255)
    with web() as server:
        node.wants(f"http://127.0.0.1:{server.port}/v1", "containerd", "kubelet")

        events = [node.sends() for _ in range(3)]

        assert events == ["boot_success", "health_ping", "health_ping"]
        method, target, _ = server.requests[1].split(" ")
        path, _, query = target.partition("?")
        assert (method, path) == ("GET", "/v1")
        sent = dict(parse_qsl(query, keep_blank_values=True))
        assert sent.pop("arch")
        assert sent == {
            "sender": "bulkhead", "event": "health_ping", "version": "1.4.2", "variant": "standalone",
            "seed": "7", "version_lock": "latest", "ignore_waves": "false",
            "failed_services": "kubelet:255", "is_healthy": "false",
        }  # fmt: skip
        headers = [
            line.partition(":")[0].lower() for line in server.heads[1].split("\r\n")[1:] if line
        ]
        assert sorted(headers) == ["accept-encoding", "connection", "host"]


def test_a_start_that_was_not_delivered_is_told_by_the_next_run(node: Node) -> None:
    """Only what a server has taken was sent."""
    with web() as server:
        server.answers.append(status(500))
        node.wants(f"http://127.0.0.1:{server.port}/")
        with pytest.raises(RemoteError, match="answered with status 500"):
            node.sends()

        assert node.sends() == "boot_success"


def test_https_with_an_authority_of_the_settings(node: Node, tmp_path: Path) -> None:
    """`settings.pki` is what makes a server of one's own trusted."""
    with web(secure=tmp_path) as server:
        node.wants(f"https://127.0.0.1:{server.port}/")
        node.trusts(tmp_path / "certificate.pem")

        assert node.sends() == "boot_success"
        assert [line.partition("?")[0] for line in server.requests] == ["GET /"]


def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Whoever sits between hears nothing, and it is not tried again."""
    other = tmp_path / "other"
    other.mkdir()
    paused: list[float] = []
    with web(secure=other) as wrong, web(secure=tmp_path) as server:
        with pytest.raises(RemoteError, match="its certificate is not trusted: ") as raised:
            sending.send(
                f"https://127.0.0.1:{wrong.port}/", "/", authorities=tmp_path / "certificate.pem",
                environment={}, sleep=paused.append,
            )  # fmt: skip

        assert wrong.requests == []
        attempt(server, authorities=tmp_path / "certificate.pem")
    assert raised.value.hint == "an authority of your own is added by settings.pki"
    assert paused == []


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """It is trusted, and it is not this server's."""
    with (
        web(secure=tmp_path) as server,
        pytest.raises(RemoteError, match=r"its certificate is not trusted: .*localhost"),
    ):
        sending.attempt(
            f"https://localhost:{server.port}/", "/", authorities=tmp_path / "certificate.pem",
            environment={}, limit_s=LIMIT_S,
        )  # fmt: skip
    assert server.requests == []


def test_no_authorities_means_nobody_is_trusted(node: Node, tmp_path: Path) -> None:
    """A broken bundle does not turn the check off."""
    with web(secure=tmp_path) as server:
        node.wants(f"https://127.0.0.1:{server.port}/")
        with pytest.raises(RemoteError):
            node.sends()
        node.places.authorities.unlink()
        with pytest.raises(RemoteError, match="no authority can be read"):
            node.sends()

        assert server.requests == []


def test_https_goes_through_the_proxy_with_its_password(tmp_path: Path) -> None:
    """The proxy hears a name and a password; what is sent is for the server alone."""
    with web(secure=tmp_path) as server, web() as proxy:
        attempt(
            server, authorities=tmp_path / "certificate.pem",
            HTTPS_PROXY=f"http://me:geheim@127.0.0.1:{proxy.port}",
        )  # fmt: skip

        assert [line.rpartition(" ")[0] for line in proxy.requests] == [
            f"CONNECT 127.0.0.1:{server.port}"
        ]
        assert "Proxy-Authorization: Basic bWU6Z2VoZWlt" in proxy.heads[0]
        assert server.requests == ["GET /v1?event=boot_success HTTP/1.1"]
        assert "Proxy-Authorization" not in server.heads[0]


def test_what_is_listed_goes_past_the_proxy(tmp_path: Path) -> None:
    """`network.no-proxy`."""
    with web(secure=tmp_path) as server, web() as proxy:
        attempt(
            server, authorities=tmp_path / "certificate.pem", NO_PROXY="127.0.0.0/8",
            HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}",
        )  # fmt: skip

        assert proxy.requests == []


def test_a_proxy_that_is_away_does_not_make_it_go_past(tmp_path: Path) -> None:
    """And its password is in no message."""
    with (
        web(secure=tmp_path) as server,
        pytest.raises(RemoteError, match="cannot be reached") as raised,
    ):
        attempt(
            server, authorities=tmp_path / "certificate.pem",
            HTTPS_PROXY=f"http://me:geheim@127.0.0.1:{free_port()}",
        )  # fmt: skip

    assert server.requests == []
    assert "geheim" not in str(raised.value)


def test_a_server_that_is_away_is_tried_again_after_longer_and_longer_pauses() -> None:
    """Three times in all, each pause up to half as long again."""
    paused: list[float] = []
    url = f"http://127.0.0.1:{free_port()}/v1?key=geheim"

    with pytest.raises(RemoteError, match=r"cannot be reached: .*refused") as raised:
        sending.send(url, "/", authorities=Path(), environment={}, sleep=paused.append)

    assert len(paused) == 2
    assert 10 <= paused[0] <= 15
    assert 60 <= paused[1] <= 90
    assert "geheim" not in str(raised.value)


def test_a_server_that_comes_back_is_told() -> None:
    """At the second try."""
    with web() as server:
        server.answers += [status(503), OK]
        sending.send(
            f"http://127.0.0.1:{server.port}/", "/", authorities=Path(), environment={},
            sleep=lambda _: None,
        )  # fmt: skip

        assert len(server.requests) == 2


@pytest.mark.parametrize("code", [301, 404, 403])
def test_what_will_not_change_is_not_tried_again(code: int) -> None:
    """Nor is anybody else told: a redirect is not followed."""
    with web() as other, web(status(code, f"Location: http://127.0.0.1:{other.port}/")) as server:
        with pytest.raises(RemoteError, match=f"answered with status {code}"):
            sending.send(
                f"http://127.0.0.1:{server.port}/", "/", authorities=Path(), environment={},
                sleep=lambda _: None,
            )  # fmt: skip

        assert (len(server.requests), other.requests) == (1, [])


@pytest.mark.parametrize("secure", [False, True])
def test_a_server_that_dribbles_is_given_up(tmp_path: Path, *, secure: bool) -> None:
    """A byte now and then keeps a connection alive, but not beyond the limit."""
    directory = tmp_path if secure else None
    started = time.monotonic()
    with web(b"HTTP/1.1 200 " + b"-" * 1000, secure=directory, slow_s=0.05) as server:
        scheme = "https" if secure else "http"
        with pytest.raises(RemoteError, match=r"took longer than 0\.5 s"):
            sending.attempt(
                f"{scheme}://127.0.0.1:{server.port}/", "/", environment={}, limit_s=0.5,
                authorities=tmp_path / "certificate.pem",
            )  # fmt: skip

    assert time.monotonic() - started < 10


def test_a_server_that_says_nothing_is_given_up() -> None:
    """It takes the connection and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(RemoteError, match=r"cannot be reached: (timed out|took longer)"):
            sending.attempt(
                f"http://127.0.0.1:{port}/", "/", authorities=Path(), environment={}, limit_s=0.3
            )


@pytest.mark.parametrize(
    "answer", [b"\x00\xff\r\n\r\n", b"", b"HTTP/1.1 " + b"9" * 70000 + b"\r\n\r\n"]
)
def test_nonsense_is_no_answer(answer: bytes) -> None:
    """Whatever a server says, it is an error in words."""
    with web(answer) as server, pytest.raises(RemoteError, match="cannot be reached"):
        sending.attempt(
            f"http://127.0.0.1:{server.port}/", "/", authorities=Path(), environment={},
            limit_s=LIMIT_S,
        )  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"{}", b'{"url": 1}', b"\xff"])
def test_a_damaged_file_sends_nothing(node: Node, data: bytes) -> None:
    """It says so, in words."""
    node.places.metrics.write_bytes(data)

    with pytest.raises(HostError, match="cannot read what to send"):
        node.sends()
