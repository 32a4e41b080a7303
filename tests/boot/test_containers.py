"""Containers on a booted machine: as a workstation sees them, and after a restart.

One machine serves all tests here; the last one restarts it.
"""

from __future__ import annotations

import base64
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from bulkhead.build import oci
from bulkhead.client.connection import Conflict, Missing
from bulkhead.client.containers import Containers, read_file
from bulkhead.client.exec import Attachment
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.model.arch import AMD64
from bulkhead.model.channel import Channel
from bulkhead.model.containers import (
    Container,
    ExecRequest,
    Limits,
    Port,
    Restart,
    RunRequest,
    Volume,
)
from bulkhead.model.errors import BulkheadError, RemoteError, UserError
from bulkhead.model.settings.keys import Settings
from bulkhead.testing.vm import VM
from tests.support import containers as archives
from tests.support import images, node, programs

pytestmark = pytest.mark.timeout(600)

# More locked memory than containerd itself has; no pings for ordinary users.
SETTINGS: Settings = {
    "oci-defaults": {
        "resource-limits": {"max-locked-memory": {"soft-limit": 1048576, "hard-limit": "unlimited"}}
    },
    "container-runtime": {"enable-unprivileged-icmp": False},
}
CHANNEL, WEB = 7433, 8080
BUSYBOX = "bulkhead/busybox"
# As a container with 64 MiB and 40 processes has them.
GROUP_LIMITS = {
    "memory.max": "67108864\n", "pids.max": "40\n", "cgroup.max.descendants": "1000\n",
}  # fmt: skip


class Convert(Protocol):
    """Turns an OCI archive into another kind."""

    def __call__(self, source: Path, target: Path, *, name: str) -> None:
        """Write `target`, with the image under `name`."""


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VM]:
    """Start the standalone image with the channel's secret."""
    image = images.build(tmp_path_factory.mktemp("standalone"))
    with VM(
        image=image.disk,
        spec=images.direct(image),
        disk_size=images.DISK_SIZE,
        forwards=(CHANNEL, node.PORT, WEB),
        credentials=node.CREDENTIALS,
    ) as machine:
        machine.wait_until_ready()
        set_settings(machine, SETTINGS)
        yield machine


def set_settings(vm: VM, settings: Settings) -> None:
    """Commit and apply settings."""
    api = node.reach(vm)
    api.set(node.TX, settings)
    assert all(result.status == "done" for result in node.commit(api).values())


def reach(vm: VM, *, token: str | None = node.TOKEN) -> Containers:
    """Return the machine's containers."""
    return Containers(Channel(host="127.0.0.1", port=vm.port(CHANNEL), token=token))


@pytest.fixture(scope="module")
def there(vm: VM, tmp_path_factory: pytest.TempPathFactory) -> Containers:
    """Return the machine's containers, with an image to look around in."""
    containers = reach(vm)
    assert containers.import_archive(read_file(archives.busybox())) == [
        "docker.io/bulkhead/busybox:latest"
    ]
    return containers


@pytest.fixture(scope="module")
def box(there: Containers) -> Container:
    """Return a container in which commands can be run."""
    limits = Limits(memory=64 << 20, cpus=0.5, processes=40)
    volume = Volume(source="kept", target="/kept")
    return there.run(RunRequest(image=BUSYBOX, name="box", limits=limits, volumes=(volume,)))


def run(there: Containers, name: str, *command: str, user: str | None = None) -> tuple[int, str]:
    """Run a command in a container; return its exit code and what it wrote."""
    written: list[bytes] = []
    request = ExecRequest(command=("busybox", *command), user=user)
    code = Attachment(
        there.connection, name, request, write=lambda stream, data: written.append(data)
    ).run()
    return code, b"".join(written).decode()


def page(vm: VM, *, timeout_s: float = 5.0) -> bytes:
    """Ask for the demo's page, from the workstation; QEMU takes the connection in any case."""
    url = f"http://127.0.0.1:{vm.port(WEB)}/"
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        body: bytes = response.read()
        return body


def test_nobody_gets_in_without_the_secret(vm: VM) -> None:
    """Each request on the channel is refused without it, with a wrong one, and for WebSockets."""
    for token in (None, "", "0" * 64, node.TOKEN[:-1]):
        with pytest.raises(RemoteError, match="the token is missing or wrong"):
            reach(vm, token=token).list_containers()
        with pytest.raises(RemoteError, match="refused with status 403"):
            run(reach(vm, token=token), "box", "id")


