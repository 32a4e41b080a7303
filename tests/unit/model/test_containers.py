"""The values that people write for containers."""

from __future__ import annotations

import msgspec
import pytest

from bulkhead.model import containers as model
from bulkhead.model.errors import UserError


def test_reads_ports() -> None:
    """Address and protocol are optional."""
    assert model.parse_port("8080:80") == model.Port(host=8080, container=80)
    assert model.parse_port("127.0.0.1:53:5353/udp") == model.Port(
        host=53, container=5353, protocol="udp", address="127.0.0.1"
    )


@pytest.mark.parametrize(
    "text",
    ["80", "x:y", "0:1", "1:70000", "1:2/sctp", "300.0.0.1:1:2", "1.2.3:1:2", "[::1]:1:2", "", ":",
     "1:2; flush ruleset", "127.0.0.1\n:1:2"],
)  # fmt: skip
def test_refuses_other_ports(text: str) -> None:
    """What becomes part of a packet rule is a number, a protocol and an IPv4 address."""
    with pytest.raises(UserError, match="a port mapping cannot be"):
        model.parse_port(text)


def test_reads_volumes_sizes_and_restart_policies() -> None:
    """The short forms that Docker made familiar."""
    assert model.parse_volume("data:/var/lib/x:ro") == model.Volume(
        source="data", target="/var/lib/x", read_only=True
    )
    assert model.parse_volume("data:/x") == model.Volume(source="data", target="/x")
    assert [model.parse_size(t) for t in ("512m", "2g", "1.5k", "100", "1GiB")] == [
        512 * 1024**2, 2 * 1024**3, 1536, 100, 1024**3,
    ]  # fmt: skip
    assert model.parse_size(f"{'0' * 40}512.{'0' * 40}m") == 512 * 1024**2
    for text in ("9" * 400, "1" * 19 + "k"):
        with pytest.raises(UserError, match="a size cannot be"):
            model.parse_size(text)
    for text in ("999999999999999999", "99999999999g"):
        with pytest.raises(UserError, match="is more than any machine has"):
            model.request(image="x", limits={"memory": model.parse_size(text)})
    for processes in (5_000_000, 10**20):
        with pytest.raises(UserError, match=r"a kernel has|the container cannot be like that"):
            model.request(image="x", limits={"processes": processes})
    stored = {"image": "x", "limits": {"memory": 1 << 60}}
    assert msgspec.convert(stored, model.RunRequest).limits.memory == 1 << 60
    assert model.parse_restart("on-failure:3") == model.Restart(policy="on-failure", attempts=3)
    assert model.parse_restart("always") == model.Restart(policy="always")


@pytest.mark.parametrize("text", ["", "a", "a:", ":b", "a:/b:rx", "a:/b:ro:x"])
def test_refuses_other_volumes(text: str) -> None:
    """A volume has a source and a target."""
    with pytest.raises(UserError, match="a volume cannot be"):
        model.parse_volume(text)


@pytest.mark.parametrize("text", ["sometimes", "always:3", "on-failure:x", "on-failure:-1", ""])
def test_refuses_other_restart_policies(text: str) -> None:
    """Only on-failure counts, and only up."""
    with pytest.raises(UserError, match="a restart policy cannot be"):
        model.parse_restart(text)


@pytest.mark.parametrize("name", ["Web", "-a", "a/b", "..", ".", "a" * 64, "a\n", ""])
def test_a_name_is_harmless_as_a_path(name: str) -> None:
    """Names become files, hosts and cgroups; whoever asks without our client is refused too."""
    with pytest.raises(UserError, match="a container cannot be named"):
        model.request(image="x", name=name)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"image": "x", "name": name}, model.RunRequest)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("limits", {"cpus": 0.009}, ">= 0.01"),
        ("limits", {"cpus": float("nan")}, ">= 0.01"),
        ("limits", {"cpus": float("inf")}, "<= 4096"),
        ("hostname", "web\n192.0.2.1 bank", r"hostname: .* got 'web\\n192.0.2.1 bank'"),
        ("hostname", "web\n", "hostname: expected up to 64 letters"),
        ("hostname", "", "hostname"),
        ("hostname", "-web", "hostname"),
        ("hostname", "a" * 64, "hostname"),
        ("hostname", "a." * 32 + "a", "hostname"),
        ("dns", ["192.0.2.1", "example.com"], "dns: .* got 'example.com'"),
        ("dns", ["192.0.2.1\nsearch evil"], "dns: expected an IPv4 or IPv6 address"),
        ("dns", ["fe80::1%a\noptions x"], "dns"),
        ("dns", [""], "dns"),
    ],
)
def test_what_gets_into_a_containers_files_is_checked(
    field: str, value: object, words: str
) -> None:
    """A host's name or a server's address cannot bring a line of its own."""
    with pytest.raises(UserError, match=words):
        model.request(image="x", **{field: value})


def test_ordinary_names_and_servers_pass() -> None:
    """Upper case, dots, both kinds of addresses, the smallest and the largest."""
    made = model.request(
        image="x", hostname="Web-1." + "a" * 58, dns=["192.0.2.1", "2001:db8::1"],
        limits={"cpus": 0.01},
    )  # fmt: skip

    assert (made.dns, made.limits.cpus) == (("192.0.2.1", "2001:db8::1"), 0.01)


def test_unknown_fields_are_refused() -> None:
    """A misspelt option is an error, not a default."""
    with pytest.raises(msgspec.ValidationError, match="unknown field `privileged`"):
        msgspec.json.decode(b'{"image": "x", "privileged": true}', type=model.RunRequest)
