"""What a container may and may not do, as crun is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
import pytest

from bulkhead.host.containers import capabilities, creating, seccomp, spec
from bulkhead.host.containers.accounts import Identity
from bulkhead.host.containers.spec import ImageConfig
from bulkhead.model.containers import Limits, RunRequest
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.runtime_defaults import Limit, RuntimeDefaults

IMAGE = ImageConfig(entrypoint=("/entry",), cmd=("serve",), env=("A=1", "B=2"), working_dir="/srv")


class _Process(msgspec.Struct, rename="camel"):
    args: list[str]
    env: list[str]
    cwd: str
    no_new_privileges: bool
    capabilities: dict[str, list[str]]
    user: dict[str, object]
    rlimits: list[dict[str, object]]


class _Linux(msgspec.Struct, rename="camel"):
    cgroups_path: str
    namespaces: list[dict[str, str]]
    masked_paths: list[str]
    readonly_paths: list[str]
    resources: dict[str, object]
    sysctl: dict[str, str]


class _Spec(msgspec.Struct):
    process: _Process
    linux: _Linux
    mounts: list[dict[str, object]]
    root: dict[str, object]
    hostname: str


def build(
    request: RunRequest, *, identity: Identity | None = None, binds: Sequence[spec.Bind] = ()
) -> _Spec:
    """Make a specification and read back what crun would."""
    made = spec.build(
        request, IMAGE, name="web", identity=identity or Identity(), binds=binds,
        network=Path("/run/netns/web"),
    )  # fmt: skip
    return msgspec.json.decode(msgspec.json.encode(made), type=_Spec)


def test_is_closed_by_default() -> None:
    """No new privileges, few capabilities, no devices, own namespaces, nothing writable of /proc/sys."""
    made = build(RunRequest(image="x"))

    assert made.process.no_new_privileges
    assert set(made.process.capabilities["bounding"]) == set(capabilities.DEFAULT)
    assert not {"CAP_SYS_ADMIN", "CAP_NET_RAW", "CAP_MKNOD"} & set(capabilities.DEFAULT)
    assert {item["type"] for item in made.linux.namespaces} == {
        "pid", "ipc", "uts", "mount", "cgroup", "network",
    }  # fmt: skip
    assert {"type": "network", "path": "/run/netns/web"} in made.linux.namespaces
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(made.linux.masked_paths)
    assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(made.linux.readonly_paths)
    devices = cast("list[dict[str, object]]", made.linux.resources["devices"])
    assert devices[0] == {"allow": False, "access": "rwm"}
    assert made.linux.cgroups_path == "bulkhead-containers.slice:bulkhead:web"
    options = {m["destination"]: cast("list[str]", m["options"]) for m in made.mounts}
    assert "ro" in options["/sys"]
    assert "ro" in options["/sys/fs/cgroup"]


def test_another_user_has_no_capability_in_effect() -> None:
    """Only root starts with capabilities."""
    made = build(RunRequest(image="x"), identity=Identity(uid=1000, gid=1000, groups=(5,)))

    assert made.process.capabilities["effective"] == []
    assert made.process.user == {"uid": 1000, "gid": 1000, "additionalGids": [5]}


def test_limits_reach_the_cgroup() -> None:
    """Memory without swap, CPU time per period, processes always."""
    limits = Limits(memory=64 << 20, cpus=1.5, processes=10)

    made = build(RunRequest(image="x", limits=limits))

    assert made.linux.resources["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert made.linux.resources["cpu"] == {"period": 100_000, "quota": 150_000}
    assert made.linux.resources["pids"] == {"limit": 10}
    assert build(RunRequest(image="x")).linux.resources["pids"] == {"limit": 4096}


def test_chooses_what_to_run_as_docker_does() -> None:
    """A command takes the place of the image's; an entry point hides both."""
    argv = {
        "image": spec.command(RunRequest(image="x"), IMAGE),
        "command": spec.command(RunRequest(image="x", command=("a", "b")), IMAGE),
        "entry": spec.command(RunRequest(image="x", entrypoint=("e",)), IMAGE),
        "both": spec.command(RunRequest(image="x", entrypoint=("e",), command=("c",)), IMAGE),
    }

    assert argv == {
        "image": ["/entry", "serve"], "command": ["/entry", "a", "b"], "entry": ["e"],
        "both": ["e", "c"],
    }  # fmt: skip
    with pytest.raises(UserError, match="does not say what to run"):
        spec.command(RunRequest(image="x"), ImageConfig())


