"""The client of `bulkhead exec`, against a service with processes of this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from bulkhead.client.connection import Connection
from bulkhead.client.exec import Attachment
from bulkhead.model.containers import ExecRequest
from bulkhead.model.errors import RemoteError
from tests.support.exec_service import node


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """Serve until the last test here is done."""
    directory = tmp_path_factory.mktemp("e")
    with node(directory):
        yield Connection(directory / "containers")


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("command", "factor"), [(("cat",), 1), (("od", "-An", "-v", "-tx1", "-w1"), 4)]
)
def test_carries_much_both_ways(there: Connection, command: tuple[str, ...], factor: int) -> None:
    """More output than input too: what cannot leave yet keeps nothing from coming."""
    amount, came = 6_000_000, 0

    def write(stream: int, data: bytes) -> None:
        nonlocal came
        came += len(data)

    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(amount))
        file.seek(0)
        request = ExecRequest(command=command, stdin=True)
        code = Attachment(there, "box", request, write=write, stdin=file.fileno()).run()

    assert (code, came) == (0, amount * factor)


def test_a_message_that_is_none_is_told(there: Connection) -> None:
    """What the machine says may be anything, as when it has another version."""
    attachment = Attachment(there, "box", ExecRequest(command=("true",)), write=lambda *_: None)

    for text in ("nothing", '{"exit_code": "0"}', "[" * 100_000):
        with pytest.raises(RemoteError, match=r"exec: the machine's answer cannot be read: "):
            attachment._control(text)
