"""Reading variants: inheritance, and messages for every way to write one wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build import variants
from bulkhead.model.arch import AMD64
from bulkhead.model.errors import UserError


def write(folder: Path, name: str, text: str) -> Path:
    """Write a variant into a directory of its own."""
    path = folder / name / "variant.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_childs_lists_are_added_to_its_parents(tmp_path: Path) -> None:
    """A variant names only what it adds; what it inherits comes first, and only once."""
    write(tmp_path, "parent", '[packages]\nhost = ["a", "b"]\n')
    child = write(tmp_path, "child", 'inherit = ["../parent"]\n[packages]\nhost = ["b", "c"]\n')

    resolved = variants.load(str(child))

    assert resolved.name == "child"
    assert resolved.variant.packages.host == ("a", "b", "c")
    assert [path.parent.name for path in resolved.files] == ["parent", "child"]


def test_a_minus_takes_away_what_a_parent_has(tmp_path: Path) -> None:
    """`-name` removes exactly that item."""
    write(tmp_path, "parent", '[packages]\nhost = ["a", "b"]\n')
    child = write(tmp_path, "child", 'inherit = ["../parent"]\n[packages]\nhost = ["-a"]\n')

    assert variants.load(str(child)).variant.packages.host == ("b",)


def test_taking_away_what_nobody_has_is_refused(tmp_path: Path) -> None:
    """A `-name` that no parent has is a typing error, and the nearest name is offered."""
    write(tmp_path, "parent", '[packages]\nhost = ["containerd"]\n')
    child = write(
        tmp_path, "child", 'inherit = ["../parent"]\n[packages]\nhost = ["-containerdd"]\n'
    )

    with pytest.raises(UserError, match="takes away what no parent has") as caught:
        variants.load(str(child))

    assert caught.value.hint == "did you mean 'containerd'?"


def test_a_single_value_replaces_its_parents(tmp_path: Path) -> None:
    """Sizes and names are one value each: the child's counts."""
    write(tmp_path, "parent", '[sizes]\nroot = "1G"\nesp = "256M"\n')
    child = write(tmp_path, "child", 'inherit = ["../parent"]\n[sizes]\nroot = "2G"\n')

    sizes = variants.load(str(child)).variant.sizes

    assert (sizes.root, sizes.esp) == ("2G", "256M")


def test_a_parent_that_two_others_share_counts_once(tmp_path: Path) -> None:
    """Inheriting one variant along two ways is not an error and adds nothing twice."""
    write(tmp_path, "base", '[packages]\nhost = ["a"]\n')
    write(tmp_path, "left", 'inherit = ["../base"]\n')
    write(tmp_path, "right", 'inherit = ["../base"]\n')
    child = write(tmp_path, "child", 'inherit = ["../left", "../right"]\n')

    resolved = variants.load(str(child))

    assert resolved.variant.packages.host == ("a",)
    assert len(resolved.files) == 4


def test_a_circle_is_named(tmp_path: Path) -> None:
    """Variants that inherit each other are refused with the whole circle."""
    one = write(tmp_path, "one", 'inherit = ["../two"]\n')
    write(tmp_path, "two", 'inherit = ["../one"]\n')

    with pytest.raises(UserError, match="one → two → one"):
        variants.load(str(one))


@pytest.mark.parametrize(
    ("text", "line", "what", "hint"),
    [
        ("[packages]\nhosts = []\n", 2, "unknown key 'packages.hosts'", "did you mean 'host'?"),
        ("nam = 'x'\n", 1, "unknown key 'nam'", "did you mean 'name'?"),
        ("[kernl]\n", 1, "unknown key 'kernl'", "did you mean 'kernel'?"),
        ("\n[rules.x]\nkep = []\n", 3, "unknown key 'rules.x.kep'", "did you mean 'keep'?"),
        ("[sizes]\nroot = '12 GB'\n", 2, "sizes.root: expected `str` matching regex", None),
        ("[packages]\nhost = 'systemd'\n", 2, "packages.host: expected `array`, got `str`", None),
    ],
)
def test_a_wrong_key_is_named_with_file_and_line(
    tmp_path: Path, text: str, line: int, what: str, hint: str | None
) -> None:
    """A mistake is shown where it is, with the nearest valid key."""
    path = write(tmp_path, "wrong", text)

    with pytest.raises(UserError) as caught:
        variants.load(str(path))

    assert caught.value.what.startswith(what)
    assert caught.value.where == f"{path}:{line}"
    assert caught.value.hint == hint


