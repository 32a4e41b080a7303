"""The C programs: compiled again, and their parsers under attack."""

from __future__ import annotations

import random
import struct
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkhead.build import native
from bulkhead.build.tools import Tools, tools
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.lib.run import run
from bulkhead.model.arch import AMD64
from tests.support import gpt

HASH = "0123456789abcdef" * 4
ROOT_TYPE = uuid.UUID(AMD64.root_partition_type)
ROOT, VERITY = uuid.UUID(HASH[:32]), uuid.UUID("f" * 32)
PARTITIONS = [
    gpt.Partition(type=ROOT_TYPE, id=ROOT, first=40, last=79, label="a"),
    gpt.Partition(type=uuid.UUID(AMD64.verity_partition_type), id=VERITY, first=80, last=99),
]
ROWS = (
    f"1:40-79:{ROOT_TYPE.hex}:{ROOT.hex} 2:80-99:"
    f"{uuid.UUID(AMD64.verity_partition_type).hex}:{VERITY.hex} "
)

Parsers = Callable[..., list[str]]


@pytest.fixture(scope="module")
def compiler() -> Tools:
    """Return the tools that compile."""
    return tools(native.TOOL_SET, cache=cache_dir(), progress=SILENT)


@pytest.fixture(scope="module")
def parsers(compiler: Tools, tmp_path_factory: pytest.TempPathFactory) -> Parsers:
    """Return a function that feeds byte strings to the init's parsers and returns their answers.

    The program traps at undefined behaviour, reads past a buffer included.
    """
    folder = tmp_path_factory.mktemp("parsers")
    program = folder / "parsers"
    init = native.sources() / "init"
    files = [init / name for name in ("files.c", "cmdline.c", "gpt.c", "identity.c", "verity.c")]
    native.compile_init(
        program, files=[native.sources() / "test" / "parsers.c", *files], arch=AMD64,
        tools=compiler, options=["-fsanitize=undefined", "-fsanitize-trap=all"],
    )  # fmt: skip

    def feed(*arguments: str, inputs: list[bytes]) -> list[str]:
        paths: list[str] = []
        for count, data in enumerate(inputs):
            (folder / str(count)).write_bytes(data)
            paths.append(str(folder / str(count)))
        return run([str(program), *arguments, *paths]).stdout.decode().splitlines()

    return feed


def test_compiled_programs_are_what_their_sources_give(compiler: Tools, tmp_path: Path) -> None:
    """What is committed beside the sources was made from them, byte for byte."""
    native.compile_all(tmp_path, arch=AMD64, tools=compiler)

    for path in native.outputs(AMD64):
        assert (tmp_path / path).read_bytes() == (native.sources() / path).read_bytes(), path


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (f"roothash={HASH}", f"{HASH} panic=default0 good"),
        (f"quiet roothash={HASH.upper()} panic=3\n", f"{HASH} panic=3 good"),
        (f"roothash={HASH} roothash={HASH} panic=-1", f"{HASH} panic=0 good"),
        (f'a="roothash={"1" * 64} x" roothash={HASH}', f"{HASH} panic=default0 good"),
        (f"panic=0 xroothash={HASH}", "- panic=default0 good"),
        (f"-- roothash={HASH}", "- panic=default0 good"),
        (
            f"roothash={HASH} roothash={'1' * 64} panic=7",
            f"{HASH} panic=7 roothash= is there twice with different values",
        ),
        ("roothash=12", "- panic=default0 roothash= needs 64 hexadecimal digits"),
        (f"roothash={HASH[1:]}g", "- panic=default0 roothash= needs 64 hexadecimal digits"),
        (f"roothash={HASH}0", "- panic=default0 roothash= needs 64 hexadecimal digits"),
        ('roothash="', "- panic=default0 roothash= needs 64 hexadecimal digits"),
        ("panic=999999999999999999999", "- panic=3600 good"),
        ("panic=x", "- panic=default0 good"),
        ("", "- panic=default0 good"),
        ('"', "- panic=default0 good"),
    ],
)
def test_command_line_is_read_as_the_kernel_reads_it(
    parsers: Parsers, line: str, answer: str
) -> None:
    """Words and quotes as in the kernel; two root hashes that differ are refused."""
    assert parsers("cmdline", inputs=[line.encode()]) == [answer]


