"""Talks to the first process: jobs of units, how they ended, how units are.

Who acts on units does it over its own socket: at boot there is no bus yet, and
a broken one must not keep settings from taking effect. That socket is for
root. Who is not root asks over the bus, which lets everybody ask how a unit is
and nobody change one (org.freedesktop.systemd1.conf). The protocol is D-Bus
(org.freedesktop.systemd1(5)); jeepney encodes it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import jeepney
import msgspec
from jeepney.io.blocking import prep_socket

from bulkhead.model.errors import HostError

REPLY_S = 90.0
"""A call is answered at once, but not while systemd reads all units again."""
NUDGE_S = 0.2
"""How long the first answer is waited for before something more is sent; then twice as long, and so on."""
JOB_S = 180.0
"""Longer than any unit of the image may take to start."""

_UNIT = "org.freedesktop.systemd1.Unit"
_SERVICE = "org.freedesktop.systemd1.Service"
_MANAGER = jeepney.DBusAddress(
    "/org/freedesktop/systemd1",
    bus_name="org.freedesktop.systemd1",
    interface="org.freedesktop.systemd1.Manager",
)
_BUS = jeepney.DBusAddress(
    "/org/freedesktop/DBus", bus_name="org.freedesktop.DBus", interface="org.freedesktop.DBus"
)
_PEER = jeepney.DBusAddress(
    "/", bus_name="org.freedesktop.systemd1", interface="org.freedesktop.DBus.Peer"
)
_METHODS = {
    "restart": "RestartUnit",
    "try-restart": "TryRestartUnit",
    "reload-or-try-restart": "ReloadOrTryRestartUnit",
}
_UP = {"active", "reloading"}
_REASONS = {
    "timeout": "took longer than it may",
    "dependency": "something that it needs failed",
    "canceled": "another job took its place",
    "exit-code": "ended with an error",
    "signal": "was killed by a signal",
    "core-dump": "crashed",
    "watchdog": "stopped answering",
    "start-limit-hit": "started too often",
    "oom-kill": "ran out of memory",
    "resources": "lacks something of the system",
    "protocol": "did not report that it is ready",
}


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """How a unit is."""

    active: str
    """ActiveState: `active`, `inactive`, `failed`, …"""
    known: bool = True
    """It has a file."""
    condition: bool = True
    """Whether its conditions held the last time that it should start."""
    result: str = ""
    """Of a service's last run: `success`, `exit-code`, …"""
    status: int = 0
    """Its exit code, or the number of the signal."""
    text: str = ""
    """What it says about itself (`STATUS=`)."""


class _NotLoaded(HostError):
    """systemd has forgotten a unit that nothing refers to; its next job loads it again."""


