"""What tests/boot/test_apply.py runs inside the machine, in the agents' tree. Prints JSON, a line for each thing.

set    tell the machine its settings through its API, unless it has some already
look   read what the machine is like
"""

from __future__ import annotations

import glob
import json
import socket
import sys
from pathlib import Path

HOST = Path("/run/host")  # the machine's /run
ETC = Path("/run/etc")


def call(method: str, path: str, body: object = None) -> tuple[int, str]:
    """Ask the machine's API."""
    data = json.dumps(body).encode() if body is not None else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(240)
        connection.connect(str(HOST / "api.sock"))
        connection.sendall(head.encode() + data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), rest.partition(b"\r\n\r\n")[2].decode()


def say(name: str, value: object) -> None:
    """Print one line."""
    print(json.dumps({"name": name, "value": value}), flush=True)


def read(path: str | Path) -> str:
    """Return a file's text, or why there is none."""
    try:
        return Path(path).read_text()
    except OSError as error:
        return f"({error.strerror})"


def change(settings: dict[str, object]) -> None:
    """Commit and apply settings."""
    link = next(Path(path).name for path in sorted(glob.glob("/sys/class/net/e*")))
    whole = json.loads(json.dumps(settings).replace("LINK", link))
    say("patch", call("PATCH", "/settings?tx=test", whole))
    say("plan", call("POST", "/bulkhead/v1/plan?tx=test"))
    say("commit", call("POST", "/bulkhead/v1/commit?tx=test&on-failure=keep", {"message": "test"}))


def look() -> None:
    """Say what the machine is like."""
    say("hostname", read("/proc/sys/kernel/hostname").strip())
    say("swappiness", read("/proc/sys/vm/swappiness").strip())
    say("lockdown", read("/run/security/lockdown").strip())
    say("modules", [line.split()[0] for line in read("/proc/modules").splitlines()])
    say("motd", read(ETC / "motd"))
    say("hosts", read(ETC / "hosts"))
    say("bundle", read(ETC / "ssl" / "certs" / "ca-certificates.crt")[-6000:])
    say("resolv.conf", read(HOST / "systemd" / "resolve" / "resolv.conf"))
    for pid in read("/sys/fs/cgroup/system.slice/containerd.service/cgroup.procs").split():
        if read(f"/proc/{pid}/comm") == "containerd\n":
            say("environment", read(f"/proc/{pid}/environ").split("\0"))
    hear()
    say("links", [Path(path).name for path in glob.glob("/sys/class/net/*")])


class Together(socket.socket):
    """Sends the end of the authentication with the first message, as a busy first process sees them."""

    sent = 0

    @classmethod
    def connected(cls, path: str, timeout: float) -> Together:
        """Stand in for jeepney's `prep_socket`, which sends the end by itself."""
        made = cls(socket.AF_UNIX)
        made.settimeout(timeout)
        made.connect(path)
        socket.socket.sendall(made, b"\0AUTH EXTERNAL 30\r\n")  # uid 0
        assert made.recv(1024).startswith(b"OK ")
        return made

    def sendall(self, data: bytes) -> None:  # type: ignore[override]
        """Send a message."""
        super().sendall(data if self.sent else b"BEGIN\r\n" + data)
        self.sent += 1


def hear() -> None:
    """Say how many messages it takes until the first process looks at the first, and that it does."""
    from bulkhead.host import systemd

    setattr(systemd, "prep_socket", Together.connected)  # noqa: B010  # the name is jeepney's
    with systemd.Systemd(HOST / "systemd" / "private") as connection:
        sent = getattr(connection._socket, "sent", 0)
        say("hears", [sent, connection.unit("containerd.service").active])


if __name__ == "__main__":
    if sys.argv[1] == "set":
        if json.loads(call("GET", "/bulkhead/v1/history")[1]):
            say("last", call("GET", "/bulkhead/v1/apply"))
        else:
            change(json.loads(sys.argv[2]))
    else:
        look()
