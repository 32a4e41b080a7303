"""`/exec` in front of the real container service and a real containerd."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bulkhead.cli.containers import exec_command
from bulkhead.client.api import Api
from bulkhead.client.api_exec import ApiExec
from bulkhead.client.containers import read_file
from bulkhead.model.containers import RunRequest
from bulkhead.model.errors import RemoteError
from tests.support import containers as archives
from tests.support import exchange
from tests.support.containerd import Machine, machine
from tests.support.exec_service import api
from tests.support.websocket import BINARY, WebSocket

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def there() -> Iterator[Machine]:
    """Run a container in which commands can be run."""
    with (
        tempfile.TemporaryDirectory(prefix="bh-") as place,
        machine(Path(place), names=("box",)) as made,
    ):
        made.containers.import_archive(read_file(archives.busybox()))
        made.containers.run(RunRequest(image="bulkhead/busybox", name="box", userns="host"))
        with api(made.place / "api.sock", made.socket):
            assert run(made, "busybox", "--install", "-s", "/usr/bin") == (0, b"")
            yield made


def run(there: Machine, *command: str, target: str = "box") -> tuple[int, bytes]:
    """Run a command with the client of `bulkhead ctl exec`; return exit code and output."""
    written: list[bytes] = []
    connection = Api(there.place / "api.sock").connection
    code = ApiExec(connection, target, command, write=written.append).run()
    return code, b"".join(written)


@pytest.mark.parametrize("name", exchange.NAMES)
def test_speaks_bottlerockets_protocol(there: Machine, name: str) -> None:
    """The same exchanges as in front of plain processes."""
    came, due = exchange.replay(name, there.place / "api.sock")

    assert came == due


def test_runs_in_the_container(there: Machine) -> None:
    """It is another root, another set of processes, another host name."""
    code, output = run(there, "sh", "-c", "find /usr/bin -type f; cat /proc/1/comm; exit 3")

    assert (code, output) == (3, b"/usr/bin/busybox\nbusybox\n")


@pytest.mark.parametrize(
    ("target", "command", "words"),
    [
        ("bax", "id", "there is no container 'bax'; did you mean 'box'?"),
        ("box", "nonsense", "nonsense"),
    ],
)
def test_what_cannot_be_run_is_told(there: Machine, target: str, command: str, words: str) -> None:
    """In the words of the container service."""
    with pytest.raises(RemoteError) as caught:
        run(there, command, target=target)

    assert words in caught.value.what


@pytest.mark.parametrize("dashes", [[], ["--"]])
def test_the_container_services_own_exec_runs_too(
    there: Machine, monkeypatch: pytest.MonkeyPatch, dashes: list[str]
) -> None:
    """`bulkhead exec`, with and without `--` before the program."""
    monkeypatch.setenv("BULKHEAD_CONTAINERS", str(there.socket))
    argv = ["box", *dashes, "sh", "-c", "exit 9"]

    assert CliRunner().invoke(exec_command, argv, standalone_mode=False).return_value == 9


@pytest.mark.parametrize("stuck", [False, True])
def test_a_client_that_vanishes_takes_its_process_along(there: Machine, *, stuck: bool) -> None:
    """Also while the process takes no input, so that nobody reads from the client."""
    link = WebSocket(there.place / "api.sock", "/exec")
    link.text(
        '{"Initialize": {"command": [{"Unix": [115, 104]}, {"Unix": [45, 99]}, {"Unix": '
        f'{list(b"echo; exec sleep 4242")}}}], "target": "box", "tty": null}}}}'
    )
    while link.receive()[0] != BINARY:
        pass
    if stuck:
        link.link.settimeout(1)
        with pytest.raises(TimeoutError):
            flood(link)
    assert b"sleep 4242" in run(there, "ps", "-o", "args")[1]
    link.link.close()

    limit = time.monotonic() + 30
    while b"sleep 4242" in run(there, "ps", "-o", "args")[1]:
        assert time.monotonic() < limit
        time.sleep(0.2)
    assert list((there.place / "run" / "exec").iterdir()) == []


def flood(link: WebSocket) -> None:
    """Send input without end."""
    while True:
        link.binary(os.urandom(128 * 1024))
