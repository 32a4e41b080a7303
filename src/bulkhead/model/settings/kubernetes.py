"""The kubelet and how the node joins its cluster. Names and values are those of Bottlerocket."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.values import (
    MANY,
    SECRET,
    Base64,
    Domain,
    Duration,
    Hostname,
    Identifier,
    IpAddress,
    SingleLine,
    Table,
    Url,
    only,
    rule,
    whole,
)

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_NUMBER = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_QUANTITY = rf"\+?{_NUMBER}(?:[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{{1,3}})?"

ClusterName = Annotated[
    str,
    rule("the name of a cluster: letters, digits, dashes and underscores, at most 100",
         pattern=r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"),
]  # fmt: skip
BootstrapToken = Annotated[
    str,
    rule("a token of 6 and 16 small letters and digits with a dot between",
         pattern=r"[a-z0-9]{6}\.[a-z0-9]{16}"),
]  # fmt: skip
LabelKey = Annotated[
    str,
    rule("the key of a label, as in example.com/team", pattern=rf"(?:{_PREFIX}/)?{_NAME}"),
]
LabelValue = Annotated[
    str,
    rule("the value of a label: at most 63 letters, digits and ._-", pattern=rf"(?:{_NAME})?"),
]
TaintValue = Annotated[
    str,
    rule("a value and an effect, as in true:NoSchedule",
         pattern=rf"(?:{_NAME})?:(?:NoSchedule|PreferNoSchedule|NoExecute)"),
]  # fmt: skip
Quantity = Annotated[str, rule("a quantity, as in 100m or 1.5Gi", pattern=_QUANTITY)]
Threshold = Annotated[
    str,
    rule("a percentage or a quantity, as in 10% or 100Mi",
         pattern=rf"(?:100(?:\.0+)?|[0-9]{{1,2}}(?:\.[0-9]{{1,9}})?)%|{_QUANTITY}"),
]  # fmt: skip
CpuSet = Annotated[
    str,
    rule("numbers of processors, as in 0-3,8",
         pattern=r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?){0,255}"),
]  # fmt: skip
ProviderId = Annotated[
    str, rule("a provider's name of a node, as in aws:///zone/i-1", pattern=r"[a-z][a-z0-9+.-]{0,31}://[!-~]{1,255}")
]  # fmt: skip
PercentText = Annotated[str, rule("a percentage from 0 to 100", pattern=r"100|[0-9]{1,2}")]
Percent = Annotated[int, whole(0, 100)] | PercentText
Environment = Annotated[
    str, rule("the name of a variable", pattern=r"[A-Za-z_][A-Za-z0-9_]{0,255}")
]
Rate = Annotated[int, whole(-(2**31), 2**31 - 1)]
Signal = Literal[
    "memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available",
    "imagefs.inodesFree", "containerfs.available", "containerfs.inodesFree", "pid.available",
]  # fmt: skip
Resource = Literal["cpu", "memory", "ephemeral-storage", "pid"]
Reserved = Annotated[dict[Resource, Quantity], only(Resource)]
Thresholds = Annotated[dict[Signal, Threshold], only(Signal)]
GracePeriods = Annotated[dict[Signal, Duration], only(Signal)]


class StaticPod(Table, frozen=True):
    """A pod that the kubelet runs by itself."""

    enabled: bool | None = None
    manifest: Annotated[Base64, SECRET] | None = None
    """Base64 of the pod's YAML."""


class CredentialProvider(Table, frozen=True):
    """A program that the kubelet asks for logins at registries."""

    enabled: bool | None = None
    image_patterns: tuple[SingleLine, ...] | None = None
    """Images that it is asked about."""
    cache_duration: Duration | None = None
    environment: Annotated[dict[Environment, SingleLine], SECRET, only(Environment)] | None = None


class MemoryReservation(Table, frozen=True):
    """Memory of one NUMA node that pods do not get."""

    enabled: bool | None = None
    memory: Quantity | None = None
    hugepages_1gi: Quantity | None = field(default=None, name="hugepages-1Gi")
    hugepages_2mi: Quantity | None = field(default=None, name="hugepages-2Mi")


class TopologyOptions(Table, frozen=True):
    """Options of the topology manager's policy."""

    prefer_closest_numa_nodes: bool | None = None
    max_allowable_numa_nodes: Annotated[int, whole(8, 2**31 - 1)] | None = None


