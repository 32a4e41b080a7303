"""Containers with users of their own: which numbers, which files, which mounts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.host.containers import filling, kernel, namespaces, records, rootfs, roots, users
from bulkhead.host.containers.accounts import Identity
from bulkhead.host.containers.messages import Mount
from bulkhead.host.containers.places import Places
from bulkhead.host.containers.records import Layers, Record
from bulkhead.host.containers.sandboxes import Sandboxes
from bulkhead.model.containers import RunRequest, Volume
from bulkhead.model.errors import HostError, UserError

SNAPSHOTS = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
GOOD = Layers(
    lower=(f"{SNAPSHOTS}/2/fs", f"{SNAPSHOTS}/1/fs"),
    upper=f"{SNAPSHOTS}/3/fs",
    work=f"{SNAPSHOTS}/3/work",
    options=("index=off",),
)


@given(st.sets(st.integers(0, 50).map(lambda n: users.FIRST + n * users.COUNT)))
def test_no_two_containers_share_a_number(taken: set[int]) -> None:
    """A range is new, whole, and the lowest that is free; a removed one's can be given again."""
    first = users.choose(taken)

    assert first not in taken
    assert users.is_first(first)
    assert set(range(users.FIRST, first, users.COUNT)) <= taken


def test_ranges_end() -> None:
    """Numbers beyond those that systemd keeps free for containers are never given out."""
    end = 1_879_048_191 + 1
    last = end - users.COUNT

    assert users.choose(range(users.FIRST, last, users.COUNT)) == last
    with pytest.raises(HostError, match="all ranges of user numbers are in use"):
        users.choose(range(users.FIRST, end, users.COUNT))
    for wrong in (0, 65536, users.FIRST + 1, end, 1 << 31, -users.COUNT):
        assert not users.is_first(wrong)


@pytest.mark.parametrize(
    "identity", [Identity(uid=65536), Identity(gid=70000), Identity(groups=(1, 1 << 20))]
)
def test_a_user_beyond_the_range_is_refused(identity: Identity) -> None:
    """The runtime would fail later, with a number instead of a reason."""
    with pytest.raises(UserError, match=r"numbers up to 65535, not \d+\n.*--userns host"):
        users.check(identity)
    users.check(Identity(uid=65535, gid=65535, groups=(65535,)))


def test_reads_what_containerd_says_of_a_snapshot() -> None:
    """The options of its overlay become directories; other kinds of snapshots are refused."""
    options = ["index=off", "userxattr", f"workdir={GOOD.work}", f"upperdir={GOOD.upper}"]
    mount = Mount(
        type="overlay", source="overlay", options=[*options, f"lowerdir={':'.join(GOOD.lower)}"]
    )

    assert rootfs.overlay([mount]) == GOOD
    for wrong in ([], [mount, mount], [Mount(type="bind", source="/x", options=["rbind"])]):
        with pytest.raises(HostError, match="is not an overlay of layers"):
            rootfs.overlay(wrong)


@pytest.mark.parametrize(
    "changed",
    [
        {"lower": ("/etc",)},
        {"lower": (f"{SNAPSHOTS}/1/fs", f"{SNAPSHOTS}/../../../bulkhead/fs")},
        {"lower": (f"{SNAPSHOTS}/1/fs/..",)},
        {"lower": (f"{SNAPSHOTS}/1/fs\n",)},
        {"lower": (f"{SNAPSHOTS}/1/work",)},
        {"lower": ()},
        {"upper": "/"},
        {"upper": f"{SNAPSHOTS}/3/work"},
        {"upper": f"{SNAPSHOTS}/4/fs"},
        {"work": f"{SNAPSHOTS}/3/fs"},
        {"options": ("lowerdir+=/etc",)},
        {"options": ("index=off", "upperdir=/etc")},
    ],
)
def test_a_record_cannot_have_something_else_mounted(changed: dict[str, object]) -> None:
    """The program that mounts has privileges, the one that writes records has none."""
    roots.check(GOOD, Path(SNAPSHOTS))
    with pytest.raises(HostError, match=r"is no (directory of a snapshot|option)|is not a whole"):
        roots.check(msgspec.structs.replace(GOOD, **changed), Path(SNAPSHOTS))


