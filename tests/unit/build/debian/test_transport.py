"""How servers are talked to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build.debian.transport import Missing, Transport, Unreachable, bases
from bulkhead.model.errors import RemoteError, UserError
from tests.support.archive import serve


def test_answer_is_returned(tmp_path: Path) -> None:
    """The body arrives as it is."""
    (tmp_path / "a").write_bytes(b"body")
    with serve(tmp_path) as server:
        assert Transport().get(f"{server.url}/a", limit=4) == b"body"


def test_answer_longer_than_expected_is_refused(tmp_path: Path) -> None:
    """A server cannot fill memory."""
    (tmp_path / "a").write_bytes(b"body")
    with (
        serve(tmp_path) as server,
        pytest.raises(RemoteError, match="more than the expected 3 bytes"),
    ):
        Transport().get(f"{server.url}/a", limit=3)


def test_redirects_are_followed(tmp_path: Path) -> None:
    """Mirrors and the snapshot archive send to other addresses."""
    (tmp_path / "a").write_bytes(b"body")
    with serve(tmp_path) as server:
        server.redirects["/old"] = "/older"
        server.redirects["/older"] = f"{server.url}/a"
        server.redirects["/circle"] = "/circle"

        assert Transport().get(f"{server.url}/old", limit=4) == b"body"
        with pytest.raises(Unreachable, match="too many redirects"):
            Transport(tries=1).get(f"{server.url}/circle", limit=4)


def test_missing_file_is_not_tried_again(tmp_path: Path) -> None:
    """404 is an answer, not a failure."""
    with serve(tmp_path) as server:
        with pytest.raises(Missing, match="is not there"):
            Transport().get(f"{server.url}/a", limit=9)

        assert len(server.requests) == 1


@pytest.mark.slow
def test_failing_server_is_tried_again(tmp_path: Path) -> None:
    """Errors that may go away are tried some times."""
    (tmp_path / "a").write_bytes(b"body")
    with serve(tmp_path) as server:
        server.faults["/a"] = [("status", 502), ("cut", 2)]

        assert Transport().get(f"{server.url}/a", limit=9) == b"body"
        assert len(server.requests) == 3


def test_unreachable_host_is_named_and_not_tried_twice() -> None:
    """After a host could not be reached, everything else from it fails at once."""
    transport = Transport(tries=1)

    with pytest.raises(
        Unreachable, match=r"http://archive\.invalid/a: cannot be downloaded: Failed to resolve"
    ):
        transport.get("http://archive.invalid/a", limit=9)
    with pytest.raises(Unreachable, match=r"archive\.invalid/a"):
        transport.get("http://archive.invalid/b", limit=9)


@pytest.mark.parametrize("url", ["http://[", "https://[::1/a", "http://a]b/c"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """It is in a variant, a lock or a variable: the message says where to look."""
    with pytest.raises(UserError) as caught:
        Transport().get(url, limit=9)

    assert str(caught.value) == (
        f"{url}: is no web address: Invalid IPv6 URL\n  hint: look at the repository's location, "
        "the file's url, or BULKHEAD_MIRROR"
    )


def test_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http_proxy` and `no_proxy` count, as everywhere."""
    with serve(tmp_path) as server:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "direct.invalid")

        with pytest.raises(Missing):
            Transport(tries=1).get("http://archive.invalid/a", limit=9)
        with pytest.raises(Unreachable):
            Transport(tries=1).get("http://direct.invalid/a", limit=9)

        assert server.requests == [("http://archive.invalid/a", "")]


def test_roles_are_played_by_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role leads to the machine's mirrors, an address to itself, anything else nowhere."""
    monkeypatch.setenv("BULKHEAD_MIRROR", "http://mirror.example/debian/")

    assert bases("debian") == ["http://mirror.example/debian"]
    assert bases("https://other.example/apt/") == ["https://other.example/apt"]
    with pytest.raises(UserError, match="'ftp://x' is no location of a repository"):
        bases("ftp://x")
