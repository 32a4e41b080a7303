"""The settings of the network: addresses, and interfaces that fit together."""

from __future__ import annotations

import pytest

from bulkhead.model.settings.groups import Groups, SettingsError
from bulkhead.model.settings.keys import Settings

GROUPS = Groups(["network", "dns", "ntp"])


def interfaces(**tables: object) -> Settings:
    """Return settings of some interfaces."""
    return {"network": {"interfaces": dict(tables)}}


def test_takes_what_bottlerocket_takes() -> None:
    """Names, hosts, proxy, name and time servers are in Bottlerocket's form."""
    settings: Settings = {
        "network": {
            "hostname": "node-1.example.com",
            "hosts": [["10.0.0.1", ["a.example.com", "a"]], ["2001:db8::1", ["b"]]],
            "https-proxy": "proxy.example.com:3128",
            "no-proxy": ["localhost", "127.0.0.1", ".example.com"],
        },
        "dns": {"name-servers": ["1.2.3.4", "2001:db8::53"], "search-list": ["example.com."]},
        "ntp": {"time-servers": ["169.254.169.123", "time.example.com"], "options": ["iburst"]},
    }

    assert GROUPS.check(settings, complete=True) == settings


def test_takes_every_kind_of_interface() -> None:
    """DHCP, fixed addresses with routes, by MAC address, a VLAN on a bond."""
    settings = interfaces(
        eth0={"dhcp4": True, "dhcp6": False, "required": False},
        lan={
            "mac-address": "52:54:00:12:34:56",
            "addresses": ["192.0.2.7/24", "2001:db8::7/64"],
            "gateways": ["192.0.2.1", "2001:db8::1"],
            "routes": [{"to": "10.0.0.0/8", "via": "192.0.2.2", "metric": 100}],
            "mtu": 9000,
            "name-servers": ["192.0.2.53"],
            "accept-ra": False,
        },
        bond0={"bond": {"mode": "802.3ad", "members": ["eth1", "eth2"], "min-links": 1}},
        storage={"vlan": {"id": 7, "link": "bond0"}, "addresses": ["198.51.100.7/24"]},
    )

    assert GROUPS.check(settings, complete=True) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (interfaces(a={"vlan": {"id": 1, "link": "b"}, "bond": {"members": ["c"]}}),
         "settings.network.interfaces.a.bond: an interface is a VLAN or a bond, not both"),
        (interfaces(a={"mac-address": "52:54:00:12:34:56", "bond": {"members": ["c"]}}),
         "settings.network.interfaces.a.mac-address: picks an existing interface, "
         "but a bond is made anew"),
        (interfaces(a={"gateways": ["192.0.2.1", "192.0.2.2"]}),
         "settings.network.interfaces.a.gateways: has two routers of the same version of IP\n"
         "  hint: write one of them as a route with a metric"),
        (interfaces(a={"dhcp6": True, "mtu": 1000}),
         "settings.network.interfaces.a.mtu: IPv6 needs at least 1280, got 1000"),
        (interfaces(a={"routes": [{"to": "::/0", "via": "192.0.2.1"}]}),
         "settings.network.interfaces.a.routes[0]: mixes IPv4 and IPv6 addresses"),
        (interfaces(a={"bond": {"members": ["c"]}}, b={"bond": {"members": ["c"]}}),
         "settings.network.interfaces.b.bond.members[0]: c is a member of a already"),
        (interfaces(a={"bond": {"members": ["c"]}}, c={"dhcp4": True}),
         "settings.network.interfaces.a.bond.members[0]: c has addresses of its own\n"
         "  hint: give them to a, and leave c without"),
        (interfaces(a={"vlan": {"id": 1, "link": "b"}}, b={"bond": {"members": ["a"]}}),
         "settings.network.interfaces.a: is carried by itself\n"
         "  hint: look at the links of VLANs and the members of bonds"),
    ],
)  # fmt: skip
def test_refuses_interfaces_that_do_not_fit_together(settings: Settings, message: str) -> None:
    """What would leave the node without a network is refused before it is tried."""
    with pytest.raises(SettingsError) as caught:
        GROUPS.check(settings, complete=True)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "name", ["lo", "all", "..", "a/b", "sixteen-letters-", "a b", "", "eth0\n"]
)
def test_refuses_names_that_no_interface_has(name: str) -> None:
    """A name becomes a file's name and a section's line, so it is a name and nothing more."""
    with pytest.raises(SettingsError, match="expected the name of a network interface"):
        GROUPS.check(interfaces(**{name: {"dhcp4": True}}))


@pytest.mark.parametrize(
    "address",
    ["192.0.2.7", "192.0.2.7/33", "192.0.2.7/255.255.255.0", "fe80::1%a\nb/64", "/24", "a/24",
     "192.0.2.7/24\n", "192.0.2.07/24", "192.0.2.7/-1", "192.0.2.7/٢٤"],
)  # fmt: skip
def test_refuses_what_is_no_address(address: str) -> None:
    """An address has one form, with a prefix length and without anything behind it."""
    with pytest.raises(SettingsError, match="expected an address with a prefix length"):
        GROUPS.check(interfaces(eth0={"addresses": [address]}))


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "a..b", ".a", "a.", "A", "a_b", "a\n", "a" * 64, "a." * 130 + "a"]
)
def test_refuses_what_is_no_host_name(name: str) -> None:
    """Labels have 1 to 63 letters, digits and dashes; all of it at most 253."""
    with pytest.raises(SettingsError, match="expected a host name"):
        GROUPS.check({"network": {"hostname": name}})


@pytest.mark.parametrize(
    "url", ["", "http://", "http://a b", "http://a\n", "http://[::1", "http://a:99999", "http://a\"b", "/a"]
)  # fmt: skip
def test_refuses_what_is_no_url(url: str) -> None:
    """A proxy is an absolute URL, perhaps without its scheme."""
    with pytest.raises(SettingsError, match="expected a URL"):
        GROUPS.check({"network": {"https-proxy": url}})
