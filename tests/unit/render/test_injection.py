"""No value of a setting can become a line, a section or a key of a file.

Whoever may set one setting must not get the rest of the file with it. The
attack is tried with every text that settings have, and with more than the
models would let through: a renderer refuses, or the file keeps its form.
"""

from __future__ import annotations

import json
import re
import tomllib
from itertools import chain

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bulkhead.model.errors import BulkheadError
from bulkhead.render.service import File
from bulkhead.render.services import SERVICES, render

HARMLESS = "harmless"
MIRRORED: dict[str, object] = {
    "container-registry": {"mirrors": [{"registry": "HOLE", "endpoint": ["https://a"]}]}
}

# All places where a text of settings goes, with the hole that is filled.
TREES: tuple[dict[str, object], ...] = (
    {"network": {"hostname": "HOLE"}},
    {"network": {"hosts": [["HOLE", ["name"]]]}},
    {"network": {"hosts": [["192.0.2.1", ["HOLE"]]]}},
    {"network": {"https-proxy": "HOLE", "no-proxy": ["b"]}},
    {"network": {"https-proxy": "http://proxy", "no-proxy": ["HOLE"]}},
    {"dns": {"name-servers": ["HOLE"]}},
    {"dns": {"search-list": ["HOLE"]}},
    {"ntp": {"time-servers": ["HOLE"]}},
    {"kernel": {"sysctl": {"HOLE": "1"}}},
    {"kernel": {"sysctl": {"vm.swappiness": "HOLE"}}},
    {"kernel": {"modules": {"HOLE": {"allowed": False}}}},
    {"kernel": {"modules": {"HOLE": {"autoload": True}}}},
    {"kernel": {"lockdown": "HOLE"}},
    {"network": {"interfaces": {"HOLE": {"dhcp4": True}}}},
    {"network": {"interfaces": {"eth0": {"addresses": ["HOLE"]}}}},
    {"network": {"interfaces": {"eth0": {"gateways": ["HOLE"], "name-servers": ["HOLE"]}}}},
    {"network": {"interfaces": {"eth0": {"mac-address": "HOLE"}}}},
    {"network": {"interfaces": {"eth0": {"routes": [{"to": "HOLE", "via": "HOLE"}]}}}},
    {"network": {"interfaces": {"eth0": {"vlan": {"id": 5, "link": "HOLE"}}}}},
    {"network": {"interfaces": {"eth0": {"bond": {"members": ["HOLE"]}}}}},
    MIRRORED,
    {"container-registry": {"mirrors": [{"registry": "a", "endpoint": ["HOLE"]}]}},
    {"container-registry": {"credentials": [{"registry": "a", "username": "HOLE"}]}},
    {"container-registry": {"credentials": [{"registry": "HOLE", "password": "HOLE"}]}},
    {"firewall": {"inbound": {"HOLE": {"protocol": "tcp", "ports": [1]}}}},
    {"firewall": {"inbound": {"a": {"protocol": "tcp", "ports": ["HOLE"]}}}},
    {"firewall": {"inbound": {"a": {"protocol": "tcp", "ports": [1], "from": ["HOLE"]}}}},
    {"metrics": {"send-metrics": True, "metrics-url": "HOLE"}},
    {"metrics": {"send-metrics": True, "metrics-url": "https://a", "service-checks": ["HOLE"]}},
    {"boot": {"kernel-parameters": {"HOLE": ["1"]}}},
    {"boot": {"init-parameters": {"name": ["HOLE"]}}},
    {"kernel": {"hugepages": {"static": {"2Mi": {"count": "HOLE"}}}}},
    {"kernel": {"hugepages": {"transparent": {"enabled": "HOLE"}}}},
    {"oci-defaults": {"capabilities": {"HOLE": True}}},
    {"oci-defaults": {"resource-limits": {"HOLE": {"soft-limit": 1, "hard-limit": 1}}}},
)

ATTACKS = st.one_of(
    st.text(min_size=1, max_size=40),
    st.builds(
        lambda before, end, after: before + end + after,
        st.sampled_from(["", "a", "10.0.0.1", "a b"]),
        st.sampled_from(
            ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\\", "\\\n",
             '"', "'", '"\n', "'\n", "#", ";", "\0", "$(", "`", "%", "\ud800", "/../", "=", "[", "*"]
        ),
        st.sampled_from(["", "[Service]\nExecStart=/x", "kernel.modprobe = /x", "b", "\\"]),
    ),
)  # fmt: skip


def filled(tree: object, value: str) -> object:
    """Put a value into the holes of a tree."""
    if isinstance(tree, dict):
        return {k.replace("HOLE", value): filled(v, value) for k, v in tree.items()}
    if isinstance(tree, list):
        return [filled(item, value) for item in tree]
    return tree.replace("HOLE", value) if isinstance(tree, str) else tree


