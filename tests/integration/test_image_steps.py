"""The steps that make an image, with the real tools: right, and the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import struct
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import zstandard

from bulkhead.build import disk, erofs, formats, initrd, keys, signing, tar, uki, verity
from bulkhead.build.tools import Tools, tools
from bulkhead.build.tree import Entry, Kind, Tree, directory, file, symlink
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.lib.run import CommandFailed
from bulkhead.model.arch import AMD64
from bulkhead.model.errors import UserError
from tests.support import gpt, images

EPOCH = 1_700_000_000
MIB = 1 << 20
LAYOUT = disk.DiskLayout(esp_mib=40, root_mib=4, verity_mib=1)
ODD_NAME = "50%off %n %2F a:b, c\\d;e@@f'g\"h$i"


@pytest.fixture(scope="module")
def image_tools() -> Tools:
    """Return the tools that make images."""
    return tools("image", cache=cache_dir(), progress=SILENT)


@pytest.fixture
def tree() -> Tree:
    """Return a small root with owners, modes, links and files that compress well or not at all."""
    made = Tree()
    made.put("etc", directory())
    made.put("etc/secret", Entry(kind=Kind.FILE, mode=0o640, uid=0, gid=70000, data=b"secret"))
    made.put("usr/bin/a", file(b"same" * 5000, mode=0o755))
    made.put("usr/bin/b", file(b"same" * 5000, mode=0o755))
    made.put("usr/noise", file(hashlib.shake_256(b"noise").digest(MIB)))
    made.put("bin", symlink("usr/bin"))
    return made


@pytest.fixture
def another_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let what must not matter be different: umask, time zone, locale."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    before = os.umask(0o077)
    yield
    os.umask(before)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@pytest.mark.parametrize("compression", ["lz4hc,9", "zstd,3", "none"])
def test_root_file_system_holds_the_tree(
    image_tools: Tools, tree: Tree, tmp_path: Path, compression: str
) -> None:
    """The checker of erofs reads back every file; owners, modes and links are the tree's."""
    out = tmp_path / "root.erofs"

    erofs.make(tree, out, tools=image_tools, epoch=EPOCH, compression=compression)

    image_tools.run(["fsck.erofs", "--extract", str(out)], reads=[out])
    argv = ["dump.erofs", "--path=/etc/secret", str(out)]
    text = image_tools.run(argv, reads=[out]).stdout.decode()
    assert "Uid: 0   Gid: 70000  Access: 0640/rw-r-----" in text
    linked = image_tools.run(["dump.erofs", "--path=/usr/bin/b", str(out)], reads=[out])
    assert "Links: 2" in linked.stdout.decode()
    assert out.stat().st_size % 4096 == 0


@pytest.mark.parametrize("compression", ["lz4hc,9", "zstd,3"])
def test_root_file_system_is_the_same_with_any_number_of_threads(
    image_tools: Tools, tree: Tree, tmp_path: Path, compression: str
) -> None:
    """A machine with one processor gives the bytes that one with many gives."""
    out, single = tmp_path / "many.erofs", tmp_path / "one.erofs"
    stream = BytesIO()
    tar.write(tree, stream, epoch=EPOCH)
    (tmp_path / "root.tar").write_bytes(stream.getvalue())

    erofs.make(tree, out, tools=image_tools, epoch=EPOCH, compression=compression)

    uuid = erofs.content_uuid(tmp_path / "root.tar", f"{EPOCH} {compression} {erofs.CLUSTER}")
    level = compression.replace(",", ",level=")
    argv = [
        "mkfs.erofs", "--quiet", "--tar=f", "--workers=1", "-b4096", f"-T{EPOCH}", f"-U{uuid}",
        "-x-1", f"-z{level}", f"-C{erofs.CLUSTER}", str(single), str(tmp_path / "root.tar"),
    ]  # fmt: skip
    image_tools.run(argv, writes=[tmp_path])
    assert digest(out) == digest(single)


def root_hash_of(data: bytes, salt: bytes) -> str:
    """Return the root hash, computed here: an independent reading of the format."""
    blocks = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    while True:
        hashes = [hashlib.sha256(salt + block).digest() for block in blocks]
        if len(blocks) == 1:
            return hashes[0].hex()
        joined = b"".join(hashes)
        joined += b"\0" * (-len(joined) % 4096)
        blocks = [joined[at : at + 4096] for at in range(0, len(joined), 4096)]


