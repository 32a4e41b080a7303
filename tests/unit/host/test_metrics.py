"""What is sent about a node, how units' health is found, and which way it goes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from bulkhead.host.metrics import health, message, proxy
from bulkhead.model.errors import UserError
from bulkhead.model.metrics import Metrics
from tests.support.first_process import FakeUnit, FirstProcess

OS = message.os_release('NAME=Bulkhead\nVERSION_ID="1.4.2"\nVARIANT_ID=standalone\n')
PROXY = {"HTTPS_PROXY": "http://proxy.example.com:3128"}


def test_a_boot_is_told_with_the_version_and_without_health() -> None:
    """Bottlerocket's names in their order; what is not set has its default or is not there."""
    sent = message.parameters(
        "boot_success", Metrics(url="https://a"), OS, arch="x86_64", failed=["left-out"]
    )

    assert sent == [
        ("sender", "bulkhead"), ("event", "boot_success"), ("version", "1.4.2"),
        ("variant", "standalone"), ("arch", "x86_64"), ("version_lock", "latest"),
        ("ignore_waves", "false"),
    ]  # fmt: skip


def test_a_ping_tells_health_and_what_decides_about_updates() -> None:
    """Failed units are in order, whatever the order of the checks."""
    metrics = Metrics(url="https://a", seed=7, version_lock="1.4.2", ignore_waves=True)

    sent = message.parameters("health_ping", metrics, OS, arch="x86_64", failed=["b:2", "a:1"])

    assert sent[4:] == [
        ("arch", "x86_64"), ("seed", "7"), ("version_lock", "1.4.2"), ("ignore_waves", "true"),
        ("failed_services", "a:1,b:2"), ("is_healthy", "false"),
    ]  # fmt: skip


def test_a_node_whose_units_run_is_healthy() -> None:
    """The list is there and empty, as with Bottlerocket."""
    sent = message.parameters("health_ping", Metrics(url="https://a"), OS, arch="x86_64", failed=[])

    assert sent[-2:] == [("failed_services", ""), ("is_healthy", "true")]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a", "/?event=a+b%26c"),
        ("https://a/v1/metrics", "/v1/metrics?event=a+b%26c"),
        ("https://a/v1?fleet=x#part", "/v1?fleet=x&event=a+b%26c"),
        ("https://a/ä b", "/%C3%A4%20b?event=a+b%26c"),
    ],
)
def test_parameters_come_after_those_of_the_url(url: str, target: str) -> None:
    """Whatever is in them, they stay values, and the request line stays one."""
    assert message.target(url, [("event", "a b&c")]) == target
    assert ("event", "a b&c") in parse_qsl(target.partition("?")[2])


def test_units_that_are_not_active_have_failed(systemd: FirstProcess) -> None:
    """With the code of a service that ended; a name without a kind is a service's."""
    systemd.units["well.service"] = FakeUnit()
    systemd.units["ended.service"] = FakeUnit(active="failed", status=3)
    systemd.units["stopped.timer"] = FakeUnit(active="inactive")

    failed = health.failed(["well", "ended", "stopped.timer", "unknown.service"], systemd.path)

    assert failed == ["ended:3", "stopped.timer", "unknown.service"]
    assert systemd.calls == []


def test_without_a_bus_no_unit_is_known_to_be_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that cannot look must not say that all is well."""
    assert health.failed(["containerd"], tmp_path / "nothing") == ["containerd"]
    assert "units cannot be checked: " in caplog.text


def test_a_bus_that_hangs_up_is_noticed(systemd: FirstProcess) -> None:
    """The same."""
    systemd.deaf = True

    assert health.failed(["containerd"], systemd.path) == ["containerd"]


def test_nothing_is_asked_when_there_is_nothing_to_check(tmp_path: Path) -> None:
    """Not even for a connection."""
    assert health.failed([], tmp_path / "nothing") == []


def test_https_goes_through_the_proxy() -> None:
    """With the password of its URL, which is not in what is shown."""
    environment = {"HTTPS_PROXY": "http://me:p%40ss@proxy.example.com:3128"}

    found = proxy.of("https", "metrics.example.com", 443, environment)

    assert found is not None
    assert str(found) == "proxy.example.com:3128"
    assert found.headers == {"Proxy-Authorization": "Basic bWU6cEBzcw=="}


def test_http_does_not() -> None:
    """The setting is for HTTPS."""
    assert proxy.of("http", "metrics.example.com", 80, PROXY) is None


@pytest.mark.parametrize(
    ("names", "past"),
    [
        ("metrics.example.com", True),
        ("METRICS.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("*", True),
        ("localhost, example.com:443", True),
        ("example.com:8443", False),
        ("ample.com", False),
        ("metrics.example", False),
        ("", False),
        (",,", False),
    ],
)
def test_what_is_listed_is_reached_without_the_proxy(names: str, *, past: bool) -> None:
    """As Go's programs, containerd among them, read `NO_PROXY`."""
    found = proxy.of("https", "metrics.example.com", 443, {**PROXY, "NO_PROXY": names})

    assert (found is None) is past


@pytest.mark.parametrize(
    ("host", "names", "past"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("2001:db8::7", "2001:db8::/32", True),
        ("2001:db8::7", "[2001:db8::7]", True),
        ("2001:db8::7", "[2001:db8::7]:443", True),
        ("2001:db8::7", "10.0.0.0/8", False),
    ],
)
def test_networks_are_listed_too(host: str, names: str, *, past: bool) -> None:
    """An address is compared as an address."""
    assert (proxy.of("https", host, 443, {**PROXY, "NO_PROXY": names}) is None) is past


@pytest.mark.parametrize("text", ["socks5://me:geheim@proxy", "https://me:geheim@proxy", "http://"])
def test_a_proxy_of_another_kind_is_an_error_without_its_password(text: str) -> None:
    """Nothing goes past it in its stead."""
    with pytest.raises(UserError, match="expected a URL that starts with http://") as raised:
        proxy.of("https", "metrics.example.com", 443, {"HTTPS_PROXY": text})

    assert "geheim" not in str(raised.value)
