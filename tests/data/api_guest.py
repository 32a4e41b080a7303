"""What tests/boot/test_api.py runs inside the machine, in the agents' tree, as several users.

connect   try the API's socket, and that of the apply agent and of the restart; print what came of it
"""

import json
import os
import socket
import stat
import sys

HOST = "/run/host"  # the machine's /run


def outcome(path: str) -> str:
    """Connect and say what happened."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            return type(error).__name__
        if not path.endswith("api.sock"):
            return "connected"
        connection.sendall(b"GET /os HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return connection.recv(65536).split(b"\r\n")[0].decode()


def main() -> None:
    """Print one line of JSON."""
    # Not the restart as root: it would work.
    paths = [
        "api.sock",
        "bulkhead-apply/apply.sock",
        *(["bulkhead-reboot/reboot.sock"] if os.getuid() else []),
    ]
    api = os.stat(f"{HOST}/api.sock")
    print(json.dumps({
        "who": sys.argv[1],
        "mode": f"{stat.S_IMODE(api.st_mode):o} {api.st_uid}:{api.st_gid}",
        **{path: outcome(f"{HOST}/{path}") for path in paths},
    }), flush=True)  # fmt: skip


main()