@pytest.mark.parametrize("content", [b"a = [", b"\xff\xfe", b"= 1"])
def test_what_is_not_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    """Broken files give a message with the file's name, never a traceback."""
    path = tmp_path / "variant.toml"
    path.write_bytes(content)

    with pytest.raises(UserError, match="is not TOML"):
        variants.load(str(path))


def test_a_directory_that_cannot_give_its_name_is_told(tmp_path: Path) -> None:
    """A variant is called like its directory unless it says another name."""
    path = write(tmp_path, "My_Variant", "")

    with pytest.raises(UserError, match="directory's name 'My_Variant' cannot be a variant's name"):
        variants.load(str(path))
    path.write_text('name = "mine"\n')

    assert variants.load(str(path)).name == "mine"


def test_a_path_that_cannot_be_is_told(tmp_path: Path) -> None:
    """The system refuses to look for a name of thousands of characters."""
    path = write(tmp_path, "wrong", f'inherit = ["./{"a" * 5000}"]\n')

    with pytest.raises(UserError, match="cannot be read: File name too long"):
        variants.load(str(path))


def test_an_unknown_name_gets_a_suggestion() -> None:
    """A mistyped name of a variant is answered with the nearest one."""
    with pytest.raises(UserError, match="there is no variant 'standalon'") as caught:
        variants.load("standalon")

    assert caught.value.hint == "did you mean 'standalone'?"


def test_a_path_without_a_variant_says_how_to_make_one() -> None:
    """A path that holds no variant is answered with the command that makes one."""
    with pytest.raises(UserError, match="no variant there") as caught:
        variants.load("./no-such-directory")

    assert caught.value.hint == "make one with: bulkhead new NAME"


@pytest.mark.parametrize("name", variants.names())
def test_bulkheads_own_variants_can_be_read(name: str) -> None:
    """Every variant in the repository is valid and asks for packages."""
    resolved = variants.load(name)
    request = variants.request(resolved, AMD64)

    assert request.sets["host"]
    assert request.sets["kernel"] == ("linux-image-cloud-amd64",)
    assert resolved.variant.description


def test_relative_paths_count_from_the_file_that_has_them(tmp_path: Path) -> None:
    """Directories and keys are found whatever the working directory is."""
    text = (
        'rootfs = ["files"]\n[[repositories]]\nname = "own"\nlocation = "dir:packages"\n'
        'keys = ["./own.gpg", "debian-archive-trixie-stable.gpg"]\n'
    )
    path = write(tmp_path, "own", text)
    (tmp_path / "own" / "files").mkdir()

    variant = variants.load(str(path)).variant

    assert variant.rootfs == (str(tmp_path / "own" / "files"),)
    assert variant.repositories[0].location == f"dir:{tmp_path / 'own' / 'packages'}"
    assert variant.repositories[0].keys == (
        str(tmp_path / "own" / "own.gpg"), "debian-archive-trixie-stable.gpg",
    )  # fmt: skip


def test_a_directory_of_rootfs_that_is_not_there_is_told(tmp_path: Path) -> None:
    """An image without the files that were meant would be built as if nothing were wrong."""
    path = write(tmp_path, "own", 'rootfs = ["./rootsf"]\n')
    (tmp_path / "own" / "rootfs").mkdir()

    with pytest.raises(
        UserError, match=r"own/variant\.toml: the directory '.*/own/rootsf' .*\n.*'rootfs'\?"
    ):
        variants.load(str(path))


@pytest.mark.parametrize("key", ["rootfs", "preload", "settings-groups"])
def test_a_path_is_taken_away_as_the_child_sees_it(tmp_path: Path, key: str) -> None:
    """`-../parent/files` is the parent's `./files`."""
    write(tmp_path, "parent", f'{key} = ["./files"]\n')
    (tmp_path / "parent" / "files").mkdir()
    path = write(tmp_path, "child", f'inherit = ["../parent"]\n{key} = ["-../parent/files"]\n')

    variant = variants.load(str(path)).variant

    assert (variant.rootfs, variant.preload, variant.settings_groups) == ((), (), ())


def test_taking_away_a_path_that_no_parent_has_is_told(tmp_path: Path) -> None:
    """It is no path that begins with a dash."""
    path = write(tmp_path, "own", 'rootfs = ["-./files"]\n')

    with pytest.raises(UserError, match="takes away what no parent has"):
        variants.load(str(path))
