"""Which libraries of a root are loaded late, and what stays as it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bulkhead.build import elf_exports, lazyload
from bulkhead.build.elf_exports import Export
from bulkhead.build.tree import Tree, file_from, symlink
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.progress import SILENT
from bulkhead.model.arch import AMD64, Architecture
from bulkhead.model.errors import UserError

NAME = "libcrypto.so.3"
PLACE = f"usr/lib/{AMD64.triplet}/{NAME}"
COMPILED = repository_root() / "native" / "lazyload" / f"{NAME}.amd64"
SCRIPT = """\
NEW_1.9 {
global:
	a;
	c;
local:
	*;
};
NEW_1.10 {
global:
	b;
} NEW_1.9;
"""


class Notices:
    """Keeps what people are told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.task = SILENT.task

    def notice(self, text: str) -> None:
        """Keep it."""
        self.texts.append(text)


def root_with(library: Path) -> Tree:
    """Return a root in which OpenSSL's library has these bytes."""
    tree = Tree()
    tree.put(PLACE, file_from(library, origin="libssl3t64"))
    return tree


def files(tree: Tree) -> dict[str, tuple[Path | None, str]]:
    """Return where the bytes of each file come from, and the package."""
    return {path: (e.source, e.origin) for path, e in tree.items() if e.source is not None}


def place(tree: Tree, *, arch: Architecture = AMD64) -> list[str]:
    """Let OpenSSL's library be loaded late; return what people are told."""
    notices = Notices()
    lazyload.place(tree, [NAME], arch=arch, progress=notices)
    return notices.texts


def test_the_library_makes_room_for_ours(tmp_path: Path) -> None:
    """Programs find ours by the name; the library stays Debian's, under another path."""
    real = tmp_path / "real"
    real.write_bytes(COMPILED.read_bytes())
    tree = root_with(real)

    notices = place(tree)

    assert notices == []
    assert files(tree) == {
        f"usr/lib/bulkhead/lazyload/{NAME}": (real, "libssl3t64"),
        PLACE: (COMPILED, "bulkhead"),
    }


def test_a_link_to_the_library_stays_a_link(tmp_path: Path) -> None:
    """Ours takes the place of the file that the name leads to."""
    tree = root_with(COMPILED)
    tree.put(f"{PLACE}.5", tree[PLACE])
    tree.put(PLACE, symlink(f"{NAME}.5"))

    place(tree)

    assert tree[PLACE].target == f"{NAME}.5"
    assert tree[f"{PLACE}.5"].origin == "bulkhead"


def test_a_library_with_other_functions_stays(tmp_path: Path) -> None:
    """An update that brings a function is built at once, loaded as usual, and people are told."""
    newer = tmp_path / "newer"
    newer.write_bytes(COMPILED.read_bytes().replace(b"\0EVP_sha256\0", b"\0EVP_sha257\0"))
    tree = root_with(newer)
    before = files(tree)

    notices = place(tree)

    assert files(tree) == before
    assert notices == [
        f"{NAME} is loaded at every start of a program, which costs time and memory: it has other"
        " functions than native/lazyload (+EVP_sha257@OPENSSL_3.0.0, -EVP_sha256@OPENSSL_3.0.0);"
        f" to compile it again, run: python -m bulkhead.build.native {newer}"
    ]


@pytest.mark.parametrize(
    ("tree", "arch"),
    [
        (root_with(COMPILED), msgspec.structs.replace(AMD64, debian="arm64")),
        (Tree(), AMD64),
    ],
    ids=["not compiled for the architecture", "not in the root"],
)
def test_what_cannot_be_is_left_alone(tree: Tree, arch: Architecture) -> None:
    """Another architecture, or a variant without the library, is no mistake."""
    before = files(tree)

    notices = place(tree, arch=arch)

    assert notices == []
    assert files(tree) == before


def test_a_library_without_a_list_is_a_mistake() -> None:
    """A name that nobody made a list for is said, with the one that was meant."""
    with pytest.raises(UserError) as caught:
        lazyload.place(Tree(), ["libcrypt.so.3"], arch=AMD64, progress=SILENT)

    assert str(caught.value) == (
        "'libcrypt.so.3' cannot be loaded late: there is no list of its functions"
        f"\n  hint: did you mean '{NAME}'?"
    )


def test_versions_are_in_their_order() -> None:
    """The list is one that the linker takes; the names in it come out as they went in."""
    exports = [
        Export(name="c", version="NEW_1.9"),
        Export(name="b", version="NEW_1.10"),
        Export(name="a", version="NEW_1.9"),
    ]

    script = lazyload.version_script(exports)

    assert script == SCRIPT
    assert lazyload.functions(script) == ["a", "c", "b"]


def test_the_compiled_library_has_what_the_list_says() -> None:
    """All of it and nothing else."""
    exports = elf_exports.read(COMPILED)

    assert lazyload.version_script(exports) == lazyload.script_path(NAME).read_text()


def test_only_a_library_can_be_listed(tmp_path: Path) -> None:
    """A file that is none, or has no name of its own, is refused."""
    path = tmp_path / "x"
    path.write_text("x")

    with pytest.raises(UserError, match=r"/x: not a shared library$"):
        lazyload.write_script(path)


def test_what_is_no_library_exports_nothing(tmp_path: Path) -> None:
    """Text, an empty file and a truncated library have no symbols."""
    path = tmp_path / "x"
    found = []
    for data in (b"", b"text", b"\x7fELF", COMPILED.read_bytes()[:5000]):
        path.write_bytes(data)
        found.append(elf_exports.read(path))

    assert found == [frozenset()] * 4