@pytest.mark.parametrize("block", [512, 4096])
def test_partition_table_is_read(parsers: Parsers, block: int) -> None:
    """Numbers, places and GUIDs come out as they went in, for both sizes of blocks."""
    assert parsers("gpt", str(block), inputs=[gpt.disk(PARTITIONS, block=block)]) == [ROWS]


def test_backup_table_is_used_where_the_primary_is_damaged(parsers: Parsers) -> None:
    """A power cut while the primary table is rewritten does not cost the node its disk."""
    good = gpt.disk(PARTITIONS)
    no_header = good[:512] + b"\0" * 512 + good[1024:]
    no_rows = good[:1024] + b"\xff" * 512 + good[1536:]

    assert parsers("gpt", "512", inputs=[no_header, no_rows]) == [ROWS, ROWS]


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("data0123456789abcdef0123456789abcdef", "machine 0123456789abcdef0123456789abcdef"),
        ("data", ""),
        ("data0123456789abcdef0123456789abcde", ""),
        ("data0123456789ABCDEF0123456789ABCDEF", ""),
        ("data0123456789abcdef0123456789abcde/", ""),
        ("data0123456789abcdef0123456789abcde\u0131", ""),
        ("data" + "0" * 32, ""),
        ("data" + "f" * 32, ""),
        ("\uffff" * 36, ""),
    ],
)
def test_machine_id_is_read_from_the_data_partition(
    parsers: Parsers, label: str, found: str
) -> None:
    """Only a name that systemd wrote is one: what it says becomes a file in /etc."""
    row = gpt.Partition(type=ROOT_TYPE, id=ROOT, first=40, last=79, label=label)

    (answer,) = parsers("gpt", "512", inputs=[gpt.disk([row])])

    assert answer == f"1:40-79:{ROOT_TYPE.hex}:{ROOT.hex} {found}"


def test_a_uuid_that_many_machines_have_is_none(parsers: Parsers) -> None:
    """What systemd does not take from the firmware is not counted on here."""
    texts = ["4c4c4544-0042-3510-8059-B3C04F4D3532\n", f"{uuid.UUID(int=0)}\n"]
    texts += [f"{uuid.UUID(int=(1 << 128) - 1)}\n", "", "Not Settable\n", "4c4c4544-0042-3510\n"]

    answers = parsers("uuid", inputs=[text.encode() for text in texts])

    assert answers == ["unique", *["no"] * 5]


def one_copy(head: bytes, rows: bytes) -> bytes:
    """Return a disk with this header and these rows, and no backup."""
    image = bytearray(256 * 512)
    image[512 : 512 + len(head)] = head
    image[1024 : 1024 + len(rows)] = rows
    return bytes(image)


def damaged_tables() -> dict[str, bytes]:
    """Return disks with lying tables; checksums are right except where they are the point."""
    rows = gpt.table(PARTITIONS)

    def with_header(**changes: int) -> bytes:
        fields = {"at": 1, "other": 255, "table_at": 2, "blocks": 256, "entries": 128, **changes}
        return one_copy(gpt.header(table=rows, **fields), rows)

    def with_partition(first: int, last: int) -> bytes:
        lying = gpt.table([gpt.Partition(type=ROOT_TYPE, id=ROOT, first=first, last=last)])
        head = gpt.header(at=1, other=255, table_at=2, blocks=256, table=lying)
        return one_copy(head, lying)

    good = one_copy(gpt.header(at=1, other=255, table_at=2, blocks=256, table=rows), rows)
    return {
        "no GPT": bytes(256 * 512),
        "GPT header: wrong checksum": good[:600] + b"x" + good[601:],
        "GPT header: belongs to another block": with_header(at=2),
        "GPT header: usable blocks are outside the disk": with_header(blocks=1 << 40),
        "GPT header: impossible number or size of entries": with_header(entries=1 << 31),
        "GPT header: the table is outside the disk": with_header(table_at=250),
        "GPT: wrong checksum": good[:1100] + b"x" + good[1101:],
        "GPT: a partition is outside the usable blocks": with_partition(40, (1 << 64) - 1),
        "too small for a GPT": bytes(5 * 512),
    }


