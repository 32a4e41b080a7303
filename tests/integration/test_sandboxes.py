"""The programs that make sandboxes, together and for real, on a stage of mounts and namespaces.

What a packet filter does is left out: test_firewall.py and booted machines show that.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bulkhead.host.containers import bridge as bridges
from bulkhead.host.containers import filling, kernel, namespaces, netlink, nft, records, users
from bulkhead.host.containers.netlink import Netlink
from bulkhead.host.containers.network import Network
from bulkhead.host.containers.places import Places, is_mounted
from bulkhead.host.containers.records import Layers, Record
from bulkhead.host.containers.requests import Action, Reply
from bulkhead.host.containers.sandboxes import Sandboxes, show_on_machine
from bulkhead.model.containers import RunRequest, Volume
from bulkhead.model.errors import HostError
from tests.support import apart

pytestmark = pytest.mark.timeout(120)

FIRST = users.FIRST + 5 * users.COUNT


def set_up(base: Path) -> Places:
    """Make directories as on a node, with an image of two layers and a snapshot of it."""
    places = Places(
        records=base / "records", volumes=base / "volumes", shared=(),
        networks=base / "networks", namespaces=base / "run" / "netns",
        sandboxes=base / "run" / "sandboxes", snapshots=base / "snapshots",
        staging=base / "staging", sandbox=base / "sandboxes.sock",
        making=base / "namespaces.sock", filling=base / "volumes.sock", resolvers=(),
    )  # fmt: skip
    apart.share(base / "run")
    for path in (
        places.records, places.namespaces, places.sandboxes, places.staging, places.volumes,
    ):  # fmt: skip
        path.mkdir()
    for number in (1, 2, 3):
        (places.snapshots / str(number) / "fs").mkdir(parents=True)
        (places.snapshots / str(number) / "work").mkdir()
    below, above = (places.snapshots / number / "fs" for number in ("1", "2"))
    for path in (below / "data", below / "gone", above / "gone"):
        path.mkdir()
    (below / "data" / "file").write_text("text")
    os.chown(below / "data" / "file", 33, 34)
    (below / "data").chmod(0o2770)
    (below / "gone" / "old").touch()
    os.setxattr(above / "gone", "trusted.overlay.opaque", b"y")
    (above / "out").symlink_to(base / "records")
    return places


def record(
    places: Places, name: str = "web", *, own: bool = True, volumes: tuple[Volume, ...] = ()
) -> None:
    """Write the record of a container."""
    snapshots = places.snapshots
    layers = Layers(
        lower=(f"{snapshots}/2/fs", f"{snapshots}/1/fs"),
        upper=f"{snapshots}/3/fs", work=f"{snapshots}/3/work", options=("index=off",),
    )  # fmt: skip
    request = RunRequest(image="x", volumes=volumes)
    records.save(
        places.records,
        Record(
            name=name, image="x", request=request, created="",
            users=FIRST if own else None, layers=layers,
        ),
    )  # fmt: skip


def sandboxes(places: Places) -> Callable[[int], Mapping[str, Action]]:
    """Return what the sandbox program does when it has started."""
    served = Sandboxes(places)

    def remove(name: str, _: Sequence[int]) -> Reply:
        served.remove(name)
        return Reply()

    def prepare(machine: int) -> Mapping[str, Action]:
        show_on_machine((places.namespaces, places.sandboxes), machine)
        return {
            "make": lambda name, _: Reply(descriptors=served.make(name)),
            "image": lambda name, _: Reply(descriptors=(served.image(name),)),
            "remove": remove,
        }

    return prepare


@contextmanager
def others(places: Places) -> Iterator[None]:
    """Run the programs that make namespaces and volumes, and leave the packet filter out."""

    def make(name: str, _: Sequence[int]) -> Reply:
        made = namespaces.for_container(places, name)
        return Reply(descriptors=(made.users, made.network, made.control))

    def fill(name: str, descriptors: Sequence[int]) -> Reply:
        found = records.require(places.records, name)
        filling.fill(found, descriptors[0], directory=places.volumes)
        return Reply()

    nft.apply = lambda commands: None
    with (
        apart.program(places.making, lambda _: {"make": make}),
        apart.program(places.filling, lambda _: {"fill": fill}),
    ):
        yield


def seen_in(namespace: Path) -> list[str]:
    """Return interfaces, addresses and routes of a network namespace, as a program in it sees them."""
    script = "cd /sys/class/net; cat /proc/net/fib_trie /proc/net/route /proc/net/dev"
    done = subprocess.run(
        ["nsenter", f"--net={namespace}", "sh", "-c", script], capture_output=True, check=True
    )
    return done.stdout.decode().split()


def test_a_container_gets_namespaces_a_root_and_an_interface(tmp_path: Path) -> None:
    """They are seen on the machine; files have the container's numbers; all of it goes again."""

    def play() -> dict[str, object]:
        places = set_up(tmp_path)
        record(places)
        network = Network(places)
        with others(places), apart.program(places.sandbox, sandboxes(places)):
            address = network.attach("web")
            again = network.attach("web")
            root = places.root("web")
            file = (root / "data" / "file").stat()
            (root / "new").touch()
            (root / "data" / "file").chmod(0o600)
            words = seen_in(places.namespace("web"))
            facts: dict[str, object] = {
                "addresses": (address, again),
                "pins": (is_mounted(places.namespace("web")), is_mounted(places.users("web"))),
                "root": is_mounted(root),
                "file": (file.st_uid - FIRST, file.st_gid - FIRST),
                "opaque": list((root / "gone").iterdir()),
                "upper": (places.snapshots / "3" / "fs" / "data" / "file").stat().st_uid - FIRST,
                "closed": stat.S_IMODE(root.parent.stat().st_mode),
                "inside": {"10.88.0.2", "127.0.0.1", "eth0:", "lo:"} <= set(words),
                "way out": "0100580A" in words,  # 10.88.0.1, as the kernel writes it
            }
            with netlink.open_here() as here:
                port = Netlink(here).index(bridges.port("web"))
                hairpin = Path(f"/sys/class/net/{bridges.port('web')}/brport/hairpin_mode")
                facts["port"] = port > 1 and (hairpin.read_text() if hairpin.exists() else "1\n")
            network.detach("web")
            network.detach("web")
            facts["left"] = [
                *places.namespaces.iterdir(), *places.sandboxes.iterdir(),
                *places.networks.glob("*.json"),
            ]  # fmt: skip
            facts["next"] = network.attach("web")
        return facts

    assert apart.stage(play) == {
        "addresses": ("10.88.0.2", "10.88.0.2"), "pins": (True, True), "root": True,
        "file": (33, 34), "opaque": [], "upper": 33, "closed": 0o710, "inside": True,
        "way out": True, "port": "1\n", "left": [], "next": "10.88.0.3",
    }  # fmt: skip


