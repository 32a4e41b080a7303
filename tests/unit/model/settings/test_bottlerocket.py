"""Settings as Bottlerocket's users write them: taken as they are, and refused where they are wrong there."""

from __future__ import annotations

import base64
import datetime
import time
import tomllib
from collections.abc import Iterator
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.model.settings import declared
from bulkhead.model.settings.declared import Type
from bulkhead.model.settings.groups import GENERAL, HIDDEN, Groups, SettingsError
from bulkhead.model.settings.keys import Settings
from bulkhead.model.settings.values import BootConfigKey
from tests.support.settings import values

ALL = Groups(GENERAL)


def certificate() -> bytes:
    """Return a certificate in PEM form."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder(
        issuer_name=name, subject_name=name, public_key=key.public_key(), serial_number=1,
        not_valid_before=start, not_valid_after=start + datetime.timedelta(days=1),
    ).sign(key, hashes.SHA256())  # fmt: skip
    return made.public_bytes(serialization.Encoding.PEM)


PEM = certificate()

EXAMPLES = {
    "general": """
motd = "Hello"

[updates]
metadata-base-url = "https://updates.example.com/2020-07-07/"
targets-base-url = "https://updates.example.com/targets/"
seed = 1234
version-lock = "v1.26.1"
ignore-waves = true

[host-containers.admin]
source = "public.ecr.aws/bottlerocket/bottlerocket-admin:v0.11.13"
enabled = true
superpowered = true
user-data = "aGVsbG8="
command = ["sh"]

[bootstrap-containers.setup]
source = "registry.example.com:5000/setup:1"
mode = "once"
essential = true
user-data = "aGVsbG8="

[bootstrap-commands.note]
commands = [["apiclient", "set", "motd=hello"], ["apiclient", "get", "motd"]]
mode = "always"
essential = false

[kernel]
lockdown = "integrity"
[kernel.modules.udf]
allowed = false
[kernel.modules.ip_vs_lc]
allowed = true
autoload = true
[kernel.sysctl]
"user.max_user_namespaces" = "16384"
"vm/max_map_count" = "262144"
[kernel.hugepages.static]
essential = false
"2Mi" = { count = "0:128,1:256" }
[kernel.hugepages.transparent]
enabled = "madvise"
defrag = "defer+madvise"

[boot]
reboot-to-reconcile = true
[boot.kernel-parameters]
"console" = ["tty0", "ttyS1,115200n8"]
"slub_debug" = ["options,slabs"]
"usbcore.quirks" = ["0781:5580:bk", "0a5c:5834:gij"]
"crashkernel" = []
[boot.init-parameters]
"log_level" = ["debug"]
"splash" = []

[metrics]
metrics-url = "https://metrics.example.com/v1/metrics"
send-metrics = false
service-checks = ["apiserver", "chronyd", "kubelet"]

[oci-defaults.capabilities]
sys-admin = true
net-bind-service = false
[oci-defaults.resource-limits.max-open-files]
soft-limit = 65536
hard-limit = "unlimited"

[container-runtime]
max-container-log-line-size = -1
max-concurrent-downloads = 4
concurrent-download-chunk-size = "16mb"
enable-unprivileged-ports = true
enable-unprivileged-icmp = true
snapshotter = "overlayfs"

[[container-registry.mirrors]]
registry = "*"
endpoint = ["https://mirror.example.com", "http://10.0.0.1:5000"]
[[container-registry.mirrors]]
registry = "docker.io"
endpoint = ["mirror.example.com:5000"]
[[container-registry.credentials]]
registry = "docker.io"
username = "foo"
password = "bar"
[[container-registry.credentials]]
registry = "gcr.io"
auth = "Zm9vOmJhcg=="
""",
    "kubernetes": """
