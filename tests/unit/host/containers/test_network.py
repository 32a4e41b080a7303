"""The network program: the rules and files that it writes, and what it takes back."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from bulkhead.host.containers import network, nft, records, requests
from bulkhead.host.containers.bridge import Bridge
from bulkhead.host.containers.given import Given
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Record
from bulkhead.model.containers import Port, RunRequest
from bulkhead.model.errors import HostError


def record(name: str) -> Record:
    """Make a record of a container with one port."""
    request = RunRequest(image="x", ports=(Port(host=8080, container=80),))
    return Record(name=name, image="x", request=request, created="2026-01-01T00:00:00Z")


def places(tmp_path: Path) -> Places:
    """Put everything below a directory of the test's."""
    return Places(
        records=tmp_path / "records",
        networks=tmp_path / "networks",
        namespaces=tmp_path / "netns",
        resolvers=(tmp_path / "resolv.conf",),
    )


def test_published_ports_are_elements_of_maps() -> None:
    """Numbers and addresses only, in the form nft reads."""
    ports = (
        Port(host=8080, container=80),
        Port(host=53, container=5353, protocol="udp", address="10.0.0.1"),
    )

    assert nft.publish(ports, "10.88.0.5") == (
        "add element inet bulkhead-containers ports { tcp . 8080 : 10.88.0.5 . 80 }\n"
        "add element inet bulkhead-containers ports-at { 10.0.0.1 . udp . 53 : 10.88.0.5 . 5353 }\n"
    )
    assert nft.withdraw(ports) == [
        "delete element inet bulkhead-containers ports { tcp . 8080 }\n",
        "delete element inet bulkhead-containers ports-at { 10.0.0.1 . udp . 53 }\n",
    ]


def test_only_published_ports_are_forwarded_to_containers() -> None:
    """A neighbour that knows a container's address must not get to its other ports."""
    rule = "add rule inet bulkhead-containers forward "
    rules = [line for line in nft.ruleset("10.88.0.0/16").splitlines() if line.startswith(rule)]

    assert [line.removeprefix(rule) for line in rules] == [
        'iifname "bulkhead0" accept',
        'oifname "bulkhead0" ct state established,related accept',
        'oifname "bulkhead0" ct status dnat accept',
        'oifname "bulkhead0" drop',
    ]


def test_containers_get_name_servers_that_they_can_reach(tmp_path: Path) -> None:
    """The machine's own resolver on 127.0.0.53 is not one of them."""
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    real.write_text("# comment\nnameserver 192.0.2.1\nnameserver ::1\nnameserver 2001:db8::1\n")

    found = network.name_servers((tmp_path / "missing", stub, real))

    assert found == ("192.0.2.1", "2001:db8::1")


def test_files_of_a_container_keep_their_inode(tmp_path: Path) -> None:
    """They are bound into it: a replaced file would not be seen there."""
    where = places(tmp_path)
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    network.write_files(where, record("web"), "10.88.0.2")
    hosts = where.files("web") / "hosts"
    inode = hosts.stat().st_ino

    network.write_files(where, record("web"), "10.88.0.3")

    assert hosts.stat().st_ino == inode
    assert hosts.read_text().splitlines()[-1] == "10.88.0.3 web"
    assert (where.files("web") / "resolv.conf").read_text() == "nameserver 192.0.2.1\n"


def test_a_file_that_cannot_be_written_is_replaced(tmp_path: Path) -> None:
    """A container's root may do to its files what it likes: it gets them again when it starts."""
    where = places(tmp_path)
    network.write_files(where, record("web"), "10.88.0.2")
    hosts, hostname = where.files("web") / "hosts", where.files("web") / "hostname"
    shutil.copy("/bin/sleep", hosts)  # nobody can write to a program that runs: ETXTBSY
    hosts.chmod(0o755)
    (tmp_path / "other").write_text("other\n")
    hostname.unlink()
    hostname.symlink_to(tmp_path / "other")

    with subprocess.Popen([hosts, "10"]) as running:
        network.write_files(where, record("web"), "10.88.0.3")
        running.kill()

    assert hosts.read_text().splitlines()[-1] == "10.88.0.3 web"
    assert stat.S_IMODE(hosts.stat().st_mode) == 0o644
    assert (hostname.read_text(), hostname.is_symlink()) == ("web\n", False)
    assert (tmp_path / "other").read_text() == "other\n"