def test_root_hash_is_what_the_format_says(image_tools: Tools, tmp_path: Path) -> None:
    """Our own computation and veritysetup agree; the superblock has salt and sizes."""
    data = hashlib.shake_256(b"data").digest(300 * 4096)
    (tmp_path / "data").write_bytes(data)

    result = verity.make(tmp_path / "data", tmp_path / "tree", tools=image_tools)

    assert result.root_hash == root_hash_of(data, bytes.fromhex(verity.SALT))
    superblock = (tmp_path / "tree").read_bytes()[:512]
    assert struct.unpack_from("<IIQH", superblock, 64) == (4096, 4096, 300, 32)
    assert superblock[88:120].hex() == verity.SALT


def test_data_that_is_not_whole_blocks_is_refused(image_tools: Tools, tmp_path: Path) -> None:
    """A cut image is noticed before it is hashed."""
    (tmp_path / "data").write_bytes(b"x" * 4097)

    with pytest.raises(UserError, match="whole blocks of 4096 bytes, got 4097"):
        verity.make(tmp_path / "data", tmp_path / "tree", tools=image_tools)


def test_initrd_holds_init_and_modules_in_order(image_tools: Tools, tmp_path: Path) -> None:
    """The modules that a machine may need are there, with the devices that ask for them."""
    modules = {
        "dm_mod": initrd.Module(name="dm_mod", data=b"dm"),
        "dm_verity": initrd.Module(name="dm_verity", data=b"verity", depends=("dm_mod",)),
        "libahci": initrd.Module(name="libahci", data=b"lib"),
        "ahci": initrd.Module(
            name="ahci", data=b"ahci", depends=("libahci",), aliases=("pci:v1*", "pci:v2*")
        ),
        "sound": initrd.Module(name="sound", data=b"sound"),
    }

    initrd.make(
        tmp_path / "initrd", arch=AMD64, modules=modules, tools=image_tools,
        always=["dm_verity", "builtin"], on_demand=["ahci"],
    )  # fmt: skip

    raw = zstandard.ZstdDecompressor().stream_reader((tmp_path / "initrd").read_bytes()).read()
    for name in ("init", "dev/console", "modules/libahci.ko", "modules/dm_mod.ko"):
        assert name.encode() + b"\0" in raw
    assert b"dm_mod\ndm_verity\n" in raw
    assert b"pci:v1* libahci ahci\npci:v2* libahci ahci\n" in raw
    assert b"sound" not in raw