def test_the_demo_answers_to_the_workstation(vm: VM, there: Containers) -> None:
    """Debian's nginx, not root, on a published port; its log is its output."""
    demo = oci.build("demo", arch=AMD64, cache=cache_dir(), progress=SILENT)
    there.import_archive(read_file(demo.path))
    there.run(
        RunRequest(
            image="bulkhead/demo", name="demo", ports=(Port(host=WEB, container=80),),
            restart=Restart(policy="always"), read_only=True,
        )
    )  # fmt: skip

    wait_for_page(vm)
    assert b'"GET / HTTP/1.1" 200' in b"".join(there.logs("demo", tail=1))


@pytest.mark.parametrize("convert", [archives.docker_archive, archives.docker_schema_2])
def test_runs_images_of_docker(there: Containers, tmp_path: Path, convert: Convert) -> None:
    """What `docker save` writes, and Docker's own manifests, run like OCI images."""
    name = "docker.io/library/converted:1"
    convert(archives.busybox(), tmp_path / "image.tar", name=name)

    assert there.import_archive(read_file(tmp_path / "image.tar")) == [name]
    made = there.run(RunRequest(image=name, command=("sh", "-c", "echo from docker")))
    assert b"".join(there.logs(made.name, follow=True)) == b"from docker\n"
    assert there.remove(made.name, force=True).exit_code == 0