def test_environment_of_the_request_wins() -> None:
    """PATH and HOSTNAME are always there."""
    made = build(RunRequest(image="x", env={"B": "3"}, hostname="h"))

    assert made.process.env == [f"PATH={spec.DEFAULT_PATH}", "HOSTNAME=h", "A=1", "B=3"]
    assert (made.hostname, made.process.cwd) == ("h", "/srv")


def test_no_mount_hides_a_deeper_one() -> None:
    """Whatever the order on the command line; room for scratch below a volume, too."""
    order = ("/x/y", "/var", "/etc/hosts", "/x", "/etc")
    binds = [spec.Bind(source=f"/volumes{target}", target=target) for target in order]

    made = build(RunRequest(image="x", read_only=True), binds=binds)

    places = [str(mount["destination"]) for mount in made.mounts]
    assert places[-8:] == [
        "/run", "/tmp", "/var", "/x", "/etc", "/var/tmp", "/x/y", "/etc/hosts",
    ]  # fmt: skip


def test_a_read_only_root_has_room_for_scratch() -> None:
    """/run and /tmp are memory then."""
    made = build(RunRequest(image="x", read_only=True))

    assert made.root == {"path": "rootfs", "readonly": True}
    assert {"/run", "/tmp", "/var/tmp"} <= {m["destination"] for m in made.mounts}


def test_capabilities_are_added_and_dropped() -> None:
    """Short names, ALL, and the exact few of "drop all, add some"."""
    assert capabilities.choose(add=("net_raw",), drop=("CAP_CHOWN",)) == tuple(
        sorted({*capabilities.DEFAULT, "CAP_NET_RAW"} - {"CAP_CHOWN"})
    )
    assert capabilities.choose(add=("NET_BIND_SERVICE",), drop=("ALL",)) == (
        "CAP_NET_BIND_SERVICE",
    )
    assert set(capabilities.choose(add=("ALL",), drop=())) == set(capabilities.ALL)
    with pytest.raises(UserError, match="there is no capability 'net_rwa'") as caught:
        capabilities.choose(add=("net_rwa",), drop=())
    assert caught.value.hint == "did you mean 'CAP_NET_RAW'?"


def _allowed(granted: tuple[str, ...]) -> set[str]:
    rules = cast("list[dict[str, object]]", seccomp.profile(granted, machine="x86_64")["syscalls"])
    return {
        name
        for rule in rules
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in cast("list[str]", rule["names"])
    }


def test_system_calls_that_administer_need_their_capability() -> None:
    """mount, bpf, reboot, module loading and setns are refused unless granted."""
    dangerous = {
        "mount",
        "bpf",
        "reboot",
        "init_module",
        "setns",
        "unshare",
        "keyctl",
        "io_uring_setup",
    }

    assert not dangerous & _allowed(capabilities.DEFAULT)
    assert {"mount", "bpf", "setns", "unshare"} <= _allowed(("CAP_SYS_ADMIN",))
    assert "reboot" in _allowed(("CAP_SYS_BOOT",))
    assert {"read", "write", "execve", "futex", "openat"} <= _allowed(())


