"""Unpacking packages: what is in them, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkhead.build.debian import archive as ar_archive
from bulkhead.build.debian import deb
from bulkhead.build.debian.space import needs_space
from bulkhead.build.tree import Kind
from bulkhead.model.errors import BulkheadError, HostError, Untrusted
from tests.support import archive
from tests.support.archive import member


def unpack(folder: Path, data: bytes) -> deb.Package:
    """Write a package and unpack it."""
    file = folder / "x.deb"
    file.write_bytes(data)
    return deb.unpack(file, sha256=hashlib.sha256(data).hexdigest(), cache=folder / "cache")


def refusal(folder: Path, data: bytes) -> str:
    """Return why a package is refused; nothing of it may be kept."""
    with pytest.raises(Untrusted) as caught:
        unpack(folder, data)
    unpacked = folder / "cache" / "unpacked"
    assert not unpacked.exists() or list(unpacked.iterdir()) == []
    return str(caught.value)


def with_data(compressed: bytes, *, name: str = "data.tar.xz") -> bytes:
    """Return a package with these bytes as its data member."""
    control = member("./control", b"Package: x\nVersion: 1\nArchitecture: all\n")
    return archive.ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", lzma.compress(archive.tar([control]))),
            (name, compressed),
        ]
    )


def test_content_is_what_the_package_has(tmp_path: Path) -> None:
    """Paths have no leading dot; modes, owners, links and scripts are the archive's."""
    owned = member("./usr/bin/tool", b"#!", mode=0o4755)
    owned[0].uid, owned[0].gid = 7, 8
    data = archive.deb(
        "x",
        "1.2",
        members=[
            member("./usr/", kind=tarfile.DIRTYPE, mode=0o755),
            member("./usr/bin/", kind=tarfile.DIRTYPE, mode=0o755),
            owned,
            member("./usr/bin/again", kind=tarfile.LNKTYPE, link="./usr/bin/tool"),
            member("./usr/bin/link", kind=tarfile.SYMTYPE, link="tool"),
        ],
        scripts={"postinst": b"#!/bin/sh\n"},
    )

    package = unpack(tmp_path, data)

    assert (package.name, package.version) == ("x", "1.2")
    assert dict(package.scripts) == {"postinst": "#!/bin/sh\n"}
    entries = dict(package.tree.items())
    assert list(entries) == ["usr", "usr/bin", "usr/bin/again", "usr/bin/link", "usr/bin/tool"]
    tool, again = entries["usr/bin/tool"], entries["usr/bin/again"]
    assert (tool.read(), tool.mode, tool.uid, tool.gid, tool.origin) == (b"#!", 0o4755, 7, 8, "x")
    assert again.source == tool.source
    assert (entries["usr/bin/link"].kind, entries["usr/bin/link"].target) == (Kind.SYMLINK, "tool")


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_every_compression_of_deb5_is_read(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    """Members may be plain, gzip, xz or zstd."""
    data = with_data(compress(archive.tar([member("./a", b"1")])), name=f"data.tar{suffix}")

    assert unpack(tmp_path, data).tree["a"].read() == b"1"


ATTACKS = {
    "absolute path": ([member("/etc/passwd", b"x")], "leads out of the package"),
    "parent": ([member("./a/../../etc/passwd", b"x")], "leads out of the package"),
    "doubled slash": ([member("./a//b", b"x")], "leads out of the package"),
    "control character": ([member("./a\nb", b"x")], "control characters"),
    "character device": ([member("./null", kind=tarfile.CHRTYPE)], "is a device, a FIFO"),
    "block device": ([member("./disk", kind=tarfile.BLKTYPE)], "is a device, a FIFO"),
    "FIFO": ([member("./pipe", kind=tarfile.FIFOTYPE)], "is a device, a FIFO"),
    "hard link out": (
        [member("./a", kind=tarfile.LNKTYPE, link="../../etc/shadow")],
        "leads out of the package",
    ),
    "absolute hard link": (
        [member("./a", kind=tarfile.LNKTYPE, link="/etc/shadow")],
        "leads out of the package",
    ),
    "hard link to nothing": (
        [member("./a", kind=tarfile.LNKTYPE, link="./b")],
        "no file of the package",
    ),
    "hard link to a link": (
        [
            member("./b", kind=tarfile.SYMTYPE, link="/etc/shadow"),
            member("./a", kind=tarfile.LNKTYPE, link="./b"),
        ],
        "no file of the package",
    ),
    "write through a link": (
        [member("./etc", kind=tarfile.SYMTYPE, link="/etc"), member("./etc/passwd", b"x")],
        "would be written through 'etc'",
    ),
    "write through a file": (
        [member("./a", b"1"), member("./a/b", b"x")],
        "would be written through 'a'",
    ),
    "same path twice": ([member("./a", b"1"), member("./a", b"2")], "is in it twice"),
    "link over a directory": (
        [member("./a/", kind=tarfile.DIRTYPE), member("./a", kind=tarfile.SYMTYPE, link="/")],
        "is in it twice",
    ),
    "root is a link": ([member("./", kind=tarfile.SYMTYPE, link="/")], "root is not a directory"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_member_is_refused(tmp_path: Path, attack: str) -> None:
    """A member that no package may have stops everything, and nothing is kept."""
    members, reason = ATTACKS[attack]

    assert reason in refusal(tmp_path, archive.deb("x", members=members))


def test_symbolic_links_are_only_recorded(tmp_path: Path) -> None:
    """A link that points out of the package is data: nothing follows it."""
    link = member("./etc/mtab", kind=tarfile.SYMTYPE, link="../../../../proc/mounts")

    package = unpack(tmp_path, archive.deb("x", members=[link]))

    assert package.tree["etc/mtab"].target == "../../../../proc/mounts"


def encoded(name: str, encoding: str) -> bytes:
    """Return a compressed archive with a name in an encoding, as GNU tar writes it."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding=encoding
    ) as archive:
        archive.addfile(tarfile.TarInfo(name))
    return lzma.compress(out.getvalue())


def test_names_are_utf8_in_every_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine's names are Latin-1 a package's are not; what is not UTF-8 is refused."""
    monkeypatch.setattr(tarfile.TarFile, "encoding", "iso8859-1")

    assert list(unpack(tmp_path, with_data(encoded("./\xfc", "utf-8"))).tree) == ["\xfc"]
    (tmp_path / "other").mkdir()
    assert "is not UTF-8" in refusal(tmp_path / "other", with_data(encoded("./\xfc", "latin-1")))


def test_other_bytes_than_expected_are_refused(tmp_path: Path) -> None:
    """The hash is checked before anything is read."""
    (tmp_path / "x.deb").write_bytes(archive.deb("x"))

    with pytest.raises(Untrusted, match="expected 0000"):
        deb.unpack(tmp_path / "x.deb", sha256="0" * 64, cache=tmp_path / "cache")


def test_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A file that cannot be read is an error with its path."""
    with pytest.raises(HostError, match=r"x\.deb: cannot be read: No such file"):
        deb.unpack(tmp_path / "x.deb", sha256="0" * 64, cache=tmp_path / "cache")


@pytest.mark.parametrize("keep", [0, 5, 40, 70, 0.5, 0.9, 0.999])
def test_truncated_package_is_refused(tmp_path: Path, keep: float) -> None:
    """A package that ends too early is noticed wherever it ends."""
    data = archive.deb("x", files={"a": bytes(range(256)) * 50})
    cut = data[: int(keep if keep > 1 else len(data) * keep)]

    refusal(tmp_path, cut)


def test_truncated_data_archive_is_refused(tmp_path: Path) -> None:
    """A data member that is cut off inside a whole ar archive is noticed."""
    compressed = lzma.compress(archive.tar([member("./a", b"1" * 5000)]))

    assert "was refused" in refusal(tmp_path, with_data(compressed[:-20]))


def test_unknown_compression_is_refused(tmp_path: Path) -> None:
    """Only what deb(5) names is read."""
    assert "its members are" in refusal(tmp_path, with_data(b"", name="stuff.tar.xz"))
    assert f"{tmp_path}/x.deb: member 'data.tar.lz4' is compressed in an unknown way" in refusal(
        tmp_path, with_data(b"", name="data.tar.lz4")
    )


def test_control_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    """The control archive has plain files only."""
    inner = [
        member("./control", b"Package: x\nVersion: 1\nArchitecture: all\n"),
        member("./postinst", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    ]
    data = archive.ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", lzma.compress(archive.tar(inner))),
            ("data.tar.xz", lzma.compress(archive.tar([]))),
        ]
    )

    assert "is not a plain file" in refusal(tmp_path, data)


def test_package_without_name_is_refused(tmp_path: Path) -> None:
    """A control file must say what the package is."""
    data = archive.ar(
        [
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", lzma.compress(archive.tar([member("./control", b"Version: 1\n")]))),
            ("data.tar.xz", lzma.compress(archive.tar([]))),
        ]
    )

    assert "lacks Package, Version or Architecture" in refusal(tmp_path, data)


def test_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking ends at a limit, whatever the archive says about itself."""
    monkeypatch.setattr(deb, "MAX_BYTES", 1 << 20)
    members = [member(f"./{number}", b"0" * (1 << 19)) for number in range(3)]

    assert "more than 1048576 bytes" in refusal(tmp_path, archive.deb("x", members=members))


def header(kind: bytes, data: bytes = b"", *, size: int | None = None, uid: int = 0) -> bytes:
    """Return a member as it is written, which may declare another size than it has."""
    info = tarfile.TarInfo("./f")
    info.type, info.uid = kind, uid
    info.size = len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


LONG = tarfile.GNUTYPE_LONGNAME
HEADERS = {
    "names of names": (header(LONG, b"a\0") * 1200, "a name in it has too many headers"),
    "name of 1 GiB": (header(LONG, size=1 << 30), "a name in it has 1073741824 bytes"),
    "link of 1 GiB": (
        header(tarfile.GNUTYPE_LONGLINK, size=1 << 30), "a name in it has 1073741824 bytes",
    ),
    "size below zero": (header(LONG, size=-512), "has a size below zero"),
    "map of a sparse file": (header(tarfile.XHDTYPE, b"23 GNU.sparse.map=a,b\n\n"), "unknown to dpkg"),
    "size of a sparse file": (header(tarfile.XHDTYPE, b"20 GNU.sparse.size=q\n"), "unknown to dpkg"),
    "map in a sparse file": (
        header(tarfile.XHDTYPE, b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"),
        "unknown to dpkg",
    ),
    "number of 40 digits": (header(tarfile.XHDTYPE, b"48 uid=" + b"9" * 40 + b"\n"), "unknown to dpkg"),
    "global pax header": (header(tarfile.XGLTYPE, b"10 uid=12\n"), "unknown to dpkg"),
    "old sparse file": (header(tarfile.GNUTYPE_SPARSE), "unknown to dpkg"),
}  # fmt: skip


@pytest.mark.parametrize("place", ["control", "data"])
@pytest.mark.parametrize("attack", HEADERS)
def test_hostile_header_is_refused(tmp_path: Path, attack: str, place: str) -> None:
    """What tarfile would read without a limit, or could not read, never gets that far."""
    start, reason = HEADERS[attack]
    hostile = start + header(tarfile.REGTYPE, b"abc\n") + bytes(1024)
    control = archive.tar([member("./control", b"Package: x\nVersion: 1\nArchitecture: all\n")])
    members = {"control": control, "data": archive.tar([])} | {place: hostile}
    data = archive.ar(
        [("debian-binary", b"2.0\n"), *((f"{key}.tar", value) for key, value in members.items())]
    )

    text = refusal(tmp_path, data)

    assert text.startswith(f"{tmp_path}/x.deb: was refused: ")
    assert reason in text


@pytest.mark.parametrize("uid", [-7, (1 << 32) - 1, (1 << 55) - 1])
def test_owner_that_cannot_be_is_refused(tmp_path: Path, uid: int) -> None:
    """Linux has 32 bits for it, and keeps the last number for itself."""
    data = with_data(header(tarfile.REGTYPE, uid=uid) + bytes(1024), name="data.tar")

    assert f"'f' has an owner that cannot be: {uid}:0" in refusal(tmp_path, data)


def test_long_names_are_read(tmp_path: Path) -> None:
    """A path and a link's target may be as long as Linux has them."""
    path, target = "a/" * 2000 + "b", "c" * 4095
    start = header(LONG, f"./{path}\0".encode()) + header(
        tarfile.GNUTYPE_LONGLINK, f"{target}\0".encode()
    )
    data = with_data(start + header(tarfile.SYMTYPE) + bytes(1024), name="data.tar")

    assert unpack(tmp_path, data).tree[path].target == target


def test_bomb_behind_the_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the archive's end is decompressed to check it, within the same limit."""
    monkeypatch.setattr(deb, "MAX_BYTES", 1 << 20)
    bomb = lzma.compress(archive.tar([]) + bytes(2 << 20), preset=0)

    assert "more than 1048576 bytes when unpacked" in refusal(tmp_path, with_data(bomb))


def test_bomb_in_the_control_archive_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maintainer scripts are kept in memory: their limit is a lower one."""
    monkeypatch.setattr(deb, "MAX_CONTROL_BYTES", 1 << 20)
    data = archive.deb("x", scripts={"postinst": bytes(2 << 20)})

    assert "its control.tar.xz has more than 1048576 bytes" in refusal(tmp_path, data)


def test_memory_of_decompression_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An xz stream says how much it takes; dictionaries of gigabytes are possible."""
    monkeypatch.setattr(ar_archive, "XZ_MEMORY", 1 << 20)

    assert "Memory usage limit exceeded" in refusal(tmp_path, archive.deb("x"))


def test_xz_streams_may_follow_each_other(tmp_path: Path) -> None:
    """Parallel compressors make several, with zeros between them."""
    whole = archive.tar([member("./a", b"1" * 100_000)])
    parts = [lzma.compress(part) for part in (whole[:700], b"", whole[700:])]

    package = unpack(tmp_path, with_data((b"\0" * 40_000).join(parts) + bytes(8)))

    assert package.tree["a"].read() == b"1" * 100_000


def test_paths_have_a_limit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long path names thousands of directories, each of which is kept."""
    names = [f"./{number}/" + "a/" * 100 + "b" for number in range(20)]
    data = archive.deb("x", members=[member(name) for name in names])

    monkeypatch.setattr(deb, "MAX_PATH_BYTES", 10_000)
    assert "paths of more than 10000 bytes together" in refusal(tmp_path, data)
    monkeypatch.setattr(deb, "MAX_MEMBERS", 50)
    assert "more than 50 paths" in refusal(tmp_path, data)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of members has a limit too."""
    monkeypatch.setattr(deb, "MAX_MEMBERS", 10)
    members = [member(f"./{number}") for number in range(20)]

    assert "more than 10 members" in refusal(tmp_path, archive.deb("x", members=members))


def test_directories_may_be_repeated(tmp_path: Path) -> None:
    """Some makers of packages name a directory twice, or after what is in it."""
    members = [
        member("./a/b", b"1"),
        member("./a/", kind=tarfile.DIRTYPE, mode=0o700),
        member("./a/", kind=tarfile.DIRTYPE, mode=0o750),
    ]

    package = unpack(tmp_path, archive.deb("x", members=members))

    assert package.tree["a"].mode == 0o750


def test_full_disk_is_said_so(tmp_path: Path) -> None:
    """Without space the message says where and how much it takes; nothing is left behind."""
    with (
        pytest.raises(
            HostError,
            match=r"(?s)x: no space left: it takes about 5.0 MB, .* are free.*BULKHEAD_CACHE",
        ),
        needs_space(tmp_path / "x", 5_000_000),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


@pytest.mark.parametrize("name", ["control.tar.gz", "data.tar.gz"])
def test_a_wrong_checksum_of_gzip_is_refused(tmp_path: Path, name: str) -> None:
    """Its error is one of the system's kind, which would look like a bad disk."""
    control = archive.tar([member("./control", b"Package: x\nVersion: 1\nArchitecture: all\n")])
    members = {"control.tar.gz": control, "data.tar.gz": archive.tar([member("./a", b"1")])}
    packed = {key: gzip.compress(value) for key, value in members.items()}
    # Without the end of the archive it is read to the end, where the checksum is.
    broken = bytearray(gzip.compress(members[name][:1024]))
    broken[-8] ^= 1
    data = archive.ar([("debian-binary", b"2.0\n"), *(packed | {name: bytes(broken)}).items()])

    with pytest.raises(Untrusted, match="was refused: CRC check failed"):
        unpack(tmp_path, data)


SAMPLE = archive.deb("x", files={"a": b"some text"}, scripts={"postinst": b"#!/bin/sh"})


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.integers(0, len(SAMPLE) - 1), byte=st.integers(0, 255))
def test_damaged_package_gives_a_clear_error_or_a_tree(
    tmp_path: Path, position: int, byte: int
) -> None:
    """Whatever byte is damaged, unpacking ends with one of our errors or with a package."""
    data = bytearray(SAMPLE)
    data[position] = byte
    file = tmp_path / "x.deb"
    file.write_bytes(data)

    try:
        digest = hashlib.sha256(data).hexdigest()
        package = deb.unpack(file, sha256=digest, cache=tmp_path / "cache")
    except BulkheadError:
        return
    assert "a" in package.tree