def test_files_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    """The error names the container's directory."""
    where = places(tmp_path)
    where.records.write_text("no directory")

    with pytest.raises(
        HostError, match=r"web\.files: cannot write the files of a container: Not a"
    ):
        network.write_files(where, record("web"), "10.88.0.2")


def test_a_container_that_fails_keeps_no_other_from_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart, whatever is wrong with one is told at the end."""
    where = places(tmp_path)
    monkeypatch.setattr(network, "is_mounted", lambda _: True)
    for name in ("bad", "web"):
        where.records.mkdir(exist_ok=True)
        records.save(where.records, record(name))
    (where.networks / "bad.json").mkdir(parents=True)  # an OSError, whoever reads it
    given = Given(address="10.88.0.3")
    (where.networks / "web.json").write_bytes(msgspec.json.encode(given))

    assert network.Network(where).restore() == (["web"], ["bad"])
    assert (where.files("web") / "hostname").read_text() == "web\n"


def test_name_servers_of_before_stay_while_the_machine_has_none(tmp_path: Path) -> None:
    """A container that is restored early in a boot keeps the name servers that it had."""
    where = places(tmp_path)
    where.resolvers[0].write_text("nameserver 192.0.2.53\n")
    network.write_files(where, record("web"), "10.88.0.2")
    where.resolvers[0].unlink()

    network.write_files(where, record("web"), "10.88.0.2")

    assert (where.files("web") / "resolv.conf").read_text() == "nameserver 192.0.2.53\n"


def test_a_name_that_looks_like_a_record_hides_none(tmp_path: Path) -> None:
    """The files of a container `web.json` are not where the record of `web` would be."""
    where = places(tmp_path)
    where.records.mkdir()

    network.write_files(where, record("web.json"), "10.88.0.2")
    records.save(where.records, record("web.json"))

    assert records.names(where.records) == ["web.json"]


def test_only_ports_that_were_given_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port of a stopped container may be another's by the time the first is removed."""
    where = places(tmp_path)
    where.networks.mkdir()
    commands: list[str] = []
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(nft, "apply", commands.append)
    monkeypatch.setattr(Bridge, "detach", lambda _, name: None)
    monkeypatch.setattr(requests, "ask", lambda *what: asked.append(what[1:]))
    served = network.Network(where)
    ports = record("web").request.ports
    given = Given(address="10.88.0.2", ports=ports)
    (where.networks / "web.json").write_bytes(msgspec.json.encode(given))

    served.detach("web")
    served.detach("web")

    assert commands == nft.withdraw(ports)
    assert asked == [("remove", "web")] * 2


def test_records_survive_and_damage_is_told(tmp_path: Path) -> None:
    """A record is read back as it was; a broken one is an error that names the file."""
    records.save(tmp_path, record("web"))

    assert records.load(tmp_path, "web") == record("web")
    assert records.names(tmp_path) == ["web"]
    assert records.load(tmp_path, "other") is None
    (tmp_path / "web.json").rename(tmp_path / "web2.json")
    with pytest.raises(HostError, match=r"web2\.json: is the record of another container, 'web'"):
        records.load(tmp_path, "web2")
    records.forget(tmp_path, "web2")
    (tmp_path / "web.json").write_text("{")
    with pytest.raises(HostError, match=r"web\.json: the record of a container cannot be read"):
        records.load(tmp_path, "web")
    records.forget(tmp_path, "web")
    assert records.names(tmp_path) == []
