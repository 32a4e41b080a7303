"""The image's packet rules, loaded by the image's own nft, between network namespaces.

A container sits behind the bridge that the containers' agent makes, and a
cloud on the other side of the node has every address that is tried.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

import pytest

from bulkhead.build import compare
from bulkhead.host.containers import kernel, netlink, nft
from bulkhead.host.containers.bridge import Bridge, Inside
from bulkhead.host.containers.netlink import NEW, UP, Netlink, attribute, number, text
from bulkhead.model.arch import AMD64
from tests.support import apart, images

pytestmark = pytest.mark.timeout(300)

T = TypeVar("T")

METADATA = (
    "169.254.169.254",  # AWS, Azure, Google Cloud and most others
    "169.254.170.2",  # credentials of an ECS task
    "168.63.129.16",  # Azure's wire server
    "100.100.100.200",  # Alibaba Cloud
    "192.0.0.192",  # Oracle Cloud
)
WORKSTATION, ANYBODY = "10.0.2.2", "198.51.100.7"
CONTAINER, NODE, CLOUD = "10.88.0.2", "10.9.0.1", "10.9.0.2"
DNS, HTTP = 53, 80
WAIT_S = 1.0


class Namespace:
    """A network namespace of this process's own."""

    def __init__(self) -> None:
        before = os.open("/proc/self/ns/net", os.O_RDONLY)
        kernel.unshare(kernel.NEW_NETWORK)
        self.descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
        kernel.enter(before, kernel.NEW_NETWORK)
        os.close(before)

    def within(self, work: Callable[[], T]) -> T:
        """Do something in it; sockets that are opened there stay of it."""
        before = os.open("/proc/self/ns/net", os.O_RDONLY)
        kernel.enter(self.descriptor, kernel.NEW_NETWORK)
        try:
            return work()
        finally:
            kernel.enter(before, kernel.NEW_NETWORK)
            os.close(before)


def give(where: Netlink, interface: str, addresses: Iterable[str], *, prefix: int) -> None:
    """Give an interface addresses, and switch it on."""
    index = where.index(interface)
    for each in addresses:
        packed = IPv4Address(each).packed
        local = (attribute(netlink.IFA_LOCAL, packed), attribute(netlink.IFA_ADDRESS, packed))
        where.do(netlink.ADDRESS, netlink.address(*local, index=index, prefix=prefix), flags=NEW)
    where.do(netlink.LINK, netlink.link(index=index, flags=UP))


def lead_to(where: Netlink, gateway: str, interface: str) -> None:
    """Make the way to everywhere."""
    route = netlink.default_route(
        attribute(netlink.RTA_GATEWAY, IPv4Address(gateway).packed),
        number(netlink.RTA_OIF, where.index(interface)),
    )
    where.do(netlink.ROUTE, route, flags=NEW)


def connect_cloud(cloud: Namespace, addresses: Collection[str]) -> None:
    """Put a cloud with these addresses at the node's other interface."""
    peer = netlink.link(
        text(netlink.IFLA_IFNAME, "eth0"), number(netlink.IFLA_NET_NS_FD, cloud.descriptor)
    )
    pair = attribute(
        netlink.IFLA_LINKINFO,
        text(netlink.IFLA_INFO_KIND, "veth"),
        attribute(netlink.IFLA_INFO_DATA, attribute(netlink.VETH_INFO_PEER, peer)),
    )
    with netlink.open_here() as here, cloud.within(netlink.open_here) as there:
        node = Netlink(here)
        node.do(netlink.LINK, netlink.link(text(netlink.IFLA_IFNAME, "out0"), pair), flags=NEW)
        give(node, "out0", [NODE], prefix=24)
        give(Netlink(there), "eth0", [CLOUD], prefix=24)
        give(Netlink(there), "lo", addresses, prefix=32)
        lead_to(node, CLOUD, "out0")
        lead_to(Netlink(there), NODE, "eth0")


def load_rules(root: Path) -> None:
    """Have the image's nft load the image's rules and those of the containers' agent."""
    libraries = root / "usr/lib" / AMD64.triplet
    loader = libraries / "ld-linux-x86-64.so.2"
    program = (str(loader), "--library-path", str(libraries), str(root / nft.NFT.lstrip("/")))
    rules = (root / "etc/nftables.conf").read_text()
    for commands in (rules, nft.ruleset(str(Bridge().subnet))):
        subprocess.run([*program, "-f", "-"], input=commands.encode(), check=True)


def listening(port: int) -> socket.socket:
    """Serve TCP; who connects is never answered."""
    return socket.create_server(("0.0.0.0", port), backlog=50)  # of a namespace of its own


def reached(addresses: Iterable[str], port: int) -> set[str]:
    """Return which addresses a connection is made to."""
    with ExitStack() as stack:
        tried = {}
        for each in addresses:
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex((each, port))
            tried[one] = each
        found = set()
        while ready := select.select([], [s for s in tried if tried[s] not in found], [], WAIT_S)[
            1
        ]:
            found |= {tried[one] for one in ready}
            assert not any(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for one in ready)
        return found


def asked(addresses: Iterable[str], server: socket.socket) -> int:
    """Return how many of the questions that are sent to name servers reach them."""
    questions = 0
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        for each in addresses:
            client.sendto(b"?", (each, DNS))
    while select.select([server], [], [], WAIT_S)[0]:
        server.recv(10)
        questions += 1
    return questions


def test_containers_reach_names_but_no_metadata(tmp_path: Path) -> None:
    """Nor the workstation that a machine of `bulkhead up` runs on; the node itself reaches it all."""
    image = images.build(tmp_path / "out")
    root = tmp_path / "root"
    compare.extract(image.path("root"), root, tools=images.image_tools())
    everywhere = (*METADATA, WORKSTATION, ANYBODY)

    def play() -> dict[str, object]:
        box, cloud = Namespace(), Namespace()
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        with box.within(netlink.open_here) as control:
            inside = Inside(namespace=box.descriptor, control=control)
            Bridge().attach("box", CONTAINER, inside)
        connect_cloud(cloud, everywhere)

        def udp() -> socket.socket:
            server = socket.socket(type=socket.SOCK_DGRAM)
            server.bind(("0.0.0.0", DNS))  # of a namespace of its own
            return server

        with (
            cloud.within(lambda: listening(HTTP)), cloud.within(lambda: listening(DNS)),
            cloud.within(udp) as names,
        ):  # fmt: skip
            before = box.within(lambda: reached(everywhere, HTTP))
            load_rules(root)
            return {
                "before": before,
                "container": box.within(lambda: reached(everywhere, HTTP)),
                "names": box.within(lambda: reached(everywhere, DNS)),
                "questions": box.within(lambda: asked(METADATA, names)),
                "node": reached(METADATA, HTTP),
            }

    assert apart.stage(play) == {
        "before": set(everywhere), "container": {ANYBODY}, "names": {*METADATA, ANYBODY},
        "questions": len(METADATA), "node": set(METADATA),
    }  # fmt: skip
    compare.make_removable(root)