def test_lying_partition_tables_are_refused_with_the_reason(parsers: Parsers) -> None:
    """Every field is checked before it is used."""
    lies = damaged_tables()

    assert parsers("gpt", "512", inputs=list(lies.values())) == [f"wrong: {why}" for why in lies]


def test_no_damaged_partition_table_crashes_the_parser(parsers: Parsers) -> None:
    """Whatever bytes are changed, with checksums made right again, there is an answer."""
    dice = random.Random(3)
    images: list[bytes] = []
    for _ in range(300):
        rows = bytearray(gpt.table(PARTITIONS))
        for _ in range(dice.randrange(4)):
            rows[dice.randrange(256)] = dice.randrange(256)
        head = bytearray(gpt.header(at=1, other=255, table_at=2, blocks=256, table=bytes(rows)))
        for _ in range(dice.randrange(4)):
            head[dice.randrange(24, 92)] = dice.choice([0, 1, 0x7F, 0x80, 0xFF])
        head[16:20] = bytes(4)
        struct.pack_into("<I", head, 16, zlib.crc32(head))
        images.append(one_copy(bytes(head), bytes(rows)))

    answers = parsers("gpt", "512", inputs=images)

    assert len(answers) == len(images)


def superblock(
    *, blocks: int = 100, salt: bytes = b"\xab\xcd", salt_size: int | None = None,
    version: int = 1, algorithm: bytes = b"sha256", block: int = 4096,
) -> bytes:  # fmt: skip
    """Return a superblock as veritysetup writes it."""
    size = len(salt) if salt_size is None else salt_size
    return struct.pack(
        "<8sII16s32sIIQH6s256s168s", b"verity\0\0", version, 1, b"U" * 16, algorithm, block, 4096,
        blocks, size, b"", salt, b"",
    )  # fmt: skip


def test_superblock_becomes_the_table_of_the_target(parsers: Parsers) -> None:
    """The kernel gets exactly the options that we mean, and restarts at a bad block."""
    table = "1 254:2 254:3 4096 4096 100 1 sha256 ROOTHASH {} 1 restart_on_corruption"
    inputs = [superblock(), superblock(salt=b"")]

    answers = parsers("superblock", str(100 * 4096), str(2 * 4096), inputs=inputs)

    assert answers == [table.format("abcd"), table.format("-")]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no verity superblock"),
        (superblock(version=2), "unknown version of verity"),
        (superblock(algorithm=b"md5"), "verity with another hash than sha256"),
        (superblock(algorithm=b"sha256\0x"), "verity with another hash than sha256"),
        (superblock(block=512), "verity with blocks of another size than 4096"),
        (superblock(blocks=0), "verity covers more than the root partition has"),
        (superblock(blocks=101), "verity covers more than the root partition has"),
        (superblock(blocks=1 << 63), "verity covers more than the root partition has"),
        (superblock(salt_size=257), "the salt of verity is too long"),
    ],
)
def test_lying_superblocks_are_refused_with_the_reason(
    parsers: Parsers, raw: bytes, why: str
) -> None:
    """Nothing that the superblock says reaches the kernel unchecked."""
    answers = parsers("superblock", str(100 * 4096), str(2 * 4096), inputs=[raw])

    assert answers == [f"wrong: {why}"]


def test_hash_tree_must_fit_into_its_partition(parsers: Parsers) -> None:
    """A tree of two levels needs more than the one block that is there."""
    answers = parsers("superblock", str(1 << 30), str(2 * 4096), inputs=[superblock(blocks=129)])

    assert answers == ["wrong: the hash tree does not fit into the verity partition"]