[kubernetes]
cluster-name = "my-cluster"
api-server = "https://0123.example.com"
cluster-certificate = "aGVsbG8="
bootstrap-token = "abcdef.0123456789abcdef"
authentication-mode = "tls"
cloud-provider = ""
provider-id = "aws:///us-west-2a/i-0123456789"
server-key = "aGVsbG8="
cluster-dns-ip = ["10.0.0.1", "10.0.0.2"]
cluster-domain = "cluster.local"
allowed-unsafe-sysctls = ["net.core.somaxconn", "net.ipv4.tcp_*"]
image-gc-high-threshold-percent = "85"
image-gc-low-threshold-percent = 80
memory-swap-behavior = "LimitedSwap"
memory-throttling-factor = 0.9
ids-per-pod = 131072
reserved-cpus = "0-1,4"
kube-api-qps = 50
cpu-manager-policy-options = ["full-pcpus-only"]
shutdown-grace-period = "1h5m"
log-level = 3
[kubernetes.node-labels]
"example.com/team" = "blue"
"plain" = ""
[kubernetes.node-taints]
dedicated = ["experimental:PreferNoSchedule", "experimental:NoExecute"]
special = [":NoSchedule"]
[kubernetes.eviction-hard]
"memory.available" = "15%"
"nodefs.inodesFree" = "1.5Gi"
[kubernetes.eviction-soft-grace-period]
"memory.available" = "30s"
[kubernetes.system-reserved]
cpu = "10m"
memory = "100Mi"
ephemeral-storage = "1Gi"
[kubernetes.static-pods.web]
enabled = true
manifest = "aGVsbG8="
[kubernetes.topology-manager-policy-options]
prefer-closest-numa-nodes = true
max-allowable-numa-nodes = 8
[kubernetes.memory-manager-reserved-memory.0]
enabled = true
memory = "674Mi"
"hugepages-1Gi" = "1Gi"
[kubernetes.credential-providers.ecr-credential-provider]
enabled = true
cache-duration = "30m"
image-patterns = ["*.dkr.ecr.us-east-2.amazonaws.com"]
[kubernetes.credential-providers.ecr-credential-provider.environment]
KEY = "abc123xyz"
""",
    "ecs": """
[ecs]
cluster = "arn:aws:ecs:us-west-2:123456789012:cluster/my-cluster"
loglevel = "info"
logging-drivers = ["json-file", "awslogs", "none"]
image-pull-behavior = "prefer-cached"
container-stop-timeout = "1m1s"
reserved-memory = 1024
[ecs.instance-attributes]
attribute1 = "foo bar"
""",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_takes_bottlerockets_settings_as_they_are(name: str) -> None:
    """What Bottlerocket's users have comes out as it went in."""
    settings: Settings = tomllib.loads(EXAMPLES[name])

    assert ALL.check(settings, complete=True) == settings


def test_takes_certificates() -> None:
    """A bundle is base64 of PEM with one or more certificates; empty text takes one away."""
    bundle = base64.b64encode(PEM + b"\n" + PEM).decode()
    settings: Settings = {"pki": {"own": {"data": bundle, "trusted": True}, "old": {"data": ""}}}

    assert ALL.check(settings) == settings


@pytest.mark.parametrize(
    "data",
    ["x", "YQ==", base64.b64encode(PEM[:200]).decode(), PEM.decode(),
     base64.b64encode(PEM + PEM[:100]).decode() + "\n",
     base64.b64encode(PEM.replace(b"MII", b"NII")).decode()],
)  # fmt: skip
def test_refuses_what_is_no_certificate(data: str) -> None:
    """Not base64, no PEM, cut off, not base64 once but twice, damaged."""
    with pytest.raises(SettingsError, match="expected base64 of one or more certificates in PEM"):
        ALL.check({"pki": {"own": {"data": data}}})


