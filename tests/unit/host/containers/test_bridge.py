"""The network of containers: addresses, names of interfaces, messages to the kernel."""

from __future__ import annotations

import errno
import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.host.containers import netlink
from bulkhead.host.containers.bridge import Bridge, port
from bulkhead.host.containers.netlink import Netlink
from bulkhead.model.errors import HostError

SMALL = Bridge(subnet=ipaddress.IPv4Network("10.0.0.0/29"))
USABLE = [f"10.0.0.{number}" for number in range(2, 7)]


@given(
    st.sets(st.sampled_from(USABLE), max_size=len(USABLE) - 1),
    st.none() | st.sampled_from(USABLE),
)
def test_an_address_is_free_and_the_next_one(taken: set[str], last: str | None) -> None:
    """Never the machine's, the network's or everybody's; the one after the last, if it is free."""
    chosen = SMALL.choose(taken, last=last)

    start = USABLE.index(last) + 1 if last else 0
    order = USABLE[start:] + USABLE[:start]
    assert chosen == next(address for address in order if address not in taken)


def test_addresses_end() -> None:
    """A container more than there are addresses is told so; a memory of another subnet is none."""
    with pytest.raises(HostError, match="all addresses of containers are in use"):
        SMALL.choose(USABLE, last=None)
    assert SMALL.choose((), last="192.0.2.1") == USABLE[0]


def test_interfaces_have_names_that_linux_takes() -> None:
    """At most 15 characters, for any name of a container, and the same one each time."""
    long = "x" * 64

    assert (len(port(long)), port(long), port("web") == port("api")) == (12, port(long), False)


def test_attributes_are_padded_and_nested() -> None:
    """The length is without the padding (netlink(7))."""
    inner = netlink.text(netlink.IFLA_IFNAME, "a")

    assert inner == b"\x06\x00\x03\x00a\x00\x00\x00"
    assert netlink.attribute(1, inner) == b"\x0c\x00\x01\x00" + inner


def test_the_kernel_answers() -> None:
    """The loopback is number 1 everywhere; what is not there is an error with its number."""
    with netlink.open_here() as here:
        assert Netlink(here).index("lo") == socket.if_nametoindex("lo") == 1
        with pytest.raises(OSError, match="netlink: No such device") as caught:
            Netlink(here).index("none")

    assert caught.value.errno == errno.ENODEV
