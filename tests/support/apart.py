"""A stage for the programs that make sandboxes: mount and network namespaces of a test's own.

`stage` is what the machine is on a node. Each program that it starts has a mount namespace
below it from which no mount leads back, as systemd arranges it.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from bulkhead.host.containers import requests
from bulkhead.host.containers.requests import Action
from bulkhead.lib import sandbox_init as init

T = TypeVar("T")

_SLAVE, _SHARED = 1 << 19, 1 << 20


def stage(play: Callable[[], T]) -> T:
    """Call a function in a process with mount and network namespaces of its own; return what it does.

    Its exceptions are raised here, too.
    """
    if os.geteuid() != 0:
        pytest.fail("needs root: sandboxes are made of mounts and namespaces")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writer, "wb") as pipe:
            try:
                init.call("unshare", init.CLONE_NEWNS | init.CLONE_NEWNET)
                init.mount("none", "/", None, init.MS_REC | init.MS_PRIVATE)
                pickle.dump((True, play()), pipe)
            except BaseException as error:  # noqa: BLE001 - the other process raises it
                pickle.dump((False, repr(error)), pipe)
            pipe.flush()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        done, result = pickle.load(pipe)
    os.waitpid(pid, 0)
    if not done:
        pytest.fail(result)
    answer: T = result
    return answer


def share(directory: Path) -> None:
    """Make a file system whose mounts others can be told of, as those of a node are."""
    directory.mkdir(exist_ok=True)
    init.mount("share", str(directory), "tmpfs", 0)
    init.mount("none", str(directory), None, _SHARED)


@contextmanager
def program(path: Path, prepare: Callable[[int], Mapping[str, Action]]) -> Iterator[None]:
    """Run a program on the stage while the block lasts.

    Args:
        path: where it listens.
        prepare: called in its process, with a descriptor of the stage's mount namespace; returns
            what it does.
    """
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        pid = os.fork()
        if pid == 0:
            try:
                machine = os.open("/proc/self/ns/mnt", os.O_RDONLY)
                init.call("unshare", init.CLONE_NEWNS)
                init.mount("none", "/", None, init.MS_REC | _SLAVE)
                requests.serve(listener, prepare(machine), idle_s=60)
            finally:
                os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
