"""Interfaces, addresses and routes: as much of rtnetlink(7) as containers need.

The kernel judges by who opened a socket as well as by who uses it, and it acts
in the network namespace that the socket was opened in. So a program that has
been given a socket of a container's network can set that network up without
ever entering it.
"""

from __future__ import annotations

import os
import socket
import struct

import msgspec

LINK, DELETE_LINK, GET_LINK, ADDRESS, ROUTE = 16, 17, 18, 20, 24
NEW = 0x400 | 0x200  # NLM_F_CREATE, NLM_F_EXCL
UP = 1  # IFF_UP

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER, IFLA_BRPORT_MODE = 1, 4
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
RTA_OIF, RTA_GATEWAY = 4, 5

_REQUEST, _ACK = 1, 4
_ERROR = 2
_HEADER, _RESULT = struct.Struct("=IHHII"), struct.Struct("=i")
_LINK_HEADER = struct.Struct("=BxHiII")
_MOST = 1 << 16
_NETLINK_ROUTE = 0
_MAIN_TABLE, _BOOT, _UNIVERSE, _UNICAST = 254, 3, 0, 1


def open_here() -> socket.socket:
    """Open a socket for the network namespace of this process."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)


def attribute(kind: int, *values: bytes) -> bytes:
    """Encode an attribute; several values are attributes inside it."""
    value = b"".join(values)
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def text(kind: int, value: str) -> bytes:
    """Encode an attribute that is a string."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Encode an attribute that is a number of 32 bits."""
    return attribute(kind, struct.pack("=I", value))


def link(*attributes: bytes, index: int = 0, flags: int = 0) -> bytes:
    """Encode the body of a message about an interface; `flags` are switched on."""
    header = _LINK_HEADER.pack(socket.AF_UNSPEC, 0, index, flags, flags)
    return header + b"".join(attributes)


def address(*attributes: bytes, index: int, prefix: int) -> bytes:
    """Encode the body of a message about an IPv4 address of an interface."""
    header = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, _UNIVERSE, index)
    return header + b"".join(attributes)


def default_route(*attributes: bytes) -> bytes:
    """Encode the body of a message about the IPv4 route to everywhere."""
    header = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, 0, 0, 0, _MAIN_TABLE, _BOOT, _UNIVERSE, _UNICAST, 0
    )
    return header + b"".join(attributes)


class Netlink(msgspec.Struct, frozen=True):
    """One network namespace, reached by a socket that was opened in it."""

    connection: socket.socket

    def do(self, kind: int, body: bytes, *, flags: int = 0) -> bytes:
        """Send one message and wait for the kernel's word; return what it told, if it did.

        Raises:
            OSError: it refused.
        """
        length = _HEADER.size + len(body)
        self.connection.sendall(_HEADER.pack(length, kind, _REQUEST | _ACK | flags, 0, 0) + body)
        told = b""
        while True:
            data = self.connection.recv(_MOST)
            while data:
                size, answer, *_ = _HEADER.unpack_from(data)
                body = data[_HEADER.size : size]
                if answer == _ERROR:
                    (result,) = _RESULT.unpack_from(body)
                    if result:
                        raise OSError(-result, f"netlink: {os.strerror(-result)}")
                    return told
                told = body
                data = data[(size + 3) & ~3 :]

    def index(self, name: str) -> int:
        """Return the number of an interface.

        Raises:
            OSError: there is none of that name.
        """
        found = self.do(GET_LINK, link(text(IFLA_IFNAME, name)))
        index: int = _LINK_HEADER.unpack_from(found)[2]
        return index