@pytest.mark.parametrize(
    ("first", "layers"), [(0, GOOD), (1000, GOOD), (users.FIRST, None), (1 << 31, GOOD)]
)
def test_a_record_cannot_give_users_of_the_machine(
    tmp_path: Path, first: int, layers: Layers | None
) -> None:
    """Only ranges for containers are given out; before that, nothing is made."""
    record = Record(
        name="web", image="x", request=RunRequest(image="x"), created="", users=first, layers=layers
    )
    places = Places(records=tmp_path, namespaces=tmp_path / "netns", sandboxes=tmp_path / "own")
    records.save(tmp_path, record)

    with pytest.raises(HostError, match="does not say how to make its root"):
        Sandboxes(places).make("web")
    if layers is not None:
        with pytest.raises(HostError, match="its users are not those of a container"):
            namespaces.for_container(places, "web")
    assert [path.name for path in tmp_path.iterdir()] == ["web.json"]


def test_containers_of_before_keep_the_users_that_they_had(tmp_path: Path) -> None:
    """Their records do not say; what a newer version says beside is ignored."""
    old = {"format": 1, "name": "web", "image": "x", "created": "", "request": {"image": "x"}}
    (tmp_path / "web.json").write_bytes(msgspec.json.encode(old | {"new": 1}))

    found = records.require(tmp_path, "web")

    assert (found.users, found.layers) == (None, None)


def test_links_of_an_image_lead_nowhere_but_into_it(tmp_path: Path) -> None:
    """Where a volume is filled from is the image's to say, and only within the image."""
    root = tmp_path / "root"
    (root / "data" / "etc").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    for name, target in (("up", "../../etc"), ("top", "/etc"), ("in", "/data"), ("loop", "loop")):
        (root / name).symlink_to(target)
    (root / "file").touch()
    descriptor = os.open(root, os.O_RDONLY)

    inside = kernel.open_directory_inside(descriptor, "/in/etc")
    assert os.path.samestat(os.fstat(inside), (root / "data" / "etc").stat())
    for path in ("up", "/top", "/loop", "/file", "/../etc", "../../etc", "none"):
        with pytest.raises(OSError, match=r"No such file|Not a directory|Too many levels"):
            kernel.open_directory_inside(descriptor, path)


def test_a_volume_gets_what_the_image_has_there(tmp_path: Path) -> None:
    """Modes, times, links as links; what is neither file, directory nor link is left out."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "file").write_text("text")
    (source / "deep" / "er").chmod(0o1730)
    (source / "deep" / "er" / "file").chmod(0o640)
    (source / "link").symlink_to("/etc/passwd")
    (source / "linked").symlink_to("deep", target_is_directory=True)
    os.mkfifo(source / "pipe")
    os.utime(source / "deep" / "er" / "file", ns=(5, 7_000_000_001))
    source.chmod(0o777)
    target.mkdir()

    filling.copy(source, target)

    found = {str(path.relative_to(target)): path.lstat() for path in target.rglob("*")}
    assert sorted(found) == ["deep", "deep/er", "deep/er/file", "link", "linked"]
    assert (target / "link").readlink() == Path("/etc/passwd")
    assert (target / "linked").readlink() == Path("deep")
    assert stat.S_IMODE(target.stat().st_mode) == 0o777
    assert stat.S_IMODE(found["deep/er"].st_mode) == 0o1730
    assert stat.S_IMODE(found["deep/er/file"].st_mode) == 0o640
    assert found["deep/er/file"].st_mtime_ns == 7_000_000_001
    assert (target / "deep" / "er" / "file").read_text() == "text"


def test_a_volume_at_two_places_is_made_once(tmp_path: Path) -> None:
    """It gets what the image has at the first of them."""
    for place in ("a", "b"):
        (tmp_path / "image" / place).mkdir(parents=True)
        (tmp_path / "image" / place / f"of-{place}").touch()
    places = (("data", "/a"), ("other", "/b"), ("data", "/b"))
    volumes = tuple(Volume(source=source, target=target) for source, target in places)
    request = RunRequest(image="x", volumes=volumes)
    record = Record(name="web", image="x", request=request, created="")
    image = os.open(tmp_path / "image", os.O_RDONLY)

    filling.fill(record, image, directory=tmp_path / "volumes")

    os.close(image)
    made = sorted((tmp_path / "volumes").rglob("*"))
    assert [str(path.relative_to(tmp_path / "volumes")) for path in made] == [
        "data", "data/of-a", "other", "other/of-b",
    ]  # fmt: skip


def test_the_kernel_says_why_an_overlay_cannot_be() -> None:
    """A number alone would not help anybody."""
    with pytest.raises(OSError, match=r"fsopen|fsconfig: .*nonsense"):
        kernel.overlay([("source", "overlay"), ("nonsense", "1")])