def test_another_instance_takes_back_what_the_last_one_made(tmp_path: Path) -> None:
    """The program ends when nobody asks; what it mounted stays until the next one is told."""

    def play() -> dict[str, object]:
        places = set_up(tmp_path)
        record(places)
        network = Network(places)
        with others(places):
            with apart.program(places.sandbox, sandboxes(places)):
                network.attach("web")
            stays = is_mounted(places.root("web")) and is_mounted(places.namespace("web"))
            with apart.program(places.sandbox, sandboxes(places)):
                network.detach("web")
        left = [*places.namespaces.iterdir(), *places.sandboxes.iterdir()]
        return {"stays": stays, "left": left}

    assert apart.stage(play) == {"stays": True, "left": []}


def test_with_the_machines_users_a_container_has_a_network_too(tmp_path: Path) -> None:
    """Its network namespace belongs to a user namespace without numbers, where root of the machine is root."""

    def play() -> dict[str, object]:
        places = set_up(tmp_path)
        record(places, own=False)
        with others(places), apart.program(places.sandbox, sandboxes(places)):
            address = Network(places).attach("web")
        words = seen_in(places.namespace("web"))
        return {"address": address in words, "own": list(places.sandboxes.iterdir())}

    assert apart.stage(play) == {"address": True, "own": []}