def test_a_single_taint_becomes_a_list() -> None:
    """Old settings have text where there is a list today."""
    settings: Settings = {"kubernetes": {"node-taints": {"special": "true:NoSchedule"}}}

    assert ALL.check(settings) == {"kubernetes": {"node-taints": {"special": ["true:NoSchedule"]}}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host-containers": {"a b": {"enabled": True}}},
         'settings.host-containers: the name "a b" cannot be: expected letters, digits and dashes, '
         "at most 76 of them"),
        ({"host-containers": {"admin": {"enabled": True}}},
         "settings.host-containers.admin.source: is missing; it is enabled and has no image"),
        ({"host-containers": {"admin": {"source": "a b"}}},
         "settings.host-containers.admin.source: expected the name of a container image, as in "
         'registry.example.com/tool:1.2, got "a b"'),
        ({"bootstrap-containers": {"x": {"mode": "once"}}},
         "settings.bootstrap-containers.x.source: is missing; its mode is once and it has no image"),
        ({"bootstrap-commands": {"x": {"commands": [["apiclient"], ["sh", "-c", "id"]]}}},
         "settings.bootstrap-commands.x.commands[1]: does not start with apiclient, the only "
         "program that may be called\n  hint: use a bootstrap container to run anything else"),
        ({"host-containers": {"admin": {"user-data": "geheim!"}}},
         "settings.host-containers.admin.user-data: expected base64, got something else, which is "
         "not shown"),
        ({"updates": {"version-lock": "newest"}},
         'settings.updates.version-lock: expected "latest" or a version, as in 1.4.2, got "newest"'),
        ({"updates": {"seed": -1}},
         "settings.updates.seed: expected a whole number from 0 to 4294967295, got -1"),
        ({"boot": {"kernel-parameters": {"a": ["it's \"x\""]}}},
         "settings.boot.kernel-parameters.a[0]: expected printable ASCII without both kinds of "
         'quotes, got "it\'s \\"x\\""'),
        ({"boot": {"kernel-parameters": {"a..b": []}}},
         'settings.boot.kernel-parameters: the name "a..b" cannot be: expected words of letters, '
         "digits, dashes and underscores with dots between them"),
        ({"kernel": {"modules": {"x" * 57: {"allowed": True}}}},
         f'settings.kernel.modules: the name "{"x" * 57}" cannot be: expected the name of a kernel '
         "module, at most 56 characters"),
        ({"kernel": {"modules": {"udf": {"allowed": False, "autoload": True}}}},
         "settings.kernel.modules.udf.autoload: is true although udf is not allowed\n"
         "  hint: allow the module, or do not load it"),
        ({"oci-defaults": {"capabilities": {"sys_admin": True}}},
         "settings.oci-defaults.capabilities.sys_admin: there is no such setting\n"
         "  hint: did you mean 'sys-admin'?"),
        ({"oci-defaults": {"resource-limits": {"max-open-files": {"soft-limit": 2, "hard-limit": 1}}}},
         "settings.oci-defaults.resource-limits.max-open-files.soft-limit: is above the hard limit"),
        ({"oci-defaults": {"resource-limits": {"max-open-files": {"soft-limit": 2}}}},
         "settings.oci-defaults.resource-limits.max-open-files: has one of soft-limit and "
         "hard-limit; it needs both"),
        ({"container-registry": {"credentials": [{"registry": "a.b", "username": "u"}]}},
         "settings.container-registry.credentials[0]: has one of username and password; a login "
         "needs both"),
        ({"container-registry": {"mirrors": [{"registry": "a"}, {"registry": "a"}]}},
         "settings.container-registry.mirrors[1].registry: a is in this list twice"),
        ({"container-registry": {"mirrors": [{"registry": "../etc"}]}},
         "settings.container-registry.mirrors[0].registry: expected a registry, as in docker.io or "
         'registry.example.com:5000, or * for all, got "../etc"'),
        ({"container-registry": {"credentials": [{"registry": "a", "password": "x\ny"}]}},
         "settings.container-registry.credentials[0].password: expected one line of text, got "
         "something else, which is not shown"),
        ({"firewall": {"inbound": {"web": {"protocol": "tcp", "ports": [80, "9-8"]}}}},
         "settings.firewall.inbound.web.ports[1]: expected a whole number from 1 to 65535 or a "
         'range of ports, as in 8000-8100, got "9-8"'),
        ({"firewall": {"inbound": {"web": {"protocol": "tcp"}}}},
         "settings.firewall.inbound.web.ports: is missing, and the rest means nothing without it"),
        ({"firewall": {"inbound": {"web": {"from": ["192.0.2.0/24", "all"]}}}},
         "settings.firewall.inbound.web.from[1]: expected an IPv4 or IPv6 address or an address "
         'with a prefix length, as in 192.0.2.7/24, got "all"'),
        ({"metrics": {"metrics-url": "https://me:word@metrics.example.com/v1"}},
         "settings.metrics.metrics-url: expected a URL that starts with https:// or http:// and has no "
         'user in it, got "********@metrics.example.com/v1"'),
        ({"metrics": {"metrics-url": "metrics.example.com"}},
         "settings.metrics.metrics-url: expected a URL that starts with https:// or http:// and has no "
         'user in it, got "metrics.example.com"'),
        ({"metrics": {"send-metrics": True}},
         "settings.metrics.metrics-url: is missing, and send-metrics is true\n"
         "  hint: there is no server that metrics go to by themselves; give the URL of yours"),
        ({"metrics": {"service-checks": ["a b"]}},
         "settings.metrics.service-checks[0]: expected the name of a systemd unit, as in containerd "
         'or containerd.service, got "a b"'),
        ({"kubernetes": {"bootstrap-token": "geheim"}},
         "settings.kubernetes.bootstrap-token: expected a token of 6 and 16 small letters and "
         "digits with a dot between, got something else, which is not shown"),
        ({"kubernetes": {"image-gc-high-threshold-percent": 80, "image-gc-low-threshold-percent": "80"}},
         "settings.kubernetes.image-gc-low-threshold-percent: has to be less than "
         "image-gc-high-threshold-percent, which is 80"),
        ({"kubernetes": {"ids-per-pod": 65537}},
         "settings.kubernetes.ids-per-pod: expected a multiple of 65536, got 65537"),
        ({"kubernetes": {"eviction-hard": {"memory.available": "101%"}}},
         'settings.kubernetes.eviction-hard."memory.available": expected a percentage or a '
         'quantity, as in 10% or 100Mi, got "101%"'),
        ({"kubernetes": {"node-labels": {"a/b/c": "x"}}},
         'settings.kubernetes.node-labels: the name "a/b/c" cannot be: expected the key of a label, '
         "as in example.com/team"),
        ({"kubernetes": {"node-taints": {"a": "b:Never"}}},
         "settings.kubernetes.node-taints.a: expected a value and an effect, as in "
         'true:NoSchedule, got "b:Never"'),
        ({"kubernetes": {"memory-throttling-factor": float("nan")}},
         "settings.kubernetes.memory-throttling-factor: expected a number from 0 to 1, got nan"),
        ({"ecs": {"container-stop-timeout": "1 minute"}},
         "settings.ecs.container-stop-timeout: expected a length of time, as in 30s or 1h5m, got "
         '"1 minute"'),
    ],
)  # fmt: skip
def test_refuses_what_is_wrong(settings: Settings, message: str) -> None:
    """Each rule of a group, with its own words; no secret is in any of them."""
    with pytest.raises(SettingsError) as caught:
        ALL.check(settings, complete=True)

    assert str(caught.value) == message


