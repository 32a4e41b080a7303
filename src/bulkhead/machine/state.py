"""Machines that `bulkhead up` keeps: one directory each, with all that is known about it."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bulkhead.lib import atomicfile, suggest
from bulkhead.lib.dirs import state_dir
from bulkhead.machine import process
from bulkhead.machine.process import Process
from bulkhead.machine.spec import MachineSpec
from bulkhead.model.channel import Channel
from bulkhead.model.containers import is_name
from bulkhead.model.errors import HostError, UserError

DEFAULT_NAME = "bulkhead"
CHANNEL_PORT = 7433
"""Where the container service listens in a machine that has a channel token."""
API_PORT = 7434
"""Where the node's API does."""
DEMO_PORT = 8080
"""Where the demo container does; the workstation's port is chosen when the machine starts."""
TOKEN_CREDENTIAL = "bulkhead.channel-token"  # noqa: S105  # its name, not its value
LOOPBACK = "127.0.0.1"

_RECORD = "machine.json"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one machine. Only its owner may read it: the token is in it."""

    spec: MachineSpec
    token: str
    process: Process | None = None
    """Of QEMU, from the start to the stop."""
    variant: str
    version: str
    root_hash: str
    image_sha256: str
    """Of the disk image that the overlay is on top of."""
    accelerator_reason: str
    started: float = 0.0
    """When QEMU was started, in seconds since 1970."""
    ready: dict[str, str] | None = None
    """What the guest said when it was ready; None until then."""
    ready_after_s: float | None = None
    slot: str | None = None
    demo: bool = False
    """The demo container runs."""

    def is_running(self) -> bool:
        """Tell whether QEMU runs."""
        return self.process is not None and process.is_alive(self.process)

    def channel(self, guest_port: int = CHANNEL_PORT) -> Channel:
        """Return how one of the machine's services is reached.

        Raises:
            UserError: its port is not forwarded, as in a machine of an older Bulkhead.
        """
        return Channel(host=LOOPBACK, port=self.host_port(guest_port), token=self.token)

    def host_port(self, guest_port: int) -> int:
        """Return the workstation's port that leads to a port of the guest.

        Raises:
            UserError: none does.
        """
        for forward in self.spec.forwards:
            if forward.guest_port == guest_port:
                return forward.host_port
        raise UserError(
            f"port {guest_port} of machine {self.spec.name!r} is not forwarded",
            hint="stop and start it again: bulkhead down, bulkhead up",
        )


def directory(name: str) -> Path:
    """Return where a machine's files are.

    Raises:
        UserError: it cannot be a machine's name. Not any directory may be one: `delete` removes it.
    """
    if not is_name(name):
        raise UserError(
            f"a machine cannot be named {name!r}",
            hint="use up to 63 small letters, digits, dots and dashes",
        )
    return state_dir() / "machines" / name


def names() -> list[str]:
    """Return the names of all machines, running or not."""
    return sorted(path.parent.name for path in (state_dir() / "machines").glob(f"*/{_RECORD}"))


def read(name: str) -> Record | None:
    """Return what is known about a machine, or None if there is none.

    A record of an older Bulkhead that cannot be read counts as none.
    """
    try:
        return decode((directory(name) / _RECORD).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(record: Record) -> None:
    """Remember a machine."""
    atomicfile.write(directory(record.spec.name) / _RECORD, encode(record), mode=0o600)


def encode(record: Record) -> bytes:
    """Return a record as JSON."""
    return msgspec.json.format(msgspec.json.encode(record, enc_hook=os.fspath), indent=2)


def decode(data: bytes) -> Record:
    """Read a record.

    Raises:
        msgspec.DecodeError: it is none.
    """

    def build(kind: type, value: object) -> object:
        return kind(value)

    return msgspec.json.decode(data, type=Record, dec_hook=build)


def delete(name: str) -> None:
    """Remove a machine's files."""
    shutil.rmtree(directory(name), ignore_errors=True)


def find(name: str | None = None) -> Record:
    """Return a running machine.

    Args:
        name: the machine's; by default the only one that runs, or `DEFAULT_NAME` among several.

    Raises:
        UserError: no such machine runs; says how to start one.
    """
    running = {n: record for n in names() if (record := read(n)) and record.is_running()}
    if name is None:
        name = next(iter(running)) if len(running) == 1 else DEFAULT_NAME
        if not running:
            raise UserError("no machine is running", hint="start one with: bulkhead up")
    if name not in running:
        hint = suggest.hint(name, running) or "start it with: bulkhead up"
        raise UserError(f"no machine {name!r} is running", hint=hint)
    return running[name]


def channel(name: str | None = None) -> Channel:
    """Return how a running machine's agent is reached; see `find`."""
    return find(name).channel()


@contextmanager
def exclusive(name: str, *, patience_s: float = 2.0) -> Iterator[Path]:
    """Keep others from starting or stopping a machine; yield its directory.

    Args:
        name: the machine's.
        patience_s: how long to wait for somebody else; what opens a port, say, is soon done.

    Raises:
        HostError: somebody else is at it.
    """
    place = directory(name)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Beside the directory and not in it: `down --delete` removes the directory.
    descriptor = os.open(
        place.parent / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        _lock(descriptor, patience_s)
        place.mkdir(exist_ok=True, mode=0o700)
        yield place
    except BlockingIOError as error:
        raise HostError(
            f"another command is starting or stopping machine {name!r}",
            hint="wait for it, or interrupt it with Ctrl-C",
        ) from error
    finally:
        os.close(descriptor)


def _lock(descriptor: int, patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