class Kubernetes(Table, frozen=True):
    """The kubelet."""

    # Joining the cluster
    cluster_name: ClusterName | None = None
    cluster_certificate: Base64 | None = None
    """Base64 of the cluster's certificate authority."""
    api_server: Url | None = None
    """Where the cluster's API is."""
    bootstrap_token: Annotated[BootstrapToken, SECRET] | None = None
    """For TLS bootstrapping."""
    authentication_mode: Literal["aws", "tls"] | None = None
    standalone_mode: bool | None = None
    """Run static pods alone, without a cluster."""
    cloud_provider: Literal["aws", "external", ""] | None = None
    provider_id: ProviderId | None = None
    """How the cloud names this node."""
    server_certificate: Base64 | None = None
    """Base64 of the certificate that the kubelet itself serves with."""
    server_key: Annotated[Base64, SECRET] | None = None
    """Base64 of its key."""
    server_tls_bootstrap: bool | None = None
    """Ask the cluster for that certificate."""

    # Who the node is
    node_labels: Annotated[dict[LabelKey, LabelValue], only(LabelKey)] | None = None
    """Labels that the node registers with."""
    node_taints: (
        Annotated[dict[LabelKey, Annotated[tuple[TaintValue, ...], MANY]], only(LabelKey)] | None
    ) = None
    """Taints that it registers with: for each key one or more of `value:Effect`."""
    node_ip: IpAddress | None = None
    hostname_override: Hostname | None = None
    """The node's name in the cluster, if it is not its host name."""
    hostname_override_source: Literal["private-dns-name", "instance-id"] | None = None
    """Where that name comes from if it is not given."""
    cluster_dns_ip: IpAddress | tuple[IpAddress, ...] | None = None
    """The cluster's name server, or a list of them."""
    cluster_domain: Domain | None = None
    """Its domain."""

    # Pods
    max_pods: Annotated[int, whole(0, 2**32 - 1)] | None = None
    pod_pids_limit: Annotated[int, whole(-1, 2**63 - 1)] | None = None
    """Processes of one pod; -1 is without a limit."""
    ids_per_pod: Annotated[int, whole(65536, 65536 * 65535)] | None = None
    """User IDs of a pod in a user namespace; a multiple of 65536."""
    static_pods: Annotated[dict[Identifier, StaticPod], only(Identifier)] | None = None
    """By a name of your own."""
    static_pods_enabled: bool | None = None
    pod_infra_container_image: SingleLine | None = None
    """Without effect since Kubernetes 1.21."""
    allowed_unsafe_sysctls: tuple[SingleLine, ...] | None = None
    """Names or patterns of kernel parameters that pods may set."""
    seccomp_default: bool | None = None
    """Filter system calls of pods that do not say otherwise."""
    device_ownership_from_security_context: bool | None = None
    single_process_oom_kill: bool | None = None
    """When memory runs out, end one process instead of the whole container."""
    fail_cgroup_v1: bool | None = None

    # Eviction, and what pods do not get
    eviction_hard: Thresholds | None = None
    """Thresholds at which pods are evicted at once."""
    eviction_soft: Thresholds | None = None
    """Thresholds at which they are evicted after a time of grace."""
    eviction_soft_grace_period: GracePeriods | None = None
    eviction_max_pod_grace_period: Annotated[int, whole(0, 2**31 - 1)] | None = None
    """Seconds."""
    kube_reserved: Reserved | None = None
    """For the kubelet and containerd."""
    system_reserved: Reserved | None = None
    """For everything else of the system."""
    reserved_cpus: CpuSet | None = None
    memory_manager_policy: Literal["None", "Static"] | None = None
    memory_manager_reserved_memory: (
        Annotated[dict[Identifier, MemoryReservation], only(Identifier)] | None
    ) = None
    """By the number of the NUMA node."""
    memory_swap_behavior: Literal["NoSwap", "LimitedSwap", "UnlimitedSwap"] | None = None
    memory_reservation_policy: Literal["None", "TieredReservation"] | None = None
    memory_throttling_factor: Annotated[float, whole(0, 1)] | None = None

    # Rates
    registry_qps: Rate | None = None
    registry_burst: Rate | None = None
    event_qps: Rate | None = None
    event_burst: Rate | None = None
    kube_api_qps: Rate | None = None
    kube_api_burst: Rate | None = None
    max_parallel_image_pulls: Rate | None = None

    # Logs
    container_log_max_size: Quantity | None = None
    """Size at which a container's log is rotated."""
    container_log_max_files: Annotated[int, whole(2, 2**31 - 1)] | None = None
    container_log_max_workers: Annotated[int, whole(1, 2**31 - 1)] | None = None
    container_log_monitor_interval: Duration | None = None
    log_level: Annotated[int, whole(0, 255)] | None = None
    """How much the kubelet itself logs."""

    # Processors and NUMA nodes
    cpu_cfs_quota_enforced: bool | None = None
    cpu_manager_policy: Literal["none", "static"] | None = None
    cpu_manager_reconcile_period: Duration | None = None
    cpu_manager_policy_options: (
        tuple[Literal["full-pcpus-only", "distribute-cpus-across-numa", "align-by-socket"], ...]
        | None
    ) = None
    topology_manager_scope: Literal["container", "pod"] | None = None
    topology_manager_policy: (
        Literal["none", "restricted", "best-effort", "single-numa-node"] | None
    ) = None
    topology_manager_policy_options: TopologyOptions | None = None

    # Images
    image_gc_high_threshold_percent: Percent | None = None
    """Use of the disk above which images are always removed; a number, or text as of old."""
    image_gc_low_threshold_percent: Percent | None = None
    """Use of the disk below which they never are."""
    image_minimum_gc_age: Duration | None = None
    image_maximum_gc_age: Duration | None = None
    credential_providers: (
        Annotated[dict[Identifier, CredentialProvider], only(Identifier)] | None
    ) = None
    """By the name of the program."""

    # Shutting down, and the rest
    shutdown_grace_period: Duration | None = None
    """How long a shutdown waits for pods."""
    shutdown_grace_period_for_critical_pods: Duration | None = None
    """The part of it that is kept for critical ones."""
    container_runtime_endpoint: SingleLine | None = None


def check(kubernetes: Kubernetes, *, complete: bool) -> None:
    """Refuse what the kubelet would refuse when it starts."""
    del complete
    low, high = (
        kubernetes.image_gc_low_threshold_percent,
        kubernetes.image_gc_high_threshold_percent,
    )
    if low is not None and high is not None and int(low) >= int(high):
        raise SettingsError(
            ("kubernetes", "image-gc-low-threshold-percent"),
            f"has to be less than image-gc-high-threshold-percent, which is {high}",
        )
    if kubernetes.ids_per_pod is not None and kubernetes.ids_per_pod % 65536:
        raise SettingsError(
            ("kubernetes", "ids-per-pod"),
            f"expected a multiple of 65536, got {kubernetes.ids_per_pod}",
        )


Model = Kubernetes