def test_the_secrets_of_each_group_are_hidden() -> None:
    """What Bottlerocket's users hand over in confidence is never shown; the rest is."""
    shown = ALL.redact(tomllib.loads(EXAMPLES["general"]) | tomllib.loads(EXAMPLES["kubernetes"]))

    assert shown["container-registry"] == {
        "mirrors": [
            {"registry": "*", "endpoint": ["https://mirror.example.com", "http://10.0.0.1:5000"]},
            {"registry": "docker.io", "endpoint": ["mirror.example.com:5000"]},
        ],
        "credentials": [
            {"registry": "docker.io", "username": "foo", "password": HIDDEN},
            {"registry": "gcr.io", "auth": HIDDEN},
        ],
    }
    hidden = {
        ("host-containers", "admin", "user-data"), ("bootstrap-containers", "setup", "user-data"),
        ("kubernetes", "bootstrap-token"), ("kubernetes", "server-key"),
        ("kubernetes", "static-pods", "web", "manifest"),
        ("kubernetes", "credential-providers", "ecr-credential-provider", "environment", "KEY"),
    }  # fmt: skip
    assert {key for key, value in _leaves(shown) if value == HIDDEN} == hidden
    assert all(ALL.is_secret(key) for key in hidden)


def _leaves(table: object, above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    if not isinstance(table, dict):
        return [(above, table)]
    return [leaf for name, value in table.items() for leaf in _leaves(value, (*above, name))]


@pytest.mark.parametrize("name", GENERAL)
def test_the_types_of_each_group_are_sound(name: str) -> None:
    """No value from outside gets msgspec to read foreign memory."""
    declared.require_sound(ALL.kind(name))


@pytest.mark.parametrize(
    "wrong", [set[str], tuple[BootConfigKey, ...] | BootConfigKey, dict[str, tuple[bytes, ...]]]
)
def test_types_that_cannot_be_judged_are_refused(wrong: object) -> None:
    """Groups that a variant brings along are held to the same."""
    with pytest.raises(TypeError):
        declared.require_sound(Type(wrong))


LONG = [
    unit * (200_000 // len(unit))
    for unit in ("a", "'", ".", "a.", "-", "0", "1m", "0:1,", "/a", "@", " ", ":")
]


def texts(kind: Type) -> Iterator[Type]:
    """Yield every type of a text in a type, those of names included."""
    for choice in kind.choices:
        if declared.is_struct(choice.base):
            assert isinstance(choice.base, type)
            for field in declared.fields(choice.base).values():
                yield from texts(field)
        elif choice.shape in ("list", "table"):
            for inner in get_args(choice.base):
                yield from texts(Type(inner)) if inner is not Ellipsis else ()
        elif choice.shape == "text":
            yield choice


@pytest.mark.slow
def test_no_rule_takes_long_for_a_long_text() -> None:
    """Whoever may send settings cannot keep the node busy with one text: rules are linear."""
    kinds = {str(kind.declared): kind for name in GENERAL for kind in texts(ALL.kind(name))}
    start = time.process_time()
    for kind in kinds.values():
        for text in LONG:
            declared.fits(text, kind)

    # Half a second for some hundred texts of 200 kB; a rule that is not linear takes minutes for one.
    assert time.process_time() - start < 20


LINE_ENDS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x00", "\x85", "\u2028", "\u2029"]
SINGLE = {
    str(kind.declared): kind
    for name in GENERAL if name != "motd"
    for kind in texts(ALL.kind(name))
    if not kind.names()
}  # fmt: skip


@pytest.mark.parametrize("kind", SINGLE.values(), ids=declared.describe)
@given(st.data())
@settings(max_examples=20)
def test_no_text_can_bring_a_line_of_its_own(kind: Type, data: st.DataObject) -> None:
    """Values end up in files of lines: whoever may set one must not be able to write another one."""
    text = data.draw(values(kind))
    assert isinstance(text, str)
    end = data.draw(st.sampled_from(LINE_ENDS))
    position = data.draw(st.integers(0, len(text)))

    assert declared.fits(text, kind)
    assert not declared.fits(text[:position] + end + text[position:], kind)
