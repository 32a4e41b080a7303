"""What holds for settings of any group: their normal form, errors, secrets, guesses."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.model.errors import UserError
from bulkhead.model.settings import keys
from bulkhead.model.settings.groups import GENERAL, HIDDEN, Groups, SettingsError, general
from bulkhead.model.settings.keys import Settings
from tests.support.settings import trees

ALL = Groups(GENERAL)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def error(settings: Settings, *, complete: bool = False) -> str:
    """Return what is said of wrong settings."""
    with pytest.raises(SettingsError) as caught:
        ALL.check(settings, complete=complete)
    return str(caught.value)


def checked(settings: Settings) -> Settings | None:
    """Return the normal form; None where values are right one by one but not together."""
    try:
        return ALL.check(settings)
    except SettingsError:
        return None


@given(trees(ALL))
def test_the_normal_form_is_its_own_normal_form(settings: Settings) -> None:
    """Checking twice changes nothing, and the form survives JSON."""
    normal = checked(settings)
    if normal is None:
        return

    assert ALL.check(normal) == normal
    assert msgspec.json.decode(msgspec.json.encode(normal)) == normal


@given(trees(ALL), trees(ALL))
def test_the_order_of_keys_says_nothing(one: Settings, other: Settings) -> None:
    """Two ways to write the same settings become the same bytes."""
    normal, again = checked(keys.merge(one, other)), checked(keys.merge(other, one))
    if normal is not None and normal == again:
        assert msgspec.json.encode(normal) == msgspec.json.encode(again)


@given(trees(ALL))
def test_what_is_shown_holds_no_secret(settings: Settings) -> None:
    """Redacting leaves every key where it is and no secret text anywhere."""
    shown = ALL.redact(settings)

    assert keys.flatten(shown).keys() == keys.flatten(settings).keys()
    assert ALL.secrets(shown) <= {HIDDEN}
    assert "geheim" not in msgspec.json.encode(shown).decode()


@given(st.dictionaries(st.sampled_from([*GENERAL, "other"]), ANYTHING, max_size=3))
def test_nothing_from_outside_does_more_than_be_refused(settings: Settings) -> None:
    """Whatever the data is, the answer is a normal form or one error about one setting."""
    normal = checked(settings)

    assert normal is None or ALL.check(normal) == normal
    assert ALL.redact(settings).keys() == settings.keys()
    assert isinstance(ALL.secrets(settings), set)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": {"interfaces": {"eth0": {"mtu": "big"}}}},
         'settings.network.interfaces.eth0.mtu: expected a whole number from 68 to 9216, got "big"'),
        ({"network": {"interfaces": {"eth0": {"mtu": 10**40}}}},
         "settings.network.interfaces.eth0.mtu: expected a whole number from 68 to 9216, "
         "got a number of more than 30 digits"),
        ({"network": {"interfaces": {"eth0": {"mtu": True}}}},
         "settings.network.interfaces.eth0.mtu: expected a whole number from 68 to 9216, got true"),
        ({"network": {"interfaces": {"eth0": {"mtu": 1500.5}}}},
         "settings.network.interfaces.eth0.mtu: expected a whole number from 68 to 9216, got 1500.5"),
        ({"network": {"hostnam": "a"}},
         "settings.network.hostnam: there is no such setting\n  hint: did you mean 'hostname'?"),
        ({"ntp": {"zzz": "a"}},
         "settings.ntp.zzz: there is no such setting\n  hint: known here: options, time-servers"),
        ({"netwrk": {}},
         "settings.netwrk: there is no such setting\n  hint: did you mean 'network'?"),
        ({"motd": None},
         "settings.motd: expected text, got null\n  hint: to take a value away, unset it"),
        ({"motd": ["a"]}, "settings.motd: expected text, got a list"),
        ({"dns": "1.1.1.1"}, 'settings.dns: expected a table, got "1.1.1.1"'),
        ({"dns": {"name-servers": ["1.1.1.1", "x" * 70]}},
         "settings.dns.name-servers[1]: expected an IPv4 or IPv6 address, got " + f'"{"x" * 59}…"'),
        ({"network": {"hosts": [["10.0.0.1", ["a"], 1]]}},
         "settings.network.hosts[0]: expected a list of an IPv4 or IPv6 address and a list, each "
         "item a host name of small letters, digits, dashes and dots, got a list of 3"),
        ({"kernel": {"sysctl": {"../x": "1"}}},
         'settings.kernel.sysctl: the name "../x" cannot be: expected the name of a kernel '
         "parameter, as in vm.swappiness"),
        ({"kernel": {"lockdown": "no"}},
         'settings.kernel.lockdown: expected "none", "integrity" or "confidentiality", got "no"'),
        ({"network": {"https-proxy": "http://u:geheim@ x"}},
         'settings.network.https-proxy: expected a URL, got "********@ x"'),
        ({"dns": {1: 2}}, "settings.dns: the name of a setting is text, not 1"),
        ({"network": {"interfaces": {"eth0": {"routes": [{}]}}}},
         "settings.network.interfaces.eth0.routes[0].to: is missing, and the rest means nothing "
         "without it"),
    ],
)  # fmt: skip
def test_an_error_says_where_and_what_was_expected(settings: Settings, message: str) -> None:
    """The key, what it takes, what it got and the nearest name; nothing else."""
    assert error(settings) == message


def test_a_group_that_the_variant_lacks_is_said_to_lack() -> None:
    """Settings of another variant are no misspelling."""
    with pytest.raises(SettingsError) as caught:
        Groups(["motd", "dns"]).check({"kernel": {}})

    assert str(caught.value) == (
        "settings.kernel: this variant has no such settings\n  hint: it has: dns, motd"
    )


def test_refuses_a_group_that_there_is_not() -> None:
    """A variant's list of groups is checked by name."""
    with pytest.raises(UserError, match="there is no group of settings 'netwrok'") as caught:
        Groups(["netwrok"])

    assert caught.value.hint == "did you mean 'network'?"


