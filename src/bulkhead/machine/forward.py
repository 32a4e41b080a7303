"""Makes a port of a running machine answer on the workstation."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from bulkhead.machine import ports, qemu, qmp, state
from bulkhead.machine.spec import Forward
from bulkhead.model.errors import HostError

_FIRST_UNPRIVILEGED = 1024
_PATIENCE_S = 60.0
"""For another command that opens or closes ports: it asks the machine, which may have to wake up."""
_ALWAYS = {state.CHANNEL_PORT, state.API_PORT, state.DEMO_PORT}


def forward(name: str | None, guest_port: int) -> int:
    """Return the loopback port that leads to a TCP port of the machine; open it if needed.

    It is the same number as in the machine, where that is free.

    Args:
        name: the machine, see `state.find`.
        guest_port: the port in the machine.

    Raises:
        UserError: no such machine runs.
        HostError: QEMU refused.
    """
    with state.exclusive(state.find(name).spec.name, patience_s=_PATIENCE_S) as directory:
        record = state.find(name)
        for known in record.spec.forwards:
            if known.guest_port == guest_port:
                return known.host_port
        wish = guest_port if guest_port >= _FIRST_UNPRIVILEGED else 0
        made = ports.choose(
            [guest_port], remembered=[Forward(host_port=wish, guest_port=guest_port)]
        )[0]
        with qmp.connect(directory) as control:
            answer = control.monitor(
                f"hostfwd_add network tcp:{ports.LOOPBACK}:{made.host_port}"
                f"-{qemu.GUEST_ADDRESS}:{guest_port}"
            )
        if answer.strip():
            raise HostError(f"QEMU did not forward port {guest_port}: {answer.strip()}")
        spec = msgspec.structs.replace(record.spec, forwards=(*record.spec.forwards, made))
        state.write(msgspec.structs.replace(record, spec=spec))
        return made.host_port


def close_unused(name: str | None, used: Callable[[], Collection[int]]) -> None:
    """Close what `forward` has opened to ports of the machine that nobody uses any more.

    Args:
        name: the machine, see `state.find`.
        used: returns the ports that are used. It is asked while nobody else can open one.

    Raises:
        UserError: no such machine runs.
        HostError: another command is at work on the machine.
    """
    record = state.find(name)
    if all(known.guest_port in _ALWAYS for known in record.spec.forwards):
        return
    with state.exclusive(record.spec.name) as directory:
        record = state.find(name)
        wanted = {*used(), *_ALWAYS}
        gone = [known for known in record.spec.forwards if known.guest_port not in wanted]
        with qmp.connect(directory) as control:
            for known in gone:
                control.monitor(f"hostfwd_remove network tcp:{ports.LOOPBACK}:{known.host_port}")
                left = tuple(other for other in record.spec.forwards if other != known)
                spec = msgspec.structs.replace(record.spec, forwards=left)
                record = msgspec.structs.replace(record, spec=spec)
                state.write(record)
