"""Looking users up in images that lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bulkhead.host.containers import accounts, rootfs, volumes
from bulkhead.host.containers.accounts import Identity
from bulkhead.host.containers.messages import Mount
from bulkhead.host.containers.places import Places
from bulkhead.model.containers import Volume, parse_volume
from bulkhead.model.errors import UserError

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/srv:/bin/false\nbroken\n"
GROUP = "root:x:0:\nweb:x:33:\nlogs:x:50:web,other\nnone:x:51:\n"


def files(path: str) -> str:
    """Read a file of the image."""
    return {"etc/passwd": PASSWD, "etc/group": GROUP}[path]


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("", Identity(home="/root")),
        ("web", Identity(uid=33, gid=33, groups=(50,), home="/srv")),
        ("33", Identity(uid=33, gid=33, groups=(50,), home="/srv")),
        ("web:logs", Identity(uid=33, gid=50, home="/srv")),
        ("1000", Identity(uid=1000)),
        ("1000:1001", Identity(uid=1000, gid=1001)),
    ],
)
def test_resolves_users(text: str, identity: Identity) -> None:
    """Names come from the image, numbers work without it."""
    assert accounts.identify(text, files) == identity


@pytest.mark.parametrize("text", ["nobody", "web:nobody", "4294967296", "-1", "0:4294967296", "²"])
def test_refuses_unknown_users(text: str) -> None:
    """A name that the image has not, a number that the kernel has not."""
    with pytest.raises(UserError):
        accounts.identify(text, files)


def _layer(tmp_path: Path, name: str) -> Path:
    root = tmp_path / name
    (root / "etc").mkdir(parents=True)
    return root


def test_reads_the_topmost_layer(tmp_path: Path) -> None:
    """Upper layers hide lower ones."""
    top, bottom = _layer(tmp_path, "top"), _layer(tmp_path, "bottom")
    (bottom / "etc/passwd").write_text("old")
    (bottom / "etc/group").write_text("group")
    (top / "etc/passwd").write_text("new")
    mount = Mount(type="overlay", options=[f"lowerdir={bottom}", f"upperdir={top}", "workdir=/w"])

    roots = rootfs.layers([mount])

    assert roots == [top, bottom]
    assert rootfs.read(roots, "etc/passwd", limit=100) == "new"
    assert rootfs.read(roots, "etc/group", limit=3) == "gro"
    assert rootfs.read(roots, "etc/shadow", limit=100) == ""


@pytest.mark.parametrize("trap", ["file", "directory", "fifo"])
def test_follows_no_link_out_of_the_image(tmp_path: Path, trap: str) -> None:
    """Links, and pipes that would block, are not read."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "passwd").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    if trap == "directory":
        (root / "etc").symlink_to(secret)
    else:
        (root / "etc").mkdir()
        if trap == "file":
            (root / "etc/passwd").symlink_to(secret / "passwd")
        else:
            os.mkfifo(root / "etc/passwd")

    assert rootfs.read([root], "etc/passwd", limit=100) == ""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Put volumes below a directory of the test's."""
    (tmp_path / "shared/web").mkdir(parents=True)
    return Places(volumes=tmp_path / "volumes", shared=(tmp_path / "shared",))


def test_named_volumes_are_directories(places: Places) -> None:
    """A name is a directory of its own."""
    (bind,) = volumes.binds((Volume(source="data", target="/data", read_only=True),), places)

    assert (bind.source, bind.target, bind.read_only) == (
        str(places.volumes / "data"),
        "/data",
        True,
    )


@pytest.mark.parametrize("source", ["/", "/etc", "/var/lib/bulkhead", "../x", "a/b", "", "Data"])
def test_other_directories_of_the_machine_are_refused(places: Places, source: str) -> None:
    """Only volumes and what is meant to be shared."""
    with pytest.raises(UserError):
        volumes.binds((Volume(source=source, target="/x"),), places)


def test_a_link_out_of_the_shared_directory_is_refused(places: Places) -> None:
    """Where it really leads counts."""
    (places.shared[0] / "out").symlink_to("/etc")

    with pytest.raises(UserError, match="may not be given to a container"):
        volumes.binds((Volume(source=str(places.shared[0] / "out"), target="/x"),), places)
    (allowed,) = volumes.binds((Volume(source=str(places.shared[0] / "web"), target="/x"),), places)
    assert allowed.source == str(places.shared[0] / "web")


def test_a_directory_within_a_shared_one_is_refused(places: Places) -> None:
    """A container with the outer one could make the inner one a link before the next start."""
    (places.shared[0] / "web/inner").mkdir()

    for source in (places.shared[0], places.shared[0] / "web/inner", places.volumes):
        with pytest.raises(UserError, match="may not be given to a container"):
            volumes.binds((Volume(source=str(source), target="/x"),), places)


@pytest.mark.parametrize(
    "target",
    ["/", "x", "/proc", "/sys/fs/cgroup", "/dev/../dev/shm", "/x/..", "//", "//proc", "//dev/shm"],
)
def test_a_volume_cannot_hide_the_kernels_file_systems(places: Places, target: str) -> None:
    """Not the root, not /proc, /sys or /dev."""
    with pytest.raises(UserError, match="a volume cannot be at"):
        volumes.binds((Volume(source="data", target=target),), places)


def test_a_volume_wins_over_files_of_bulkheads(tmp_path: Path) -> None:
    """And nothing is made in one that is read-only, to mount a file over it."""
    places = Places(volumes=tmp_path / "volumes", records=tmp_path / "records")
    ours = volumes.system_binds("web", places)

    def found(*asked: str) -> list[str]:
        wanted = volumes.binds(tuple(parse_volume(text) for text in asked), places)
        return [bind.target for bind in volumes.together(ours, wanted)]

    files = ["/etc/resolv.conf", "/etc/hosts", "/etc/hostname"]
    assert found("e:/etc") == [*files, "/etc"]
    assert found("e:/etc:ro", "f:/etcetera:ro") == ["/etc", "/etcetera"]
    assert found("h:/etc/hosts") == files
    with pytest.raises(UserError, match="two volumes cannot both be at '/x'"):
        found("a:/x", "b:/x/.")