def test_what_a_table_needs_may_come_later_but_not_too_late() -> None:
    """One request may set a part; all that is set together has to mean something."""
    part: Settings = {"network": {"interfaces": {"v7": {"vlan": {"id": 7}}}}}

    assert ALL.check(part) == part
    assert error(part, complete=True) == (
        "settings.network.interfaces.v7.vlan.link: is missing, and the rest means nothing without it"
    )


def test_tables_without_values_vanish() -> None:
    """An empty table sets nothing."""
    assert ALL.check({"network": {"interfaces": {"eth0": {}}}, "motd": ""}) == {"motd": ""}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("motd", "1", "1"),
        ("motd", "true", "true"),
        ("network.interfaces.eth0.mtu", "1500", 1500),
        ("network.interfaces.eth0.mtu", "big", "big"),
        ("network.interfaces.eth0.dhcp4", "true", True),
        ("dns.name-servers", '["192.0.2.1"]', ["192.0.2.1"]),
        ("dns.name-servers", "[", "["),
        ('kernel.sysctl."vm.swappiness"', "10", "10"),
        ("unknown", "true", True),
        ("unknown", "17", 17),
        ("unknown", "18446744073709551615", 2**64 - 1),
        ("unknown", "18446744073709551616", 2.0**64),
        ("unknown", "-1", -1.0),
        ("unknown", "1_0", "1_0"),
        ("unknown", "inf", "inf"),
        ("unknown", " 1", " 1"),
        ("unknown", "1.5", 1.5),
        ("unknown", "text", "text"),
    ],
)
def test_guesses_what_a_text_means(key: str, text: str, value: object) -> None:
    """By the declared type where there is one, as Bottlerocket's server otherwise."""
    found = ALL.guess(keys.parse(key), text)

    assert found == value
    assert type(found) is type(value)


def test_what_is_unknown_is_secret() -> None:
    """A key of another version may hold anything, so it is not shown."""
    assert ALL.is_secret(("network", "password"))
    assert not ALL.is_secret(("network", "hostname"))
    assert ALL.redact({"other": {"a": 1}}) == {"other": HIDDEN}


def test_every_key_can_be_listed() -> None:
    """Completion and the reference see keys with a place for free names."""
    known = {keys.format(key) for key, _ in ALL.known()}

    assert {"settings.motd", 'settings.network.interfaces."<name>".bond.mode'} <= known


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:geheim@proxy.example.com:3128", f"http://{HIDDEN}@proxy.example.com:3128"),
        ("http://u:ge@heim@proxy.example.com", f"http://{HIDDEN}@proxy.example.com"),
        ("u:geheim@proxy.example.com:3128", f"{HIDDEN}@proxy.example.com:3128"),
        ("https://geheim@proxy.example.com/a@b", f"https://{HIDDEN}@proxy.example.com/a@b"),
        ("https://proxy.example.com/a@b", "https://proxy.example.com/a@b"),
        ("proxy.example.com:3128", "proxy.example.com:3128"),
    ],
)
def test_a_password_in_a_url_is_a_secret(url: str, shown: str) -> None:
    """A proxy's login is set as a part of its URL, wherever one may be set."""
    settings: Settings = {"network": {"https-proxy": url}}

    assert ALL.check(settings) == settings
    assert ALL.redact(settings) == {"network": {"https-proxy": shown}}
    found = ALL.secrets(settings)
    assert bool(found) == (shown != url)
    assert all(text not in shown for text in found)


@pytest.mark.parametrize(
    "url",
    ["http://u:ge/heim@proxy.example.com", "http://u:geheim@", "u:geheim@ x", "http:// u:geheim@x"],
)
def test_a_password_in_a_wrong_url_is_not_in_the_error(url: str) -> None:
    """An error is written to logs, also when a password is what made the URL wrong."""
    text = error({"network": {"https-proxy": url}})

    assert "expected a URL" in text
    assert "heim" not in text


def test_the_digest_of_an_image_is_no_password() -> None:
    """A name, a tag and a digest look like a user, a password and a host."""
    image = f"nginx:1.27@sha256:{'0' * 64}"
    settings: Settings = {"host-containers": {"web": {"source": image}}}

    assert ALL.check(settings) == settings
    assert ALL.redact(settings) == settings
    assert ALL.secrets(settings) == set()


def test_an_error_is_short_whatever_is_wrong() -> None:
    """A name of a million characters is neither repeated in the error nor compared with all others."""
    long = "x" * 1_000_000

    assert len(error({long: 1})) < 200
    assert len(error({"network": {long: 1}})) < 200
    assert len(error({"network": {"interfaces": {"eth0": {"mtu": long}}}})) < 200
    assert len(error({"kernel": {"sysctl": {long: "1"}}})) < 300


def test_a_group_of_ones_own_cannot_take_a_name_of_bulkheads() -> None:
    """Two groups of one name would hide each other's settings."""
    with pytest.raises(UserError, match="cannot be called 'motd'; the name is taken"):
        Groups([], own={"motd": lambda: general("dns")})
