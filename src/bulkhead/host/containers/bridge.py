"""The network that all containers share: a bridge, and a pair of interfaces for each container.

One end of a pair is `eth0` in the container's network namespace, the other one
a port of the bridge. Both are made from outside: this needs the right to
configure networks, but never to enter a namespace.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import zlib
from collections.abc import Collection

import msgspec

from bulkhead.host.containers import netlink
from bulkhead.host.containers.netlink import NEW, UP, Netlink, attribute, number, text
from bulkhead.model.errors import HostError

BRIDGE = "bulkhead0"
INTERFACE = "eth0"
_LOOPBACK = 1
_HAIRPIN = b"\1"


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """A container's network namespace, as this program is given it."""

    namespace: int
    """Its descriptor."""
    control: socket.socket
    """A netlink socket that was opened in it."""


class Bridge(msgspec.Struct, frozen=True, kw_only=True):
    """Connects network namespaces with the machine's."""

    subnet: ipaddress.IPv4Network = ipaddress.IPv4Network("10.88.0.0/16")

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        """Return the machine's own address there."""
        return self.subnet[1]

    def attach(self, name: str, address: str, inside: Inside) -> None:
        """Give a namespace an interface with an address, and the way out.

        Raises:
            HostError: the kernel refused. Something may be left.
        """
        try:
            with netlink.open_here() as socket_here:
                machine = Netlink(socket_here)
                self._connect(machine, port(name), inside.namespace)
            self._configure(Netlink(inside.control), ipaddress.IPv4Address(address))
        except OSError as error:
            raise HostError(f"cannot make its interface: {error.strerror}", where=name) from error

    def detach(self, name: str) -> None:
        """Take the interface back; it need not exist.

        Raises:
            HostError: the kernel refused.
        """
        try:
            with netlink.open_here() as socket_here:
                gone = netlink.link(text(netlink.IFLA_IFNAME, port(name)))
                Netlink(socket_here).do(netlink.DELETE_LINK, gone)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise HostError(
                    f"cannot remove its interface: {error.strerror}", where=name
                ) from error

    def _connect(self, machine: Netlink, port: str, namespace: int) -> None:
        bridge = self._bridge(machine)
        peer = netlink.link(
            text(netlink.IFLA_IFNAME, INTERFACE), number(netlink.IFLA_NET_NS_FD, namespace)
        )
        kind = attribute(
            netlink.IFLA_LINKINFO,
            text(netlink.IFLA_INFO_KIND, "veth"),
            attribute(netlink.IFLA_INFO_DATA, attribute(netlink.VETH_INFO_PEER, peer)),
        )
        pair = netlink.link(
            text(netlink.IFLA_IFNAME, port), number(netlink.IFLA_MASTER, bridge), kind, flags=UP
        )
        machine.do(netlink.LINK, pair, flags=NEW)
        # What a container sends to its own published port comes back by the port it came from.
        hairpin = attribute(
            netlink.IFLA_LINKINFO,
            text(netlink.IFLA_INFO_SLAVE_KIND, "bridge"),
            attribute(netlink.IFLA_INFO_SLAVE_DATA, attribute(netlink.IFLA_BRPORT_MODE, _HAIRPIN)),
        )
        machine.do(netlink.LINK, netlink.link(text(netlink.IFLA_IFNAME, port), hairpin))

    def _bridge(self, machine: Netlink) -> int:
        """Return the number of the bridge, which is made if there is none."""
        kind = attribute(netlink.IFLA_LINKINFO, text(netlink.IFLA_INFO_KIND, "bridge"))
        # Without an address of its own it would have that of one of its ports, and change it.
        own = attribute(netlink.IFLA_ADDRESS, _hardware_address())
        made = netlink.link(text(netlink.IFLA_IFNAME, BRIDGE), own, kind, flags=UP)
        _unless_there(machine, netlink.LINK, made)
        index = machine.index(BRIDGE)
        _unless_there(machine, netlink.ADDRESS, self._address(index, self.gateway))
        return index

    def _configure(self, container: Netlink, address: ipaddress.IPv4Address) -> None:
        container.do(netlink.LINK, netlink.link(index=_LOOPBACK, flags=UP))
        index = container.index(INTERFACE)
        container.do(netlink.ADDRESS, self._address(index, address), flags=NEW)
        container.do(netlink.LINK, netlink.link(index=index, flags=UP))
        out = netlink.default_route(
            attribute(netlink.RTA_GATEWAY, self.gateway.packed), number(netlink.RTA_OIF, index)
        )
        container.do(netlink.ROUTE, out, flags=NEW)

    def _address(self, index: int, address: ipaddress.IPv4Address) -> bytes:
        return netlink.address(
            attribute(netlink.IFA_LOCAL, address.packed),
            attribute(netlink.IFA_ADDRESS, address.packed),
            attribute(netlink.IFA_BROADCAST, self.subnet.broadcast_address.packed),
            index=index, prefix=self.subnet.prefixlen,
        )  # fmt: skip

    def choose(self, taken: Collection[str], *, last: str | None) -> str:
        """Return an address that is not in `taken`: the next one after `last`.

        The one that has just become free is the last to be given again, while
        neighbours still remember whose it was.

        Raises:
            HostError: all are taken.
        """
        first, end = int(self.gateway) + 1, int(self.subnet.broadcast_address)
        start = first
        if last is not None and first <= int(ipaddress.IPv4Address(last)) < end - 1:
            start = int(ipaddress.IPv4Address(last)) + 1
        for each in (*range(start, end), *range(first, start)):
            found = str(ipaddress.IPv4Address(each))
            if found not in taken:
                return found
        raise HostError("all addresses of containers are in use", hint="stop a container")


def port(name: str) -> str:
    """Return the name of the interface that leads to a container: 15 characters at most."""
    return f"veth{zlib.crc32(name.encode()):08x}"


def _hardware_address() -> bytes:
    """Make up an address of six bytes, marked as one that no manufacturer gave."""
    random = bytearray(os.urandom(6))
    random[0] = (random[0] & 0xFC) | 0x02
    return bytes(random)


def _unless_there(machine: Netlink, kind: int, body: bytes) -> None:
    try:
        machine.do(kind, body, flags=NEW)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