def test_mounts_appear_on_the_machine_at_two_places_only(tmp_path: Path) -> None:
    """After its start the program cannot enter the machine's mount namespace again."""

    def play() -> dict[str, object]:
        places = set_up(tmp_path)
        (tmp_path / "run" / "elsewhere").mkdir()

        def attack(machine: int) -> Reply:
            for place in (tmp_path / "run" / "elsewhere", places.records, places.namespaces):
                kernel.scratch(place)
            try:
                kernel.enter(machine, kernel.NEW_MOUNTS)
            except OSError as error:
                return Reply(address=error.strerror)
            return Reply(address="entered")

        def prepare(machine: int) -> Mapping[str, Action]:
            kept = os.dup(machine)
            sandboxes(places)(machine)
            return {"attack": lambda *_: attack(kept)}

        with apart.program(places.sandbox, prepare):
            said = ask_for_address(places.sandbox, "attack")
        return {
            "said": said,
            "mounted": [
                path.name
                for path in (tmp_path / "run" / "elsewhere", places.records, places.namespaces)
                if is_mounted(path)
            ],
        }

    assert apart.stage(play) == {"said": "setns: Operation not permitted", "mounted": ["netns"]}


def ask_for_address(path: Path, action: str) -> str:
    """Ask a program for something; return the text that it answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(json.dumps({"action": action, "name": "web"}).encode() + b"\n")
        answer = json.loads(client.makefile().readline())
    return str(answer.get("address") or answer.get("error"))


def test_volumes_are_filled_from_the_image_and_nothing_else(tmp_path: Path) -> None:
    """Owner and mode as there; a link of the image that leads out of it leads nowhere."""

    def play() -> dict[str, object]:
        places = set_up(tmp_path)
        record(places, volumes=(
            Volume(source="good", target="/data"), Volume(source="trap", target="/out"),
            Volume(source="none", target="/nothing"),
        ))  # fmt: skip
        with others(places), apart.program(places.sandbox, sandboxes(places)):
            Network(places).attach("web")
        file, directory = (places.volumes / "good" / "file").stat(), places.volumes / "good"
        return {
            "file": (file.st_uid, file.st_gid, (directory / "file").read_text()),
            "mode": stat.S_IMODE(directory.stat().st_mode),
            "all": sorted(str(p.relative_to(places.volumes)) for p in places.volumes.rglob("*")),
        }

    assert apart.stage(play) == {
        "file": (33, 34, "text"), "mode": 0o2770, "all": ["good", "good/file", "none", "trap"],
    }  # fmt: skip


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """A layer that is not there, an interface that cannot be made: as if nobody had asked."""

    def play() -> list[object]:
        places = set_up(tmp_path)
        record(places)
        said: list[object] = []
        with others(places), apart.program(places.sandbox, sandboxes(places)):
            (places.snapshots / "2").rename(places.snapshots / "9")
            with suppress_host_error(said):
                Network(places).attach("web")
            (places.snapshots / "9").rename(places.snapshots / "2")
            # Somebody else's interface has the name.
            with netlink.open_here() as here:
                kind = netlink.attribute(
                    netlink.IFLA_LINKINFO, netlink.text(netlink.IFLA_INFO_KIND, "veth")
                )
                name = netlink.text(netlink.IFLA_IFNAME, bridges.BRIDGE)
                Netlink(here).do(netlink.LINK, netlink.link(name, kind), flags=netlink.NEW)
            with suppress_host_error(said):
                Network(places).attach("web")
        left = [*places.namespaces.iterdir(), *places.sandboxes.iterdir()]
        return [*said, left, list(places.networks.glob("*.json"))]

    first, second, *left = apart.stage(play)

    assert "cannot mount the container's root: open_tree: No such file or directory" in str(first)
    assert "web: cannot make its interface: netlink: " in str(second)
    assert left == [[], []]


@contextmanager
def suppress_host_error(said: list[object]) -> Iterator[None]:
    """Note what a failure says."""
    with suppress(HostError):
        try:
            yield
        except HostError as error:
            said.append(str(error))
            raise