def make_all(folder: Path, tree: Tree, image_tools: Tools, *, keyset: keys.Keys) -> dict[str, str]:
    """Make everything from a tree to a signed disk; return the digests."""
    folder.mkdir()
    modules = {"erofs": initrd.Module(name="erofs", data=b"module")}
    erofs.make(tree, folder / "root", tools=image_tools, epoch=EPOCH)
    hashed = verity.make(folder / "root", folder / "verity", tools=image_tools)
    initrd.make(folder / "initrd", arch=AMD64, modules=modules, tools=image_tools)
    # Any EFI program will do as a kernel that is never started.
    kernel = image_tools.root / "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
    uki.make(
        folder / "uki.efi", arch=AMD64, kernel=kernel, initrd=folder / "initrd", cmdline="quiet",
        os_release="ID=test\n", uname="6.12", tools=image_tools, keys=keyset, epoch=EPOCH,
    )  # fmt: skip
    disk.make(
        folder / "disk.raw", arch=AMD64, layout=LAYOUT, root=folder / "root",
        boot=disk.boot(folder / "uki.efi", arch=AMD64, tools=image_tools, keys=keyset),
        hash_tree=folder / "verity", root_hash=hashed.root_hash, name="test", version="1.2.3",
        tools=image_tools, epoch=EPOCH,
    )  # fmt: skip
    return {path.name: digest(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def keyset(tmp_path_factory: pytest.TempPathFactory) -> keys.Keys:
    """Return a new set of keys."""
    made = tmp_path_factory.mktemp("keys") / "set"
    keys.make(made)
    return keys.load(made)


@pytest.fixture
def made(
    tree: Tree, image_tools: Tools, keyset: keys.Keys, tmp_path: Path
) -> tuple[Path, dict[str, str]]:
    """Return the directory and the digests of everything made once."""
    folder = tmp_path / "first"
    return folder, make_all(folder, tree, image_tools, keyset=keyset)


@pytest.mark.usefixtures("another_machine")
def test_everything_is_the_same_bytes_elsewhere(
    tree: Tree, image_tools: Tools, keyset: keys.Keys, tmp_path: Path
) -> None:
    """Another folder, umask, time zone and locale change nothing, signatures included.

    The folder's name has what the tools' options and files take for more than a letter.
    """
    os.umask(0o022)
    first = make_all(tmp_path / "first", tree, image_tools, keyset=keyset)
    os.umask(0o077)
    second = make_all(tmp_path / ODD_NAME, tree, image_tools, keyset=keyset)

    assert second == first


def test_disk_has_two_slots_named_by_the_root_hash(made: tuple[Path, dict[str, str]]) -> None:
    """ESP, root and verity A with the image, root and verity B empty and as large."""
    folder, _ = made
    raw = (folder / "root").read_bytes()
    root_hash = root_hash_of(raw, bytes.fromhex(verity.SALT))
    root_uuid, verity_uuid = verity.partition_uuids(root_hash)

    rows = images.partitions(folder / "disk.raw")

    sizes = [(row.last - row.first + 1) * 512 // MIB for row in rows]
    assert sizes == [40, 4, 1, 4, 1]
    assert [row.label for row in rows] == ["esp", "test_1.2.3", "test_1.2.3", "_empty", "_empty"]
    assert (rows[1].id, rows[2].id) == (root_uuid, verity_uuid)
    assert [str(row.type) for row in rows[1:]] == [
        AMD64.root_partition_type, AMD64.verity_partition_type,
    ] * 2  # fmt: skip
    assert content(folder / "disk.raw", rows[1], len(raw)) == raw


def content(image: Path, row: gpt.Partition, size: int) -> bytes:
    """Return the first bytes of a partition."""
    with image.open("rb") as opened:
        opened.seek(row.first * 512)
        return opened.read(size)


def test_esp_has_loader_start_program_kernel_and_keys(
    made: tuple[Path, dict[str, str]], image_tools: Tools
) -> None:
    """Where the firmware and systemd-boot look for them, with three tries."""
    disk_image = made[0] / "disk.raw"
    argv = ["mdir", "-/", "-b", "-i", f"{disk_image}@@1M", "::"]

    names = image_tools.run(argv, reads=[disk_image]).stdout.decode().split()

    assert {name.removeprefix("::/") for name in names if not name.endswith("/")} == {
        "EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi",
        "EFI/Linux/test_1.2.3+3-0.efi", "loader/loader.conf",
        "loader/keys/auto/PK.auth", "loader/keys/auto/KEK.auth", "loader/keys/auto/db.auth",
    }  # fmt: skip


def test_signature_is_the_db_keys(
    made: tuple[Path, dict[str, str]], image_tools: Tools, keyset: keys.Keys
) -> None:
    """It verifies against our certificate, and against no other."""
    program = made[0] / "uki.efi"
    argv = ["osslsigncode", "verify", "-in", str(program), "-CAfile"]

    own = [*argv, str(keyset.db_certificate)]
    image_tools.run(own, reads=[program, keyset.db_certificate])

    other = keyset.directory / "PK.crt"
    with pytest.raises(CommandFailed):
        image_tools.run([*argv, str(other)], reads=[program, other])


def test_only_efi_programs_can_be_signed(
    image_tools: Tools, keyset: keys.Keys, tmp_path: Path
) -> None:
    """Signing something else fails and leaves nothing behind."""
    (tmp_path / "x").write_bytes(b"text" * 100)

    with pytest.raises(CommandFailed, match="osslsigncode exited"):
        signing.sign(tmp_path / "x", tmp_path / "y", keys=keyset, tools=image_tools, epoch=EPOCH)

    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_all_formats_hold_the_same_disk(
    made: tuple[Path, dict[str, str]], image_tools: Tools, tmp_path: Path
) -> None:
    """qcow2 and raw.zst give the raw image back, are small, and are the same every time."""
    raw, qcow2, packed = made[0] / "disk.raw", tmp_path / "disk.qcow2", tmp_path / "disk.raw.zst"
    qemu = tools(formats.TOOL_SETS[formats.Format.QCOW2], cache=cache_dir(), progress=SILENT)
    digests = []

    for _ in range(2):
        formats.write(raw, qcow2, form=formats.Format.QCOW2, tools=qemu)
        formats.write(raw, packed, form=formats.Format.RAW_ZST, tools=image_tools)
        digests.append((digest(qcow2), digest(packed)))

    assert digests[0] == digests[1]
    qemu.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(raw), str(qcow2)],
             reads=[raw, qcow2])  # fmt: skip
    unpacked = zstandard.ZstdDecompressor().stream_reader(packed.read_bytes()).read()
    assert hashlib.sha256(unpacked).hexdigest() == digest(raw)
    assert packed.stat().st_size < qcow2.stat().st_size < raw.stat().st_size


def test_a_tar_program_reads_the_stream(tree: Tree) -> None:
    """The stream is an ordinary tar archive, with one copy of equal files."""
    out = BytesIO()
    tar.write(tree, out, epoch=EPOCH)

    with tarfile.open(fileobj=BytesIO(out.getvalue())) as archive:
        assert archive.getmember("usr/bin/b").linkname == "usr/bin/a"
