"""Lets whoever asks a program to end have what a person at the keyboard has: it cleans up first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """Somebody sent a signal to this process; unlike Ctrl-C, not to those that it started too."""


@contextmanager
def as_interrupt() -> Iterator[None]:
    """Raise `Terminated` where SIGTERM or SIGHUP comes, unless this process was told to ignore it.

    nohup(1) tells it so. Only for the main thread, which alone can handle signals.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = {
        number: signal.signal(number, stop)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