def test_clone_cannot_make_namespaces_and_clone3_says_it_does_not_exist() -> None:
    """Libc falls back to clone, whose flags a filter can read."""
    rules = cast("list[dict[str, object]]", seccomp.profile((), machine="x86_64")["syscalls"])
    clone = next(rule for rule in rules if rule["names"] == ["clone"])
    clone3 = next(rule for rule in rules if rule["names"] == ["clone3"])

    assert clone["args"] == [
        {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    ]
    assert clone3 == {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}


def test_users_of_its_own() -> None:
    """The user namespace is joined, the root is the mapped one, volumes keep their numbers."""
    own = spec.Own(pin=Path("/own/users"), root=Path("/own/root"), first=1 << 20, count=1 << 16)
    made = spec.build(
        RunRequest(image="x"), IMAGE, name="web", identity=Identity(uid=5),
        binds=[spec.Bind(source="/v", target="/data")], network=Path("/run/netns/web"), own=own,
    )  # fmt: skip
    read = msgspec.json.decode(msgspec.json.encode(made), type=_Spec)

    mapping = [{"containerID": 0, "hostID": 1 << 20, "size": 1 << 16}]
    assert read.root == {"path": "/own/root", "readonly": False}
    assert {"type": "user", "path": "/own/users"} in read.linux.namespaces
    assert read.process.user["uid"] == 5
    (bind,) = (mount for mount in read.mounts if mount["destination"] == "/data")
    assert (bind["uidMappings"], bind["gidMappings"]) == (mapping, mapping)
    assert not any("uidMappings" in mount for mount in read.mounts if mount != bind)


def test_settings_say_what_requests_do_not() -> None:
    """Capabilities, limits and what ordinary users may do; the request's own words count more."""
    defaults = RuntimeDefaults(
        cap_add=("CAP_NET_RAW", "CAP_SYS_TIME"), cap_drop=("CAP_CHOWN", "CAP_KILL"),
        limits={"RLIMIT_NOFILE": Limit(soft=1, hard=2), "RLIMIT_MEMLOCK": Limit(soft=3, hard=2**64 - 1)},
        unprivileged_ports=False, unprivileged_icmp=False,
    )  # fmt: skip
    made = spec.build(
        RunRequest(image="x", cap_add=("kill",), cap_drop=("sys_time",)), IMAGE, name="web",
        identity=Identity(), binds=(), network=Path("/run/netns/web"), defaults=defaults,
    )  # fmt: skip
    read = msgspec.json.decode(msgspec.json.encode(made), type=_Spec)

    wanted = {*capabilities.DEFAULT, "CAP_NET_RAW"} - {"CAP_CHOWN"}
    assert set(read.process.capabilities["bounding"]) == wanted
    assert read.process.rlimits == [
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_MEMLOCK", "soft": 3, "hard": 2**64 - 1},
    ]
    assert read.linux.sysctl == {}
    assert set(build(RunRequest(image="x")).linux.sysctl) == {
        "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range",
    }  # fmt: skip


def test_only_own_users_make_control_groups() -> None:
    """Root of the machine's users could lift its container's limits with a writable cgroup."""
    own = spec.Own(pin=Path("/own/users"), root=Path("/own/root"), first=1 << 20, count=1 << 16)

    def options(*, own: spec.Own | None, writable: bool) -> set[str]:
        made = spec.build(
            RunRequest(image="x"), IMAGE, name="web", identity=Identity(), binds=(), own=own,
            network=Path("/run/netns/web"), defaults=RuntimeDefaults(writable_cgroup=writable),
        )  # fmt: skip
        read = msgspec.json.decode(msgspec.json.encode(made), type=_Spec)
        (mount,) = (mount for mount in read.mounts if mount["type"] == "cgroup")
        said = {*cast("list[str]", mount["options"]), *cast("dict[str, object]", made["linux"])}
        return (said | set(read.linux.resources)) & {"ro", "rw", "uidMappings", "unified"}

    # By the numbers crun knows whose it is; and there is an end to how many groups there can be.
    assert options(own=own, writable=True) == {"rw", "uidMappings", "unified"}
    assert options(own=own, writable=False) == {"ro"}
    assert options(own=None, writable=True) == {"ro"}


def test_settings_that_cannot_be_read_stop_a_container(tmp_path: Path) -> None:
    """It must not run with more than the settings allow."""
    assert creating.load_defaults(tmp_path) == RuntimeDefaults()
    (tmp_path / "containers.json").write_text('{"cap_drop": "all"}')
    with pytest.raises(HostError, match=r"containers\.json: cannot be read: .*cap_drop"):
        creating.load_defaults(tmp_path)