class Systemd:
    """A connection to the first process; a context manager.

    Args:
        path: of its socket, or of the bus's.
        bus: it is the bus's.

    Raises:
        HostError: nobody answers there.
    """

    def __init__(self, path: Path, *, bus: bool = False) -> None:
        self._path = path
        try:
            self._socket = prep_socket(str(path), timeout=REPLY_S)
        except (OSError, jeepney.AuthenticationError) as error:
            raise HostError(f"cannot talk to systemd: {error}", where=str(path)) from error
        self._parser = jeepney.Parser()
        self._serial = 0
        self._ended: dict[str, str] = {}
        """Results of jobs by object path; some end before their path is known."""
        self._greet(bus=bus)

    def __enter__(self) -> Systemd:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _greet(self, *, bus: bool) -> None:
        """Say hello: to the bus for a name, without which it passes nothing on; to systemd until it hears.

        When systemd has much to do, it reads the first message together with the
        last word of the authentication. It stays in its buffer, and is looked at
        only when the socket has more. Without more systemd would never answer,
        although it is well.
        """
        try:
            if bus:
                self._exchange(jeepney.new_method_call(_BUS, "Hello"), timeout_s=REPLY_S)
            else:
                self._ping(time.monotonic() + REPLY_S)
        except HostError:
            self._socket.close()
            raise

    def _ping(self, deadline: float) -> None:
        ping = jeepney.new_method_call(_PEER, "Ping")
        first = self._send(ping, deadline)
        pause_s = NUDGE_S
        while self._answered(first, min(deadline, time.monotonic() + pause_s)) is None:
            if time.monotonic() >= deadline:
                raise self._silence()
            self._send(ping, deadline)
            pause_s *= 2

    def reload(self) -> None:
        """Read all unit files again.

        Raises:
            HostError: it is refused or takes too long.
        """
        self._call("Reload", "", (), timeout_s=JOB_S)

    def act(self, verb: str, unit: str) -> Unit:
        """Do something to a unit, wait until it is done, and return how the unit is then.

        Raises:
            HostError: the job failed, or the unit is not up although it should be; with the reason.
        """
        before = self.unit(unit)
        if before.known:
            # Starts that were asked for are not the failures that systemd counts (StartLimitBurst=).
            with suppress(_NotLoaded):
                self._call("ResetFailedUnit", "s", (unit,))
        job = self._call(_METHODS[verb], "ss", (unit, "replace"))[0]
        result = self._wait(str(job))
        after = self.unit(unit)
        if result in ("done", "skipped"):
            if after.active in _UP or (verb == "restart" and not after.condition):
                return after
            if verb != "restart" and before.active not in _UP:
                return after  # it was not running, which is nobody's fault
        raise HostError(_reason(result, after), hint=f"journalctl -u {unit}")

    def unit(self, name: str) -> Unit:
        """Return how a unit is.

        Raises:
            HostError: systemd does not answer.
        """
        path = str(self._call("LoadUnit", "s", (name,))[0])
        active = str(self._property(path, _UNIT, "ActiveState"))
        known = str(self._property(path, _UNIT, "LoadState")) != "not-found"
        condition = bool(self._property(path, _UNIT, "ConditionResult"))
        if not name.endswith(".service"):
            return Unit(active=active, known=known, condition=condition)
        return Unit(
            active=active,
            known=known,
            condition=condition,
            result=str(self._property(path, _SERVICE, "Result")),
            status=int(str(self._property(path, _SERVICE, "ExecMainStatus"))),
            text=str(self._property(path, _SERVICE, "StatusText")),
        )

    def _property(self, path: str, interface: str, name: str) -> object:
        address = jeepney.DBusAddress(
            path, bus_name="org.freedesktop.systemd1", interface="org.freedesktop.DBus.Properties"
        )
        body = self._exchange(
            jeepney.new_method_call(address, "Get", "ss", (interface, name)), timeout_s=REPLY_S
        )
        return body[0][1]  # type: ignore[index]  # a variant: its type and the value

    def _call(
        self, method: str, signature: str, body: tuple[str, ...], *, timeout_s: float = REPLY_S
    ) -> tuple[object, ...]:
        message = jeepney.new_method_call(_MANAGER, method, signature, body)
        return self._exchange(message, timeout_s=timeout_s)

    def _exchange(self, message: jeepney.Message, *, timeout_s: float) -> tuple[object, ...]:
        deadline = time.monotonic() + timeout_s
        answer = self._answered(self._send(message, deadline), deadline)
        if answer is None:
            raise self._silence()
        if answer.header.message_type is jeepney.MessageType.error:
            fields = answer.header.fields
            name = str(fields.get(jeepney.HeaderFields.error_name, "")).rpartition(".")[2]
            said = str(answer.body[0]) if answer.body else name
            raise _NotLoaded(said) if name == "NoSuchUnit" else HostError(said)
        return tuple(answer.body)

    def _silence(self, why: object = "it says nothing") -> HostError:
        return HostError(f"systemd does not answer: {why}", where=str(self._path))

    def _send(self, message: jeepney.Message, deadline: float) -> int:
        """Send a message; return its number."""
        self._serial += 1
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            self._socket.sendall(message.serialise(serial=self._serial))
        except OSError as error:
            raise self._silence(error) from error
        return self._serial

    def _answered(self, serial: int, deadline: float) -> jeepney.Message | None:
        """Wait for the answer to a message; None if the time is over."""
        try:
            while True:
                answer = self._receive(deadline)
                if answer.header.fields.get(jeepney.HeaderFields.reply_serial) == serial:
                    return answer
        except TimeoutError:
            return None
        except (OSError, ValueError) as error:
            raise self._silence(error) from error

    def _wait(self, job: str) -> str:
        deadline = time.monotonic() + JOB_S
        try:
            while job not in self._ended:
                self._receive(deadline)
        except TimeoutError:
            return "timeout"
        except (OSError, ValueError) as error:
            raise self._silence(error) from error
        return self._ended.pop(job)

    def _receive(self, deadline: float) -> jeepney.Message:
        """Return the next message; remember jobs that have ended."""
        while (message := self._parser.get_next_message()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionResetError("the connection was closed")
            self._parser.add_data(data)
        fields = message.header.fields
        if (
            message.header.message_type is jeepney.MessageType.signal
            and fields.get(jeepney.HeaderFields.member) == "JobRemoved"
        ):
            _, path, _, result = message.body
            self._ended[str(path)] = str(result)
        return message


def _reason(result: str, unit: Unit) -> str:
    """Say why a unit did not come back."""
    cause = unit.result if unit.result not in ("", "success") else result
    words = [_REASONS.get(cause, "is not running" if cause in ("done", "success") else cause)]
    if cause in ("exit-code", "signal") and unit.status:
        words.append(f"({unit.status})")
    said = f": {unit.text}" if unit.text else ""
    return " ".join(words) + said