def test_is_limited_and_closed(there: Containers, box: Container) -> None:
    """Limits are in the cgroup; the kernel says that the sandbox is on."""
    _, status = run(there, "box", "cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    _, limits = run(there, "box", "sh", "-c", "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max")

    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert fields["CapBnd"] == "00000000800405fb"
    assert limits.split() == [str(64 << 20), "40", "50000", "100000"]


@pytest.mark.parametrize(
    "attack",
    [
        "mkdir -p /mnt; mount -t tmpfs none /mnt",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "echo 1 > /sys/fs/cgroup/cgroup.procs",
        "head -c 1 /proc/kcore | grep .",
        "mknod /d b 254 0",
        "unshare -m true",
        "nsenter -t 1 -m true",
        "ip link set eth0 down",
        "hostname other",
        "reboot -f",
        "dmesg",
        "ls -d /proc/1/root/usr/lib/bulkhead",
        "unshare -U true",
        "mknod /tmp/null c 1 3",
        "chown 65536 /tmp",
        "umount /etc/hosts",
        "mount -o remount,rw /proc/sys",
        "echo 1 > /proc/self/uid_map",
    ],
)
def test_attacks_from_inside_fail(there: Containers, box: Container, attack: str) -> None:
    """Root in a container is not root of the machine."""
    code, said = run(there, "box", "sh", "-c", attack)

    assert code != 0, said


def test_root_is_a_number_of_its_own_on_the_machine(there: Containers, box: Container) -> None:
    """Each container has another range of users, and its files, devices and networks work."""
    other = there.run(RunRequest(image=BUSYBOX, name="other"))
    for container in (box, other):
        assert run(there, container.name, "cat", "/proc/self/uid_map", "/proc/self/gid_map") == (
            0, f"         0 {container.first_user:>10}      65536\n" * 2,
        )  # fmt: skip
        assert container.userns == "own"
    assert there.remove("other", force=True)

    starts = [container.first_user or 0 for container in there.list_containers()]
    assert {box.first_user, other.first_user} & set(starts) == {box.first_user}
    assert min(starts) >= 1 << 20
    assert len({*starts, other.first_user}) == len(starts) + 1
    assert {start % (1 << 16) for start in starts} == {0}
    owners = "/etc/passwd /usr/bin/busybox /etc/hosts /etc/resolv.conf /kept /"
    assert run(there, "box", "sh", "-c", f"stat -c %u:%g {owners} | sort -u") == (0, "0:0\n")
    works = (
        "echo 127.0.0.9 nine >> /etc/hosts; touch /new; chown web /new; echo x > /dev/null;"
        "head -c 9 /dev/urandom > /kept/by-root; ls /sys/class/net /sys/fs/cgroup > /dev/null;"
        "stat -c %u:%g /new /kept/by-root"
    )
    assert run(there, "box", "sh", "-ec", works) == (0, "10001:0\n0:0\n")


def test_settings_count_for_containers(there: Containers, box: Container) -> None:
    """Pings are off: the kernel's default, "1 0", in numbers that the container does not have."""
    path = "/proc/sys/net/ipv4/ping_group_range"
    assert run(there, "box", "cat", path) == (0, "65534\t65534\n")


def test_a_container_may_be_given_its_control_group(
    vm: VM, there: Containers, box: Container
) -> None:
    """It makes groups of its own in it, and stays within the limits that it was given; one with
    the machine's users is given nothing.
    """
    group = "cd /sys/fs/cgroup; mkdir mine; echo $$ > mine/cgroup.procs; cat /proc/self/cgroup"
    request = RunRequest(
        image=BUSYBOX, name="grouped", limits=Limits(memory=64 << 20, processes=40)
    )
    set_settings(vm, {"container-runtime": {"cgroup-writable": True}})
    try:
        there.run(request)
        there.run(msgspec.structs.replace(request, name="plain", userns="host"))

        assert run(there, "grouped", "sh", "-ec", group) == (0, "0::/mine\n")
        for limit, value in GROUP_LIMITS.items():
            code, said = run(there, "grouped", "sh", "-c", f"echo max > /sys/fs/cgroup/{limit}")
            assert (code, "ermission denied" in said) == (1, True), said
            assert run(there, "grouped", "cat", f"/sys/fs/cgroup/{limit}") == (0, value)
        for other in ("box", "plain"):
            code, said = run(there, other, "sh", "-ec", group)
            assert (code, "Read-only file system" in said) == (1, True), said
    finally:
        for name in ("grouped", "plain"):
            there.remove(name, force=True)
        set_settings(vm, {"container-runtime": {"cgroup-writable": False}})


def test_only_root_makes_user_namespaces(there: Containers, box: Container) -> None:
    """Ordinary users of the machine would gain ways into the kernel by them."""
    path = "/proc/sys/kernel/unprivileged_userns_clone"
    assert run(there, "box", "cat", path) == (0, "0\n")


def test_memory_runs_out_for_containers_first(there: Containers, box: Container) -> None:
    """A container does not inherit containerd's protection, and cannot get it back."""
    adjust = "cat /proc/1/oom_score_adj; echo 0 2>/dev/null > /proc/1/oom_score_adj"

    assert run(there, "box", "sh", "-c", adjust) == (1, "100\n")


def test_no_mount_hides_another(there: Containers) -> None:
    """Volumes inside of each other and over /etc, in the wrong order: all are there."""
    volumes = tuple(
        Volume(source=source, target=target)
        for source, target in (("inner", "/x/y"), ("config", "/etc"), ("outer", "/x"))
    )
    there.run(RunRequest(image=BUSYBOX, name="mounts", volumes=volumes))
    script = "cat /etc/resolv.conf /etc/hosts >/dev/null; awk '{print $2}' /proc/mounts"

    code, mounts = run(there, "mounts", "sh", "-ec", script)
    there.remove("mounts", force=True)

    places = [line for line in mounts.splitlines() if line.startswith(("/x", "/etc"))]
    assert code == 0
    assert places == ["/etc", "/x", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/x/y"]


def test_a_container_that_has_ended_does_not_keep_its_port(there: Containers) -> None:
    """Its exit code stays known, and it cannot take the port back from whoever has it then."""
    ports = (Port(host=9401, container=80),)
    there.run(RunRequest(image=BUSYBOX, name="job", command=("busybox", "true"), ports=ports))
    assert list(there.logs("job", follow=True)) == []

    there.run(RunRequest(image=BUSYBOX, name="next", ports=ports))

    assert (there.inspect("job").state, there.inspect("job").exit_code) == ("exited", 0)
    with pytest.raises(UserError, match="port 9401/tcp leads to container 'next' already"):
        there.start("job")
    for name in ("job", "next"):
        there.remove(name, force=True)


def test_users_of_the_machine_are_for_those_who_ask(there: Containers, box: Container) -> None:
    """What they own in a shared volume is out of reach for a container with its own."""
    shared = Volume(source="kept", target="/kept")
    made = there.run(RunRequest(image=BUSYBOX, name="plain", userns="host", volumes=(shared,)))
    script = "echo secret > /kept/theirs; chmod 600 /kept/theirs; chown 70000:70000 /kept/theirs"
    assert run(there, "plain", "sh", "-ec", script) == (0, "")
    assert run(there, "plain", "cat", "/proc/self/uid_map") == (
        0,
        "         0          0 4294967295\n",
    )
    there.remove("plain", force=True)

    assert (made.userns, made.first_user) == ("host", None)
    assert run(there, "box", "stat", "-c", "%u", "/kept/theirs") == (0, "65534\n")
    for attack in ("cat", "chown 0", "chmod 644", "truncate -s 0"):
        code, said = run(there, "box", "sh", "-c", f"{attack} /kept/theirs")
        assert code != 0, said
    with pytest.raises(UserError, match="has numbers up to 65535, not 70000"):
        there.run(RunRequest(image=BUSYBOX, user="70000"))


def test_a_new_volume_is_like_the_image_there(there: Containers) -> None:
    """Owner and mode come from the image, so who may write there may write to the volume."""
    request = RunRequest(
        image=BUSYBOX, name="scratch", user="web", volumes=(Volume(source="new", target="/tmp"),)
    )
    there.run(request)

    assert run(there, "scratch", "sh", "-c", "echo mine > /tmp/file; stat -c %a:%u /tmp /tmp/file") == (
        0, "1777:0\n644:10001\n",
    )  # fmt: skip
    there.remove("scratch", force=True)


@pytest.mark.parametrize("call", programs.CALLS)
def test_no_way_leads_to_the_hypervisor(there: Containers, box: Container, call: str) -> None:
    """AF_VSOCK is refused in each of the ways that the processor has to make a system call."""
    program = base64.b64encode(programs.socket(call, family=programs.AF_VSOCK)).decode()
    code, said = run(there, "box", "sh", "-c", f"echo {program} | base64 -d > /s; chmod +x /s; /s")

    assert code != 0, said


def test_the_program_that_asks_for_sockets_gets_others(there: Containers, box: Container) -> None:
    """Or the test above would prove nothing."""
    program = base64.b64encode(programs.socket("64", family=programs.AF_INET)).decode()

    script = f"echo {program} | base64 -d > /s; chmod +x /s; /s"
    assert run(there, "box", "sh", "-c", script) == (0, "")


def test_exec_passes_on_users_codes_and_streams(there: Containers, box: Container) -> None:
    """The exit code comes back; a user is looked up in the image; unknown ones are refused."""
    assert run(there, "box", "sh", "-c", "exit 42") == (42, "")
    assert run(there, "box", "id", "-u", user="web") == (0, "10001\n")
    with pytest.raises(UserError, match="the image has no user 'nobody'"):
        run(there, "box", "id", user="nobody")
    with pytest.raises(BulkheadError, match="there is no container 'bxo'"):
        run(there, "bxo", "id")


def test_wrong_requests_say_why(there: Containers, box: Container) -> None:
    """A taken name, a taken port, an unknown container; nothing is left of what failed."""
    before = {container.name for container in there.list_containers()}

    with pytest.raises(Conflict, match="there is a container 'box' already"):
        there.run(RunRequest(image=BUSYBOX, name="box"))
    with pytest.raises(UserError, match="leads to container 'demo' already"):
        there.run(RunRequest(image=BUSYBOX, ports=(Port(host=WEB, container=1),)))
    with pytest.raises(BulkheadError, match="nothing"):
        there.run(RunRequest(image=BUSYBOX, entrypoint=("/nothing",)))
    with pytest.raises(UserError, match="may not be given to a container"):
        there.run(RunRequest(image=BUSYBOX, volumes=(Volume(source="/etc", target="/x"),)))
    with pytest.raises(Missing, match="there is no container 'nobody'"):
        there.inspect("nobody")

    assert {container.name for container in there.list_containers()} == before


def test_everything_that_should_run_does_after_a_restart(vm: VM, there: Containers) -> None:
    """Address, port and volume are there again; what was stopped stays stopped."""
    run(there, "box", "sh", "-c", "echo kept > /kept/file")
    there.run(RunRequest(image=BUSYBOX, name="stopped", restart=Restart(policy="always")))
    there.stop("stopped", timeout_s=0.5)
    before = {container.name: container.first_user for container in there.list_containers()}

    vm.power_off()
    vm.start()
    vm.wait_until_ready()

    wait_for_page(vm)
    states = {container.name: container.state for container in reach(vm).list_containers()}
    assert states["demo"] == "running"
    assert states["stopped"] == "exited"
    again = reach(vm)
    again.start("box")
    assert {c.name: c.first_user for c in again.list_containers()} == before
    assert run(again, "box", "cat", "/kept/file") == (0, "kept\n")
    again.remove("box", force=True)
    again.remove("demo", force=True)
    assert "demo" not in {container.name for container in again.list_containers()}
    with pytest.raises(OSError, match=r"reset|refused|timed out|closed"):
        page(vm, timeout_s=30)


def wait_for_page(vm: VM) -> None:
    """Ask until the page comes: a started program is not yet a listening one."""
    last: OSError | None = None
    for _ in range(200):
        try:
            assert b"Welcome to nginx!" in page(vm)
        except OSError as error:
            last = error
            time.sleep(0.2)  # QEMU's end of the port answers at once, whatever the guest does
            continue
        return
    raise AssertionError("the demo does not answer") from last
