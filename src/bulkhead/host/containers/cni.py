"""Running CNI plug-ins (Container Network Interface, specification 1.0.0).

Only `bridge` with `host-local` addresses: port maps and masquerading are
rules of ours (`nft.py`), because the plug-ins for those need iptables.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import msgspec

from bulkhead.lib.run import run
from bulkhead.model.errors import HostError

BRIDGE = "bulkhead0"
INTERFACE = "eth0"
TIMEOUT_S = 30


class _Address(msgspec.Struct):
    address: str


class _Result(msgspec.Struct):
    ips: tuple[_Address, ...] = ()


class _Failure(msgspec.Struct):
    code: int = 0
    msg: str = ""
    details: str = ""


class Bridge(msgspec.Struct, frozen=True, kw_only=True):
    """The network that all containers share."""

    plugins: Path
    leases: Path
    """Where host-local keeps which address is whose; on tmpfs, so a reboot frees all."""
    subnet: str = "10.88.0.0/16"

    def attach(self, name: str, namespace: Path) -> str:
        """Give a namespace an interface and an address; return the address.

        Raises:
            HostError: the plug-in failed.
        """
        out = self._run("ADD", name, namespace)
        result = msgspec.json.decode(out, type=_Result)
        if not result.ips:
            raise HostError("the bridge plug-in gave no address", where=name)
        return str(ipaddress.ip_interface(result.ips[0].address).ip)

    def detach(self, name: str, namespace: Path | None) -> None:
        """Take interface and address back; they need not exist, nor the namespace.

        Raises:
            HostError: the plug-in failed.
        """
        self._run("DEL", name, namespace)

    def _config(self) -> bytes:
        return msgspec.json.encode(
            {
                "cniVersion": "1.0.0",
                "name": "bulkhead",
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": self.subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(self.leases),
                },
            }
        )

    def _run(self, action: str, name: str, namespace: Path | None) -> bytes:
        env = {
            "PATH": "/usr/sbin:/usr/bin",
            "CNI_COMMAND": action,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": os.fspath(namespace) if namespace else "",
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": os.fspath(self.plugins),
        }
        done = run(
            [os.fspath(self.plugins / "bridge")],
            input=self._config(), env=env, timeout_s=TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return done.stdout
        try:
            failure = msgspec.json.decode(done.stdout, type=_Failure)
        except msgspec.MsgspecError:
            failure = _Failure(msg=done.stderr.decode(errors="replace").strip())
        text = " ".join(part for part in (failure.msg, failure.details) if part)
        raise HostError(f"the bridge plug-in failed: {text}", where=name)