def form(file: File) -> list[str]:
    """Return what a file consists of, without its values."""
    text = file.data.decode()
    if file.path.endswith(".json"):
        return sorted(json.loads(text))
    if file.path.endswith(".toml"):
        return sorted(tomllib.loads(text))
    # The program that reads it may split lines at anything that is called a line end.
    lines = text.splitlines()
    if "sysctl.d" not in file.path:  # which joins no lines
        assert all(not line.endswith("\\") for line in lines), text
    if file.path.endswith(".env"):
        assert all(re.fullmatch(r'#.*|\w+="(?:[^"\\`$]|\\["\\`$])*"', line) for line in lines)
    if "sysctl.d" in file.path:
        return [str(len(line.split(" = ", 1))) for line in lines]
    if file.path.endswith(("conf", ".network", ".netdev")):
        return [line.partition("=")[0] if "=" in line else str(len(line.split())) for line in lines]
    if file.path.endswith(".env"):
        return [line.partition("=")[0] for line in lines]
    return [str(len(re.split(r"\s+", line))) for line in lines if not line.startswith("#")]


def shape(tree: dict[str, object], value: str) -> dict[str, list[str]]:
    """Return the files of a filled tree by name and their forms."""
    whole = filled(tree, value)
    assert isinstance(whole, dict)
    return {file.path: form(file) for file in render(whole)}


@pytest.mark.parametrize("tree", TREES, ids=str)
@settings(max_examples=60, deadline=None)
@given(value=ATTACKS)
@example(value="x\n[Match]\nName=*")
@example(value="../../../etc/shadow")
@example(value="*")
@example(value="1\nkernel.core_pattern = |/x")
def test_a_value_stays_a_value(tree: dict[str, object], value: str) -> None:
    """Whatever is set, the same files with the same lines come out, or an error."""
    try:
        found = shape(tree, value)
    except BulkheadError:
        return
    usual = shape_of_harmless(tree)
    if tree == MIRRORED and value == "*":  # all registries, which have no one server
        usual = {path: [key for key in form if key != "server"] for path, form in usual.items()}

    assert sorted(map(len, found.values())) == sorted(map(len, usual.values()))
    assert sorted(chain(*found.values())) == sorted(chain(*usual.values()))
    for path in found:
        assert re.fullmatch(
            r"/etc/(?:[\[A-Za-z0-9_:-][\[\]A-Za-z0-9_.:-]*/)*[A-Za-z0-9_.:-]+", path
        ), path


def shape_of_harmless(tree: dict[str, object]) -> dict[str, list[str]]:
    """Return the same for a value that nobody could object to, in the tree's own terms."""
    for value in (HARMLESS, "1", "integrity", "net-raw", "max-open-files", "192.0.2.1"):
        try:
            return shape(tree, value)
        except BulkheadError:
            continue
    return {}


def test_every_file_has_a_form_that_is_looked_at() -> None:
    """The trees above reach every service that takes a text."""
    reached = {
        service.name
        for service in SERVICES
        for tree in TREES
        for value in (HARMLESS, "1", "integrity")
        if _differs(service.name, tree, value)
    }

    assert {service.name for service in SERVICES} - reached == {
        "motd", "pki", "container-runtime",
    }  # fmt: skip


def _differs(name: str, tree: dict[str, object], value: str) -> bool:
    service = next(s for s in SERVICES if s.name == name)
    whole = filled(tree, value)
    assert isinstance(whole, dict)
    try:
        return service.render(whole) != service.render({})
    except BulkheadError:
        return False


def test_a_message_of_the_day_may_have_lines() -> None:
    """It is a text for people; nothing reads it but they."""
    assert render({"motd": "a\nb"}, [SERVICES[0]])[0].data == b"a\nb\n"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"network": {"hostname": "a b"}}, "settings.network.hostname: expected one word, got 'a b'"),
        (
            {"kernel": {"sysctl": {"vm.swappiness": "1\n2"}}},
            'settings.kernel.sysctl."vm.swappiness": has the character U+000A, '
            "which cannot be in one line",
        ),
        (
            {"kernel": {"sysctl": {"-x": "1"}}},
            "settings.kernel.sysctl.'-x': is no kernel parameter",
        ),
        (
            {"boot": {"kernel-parameters": {"a": ["x roothash=1"]}}},
            "settings.boot.kernel-parameters.'a': cannot be set on a node: its value has 'roothash' as a "
            "word of its own, and it decides which system starts, and that is for the image alone",
        ),
        (
            {"kernel": {"hugepages": {"static": {"2Mi": {"count": "1:"}}}}},
            "settings.kernel.hugepages.static.2Mi.count: expected a number of pages, got '1:'",
        ),
        (
            {"pki": {"x": {"data": "AAAA", "trusted": True}}},
            "settings.pki.x.data: has no certificate in it",
        ),
        (
            {"container-registry": {"mirrors": [{"registry": "../x", "endpoint": ["https://a"]}]}},
            "settings.container-registry.mirrors: '../x' is no name of a registry",
        ),
        (
            {"oci-defaults": {"resource-limits": {"max-open-files": {"soft-limit": "many"}}}},
            "settings.oci-defaults.resource-limits.max-open-files: "
            "'many' is neither a number nor unlimited",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_the_error_names_the_setting(tree: dict[str, object], message: str) -> None:
    """People find what they have to change."""
    with pytest.raises(BulkheadError) as raised:
        render(tree)

    assert str(raised.value) == message
