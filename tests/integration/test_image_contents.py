"""What is in the standalone image: nothing that is not on the committed list, nothing that gives rights away."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.build import elf
from tests.support import images

EXPECTED = Path(__file__).parents[1] / "data" / "standalone.programs.txt"
AGENT = "usr/lib/bulkhead/agent/"


class Found(msgspec.Struct, frozen=True):
    """A path of the image."""

    path: str
    mode: int
    uid: int
    gid: int
    real: Path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built root, unpacked as root would see it."""
    folder = tmp_path_factory.mktemp("image")
    image = images.build(folder / "out")
    target = folder / "root"
    images.image_tools().run(
        ["fsck.erofs", f"--extract={target}", "--preserve-perms", str(image.path("root"))],
        reads=[folder], writes=[folder],
    )  # fmt: skip
    return target


def walk(root: Path) -> Iterator[Found]:
    """Yield everything in the image but symbolic links."""
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder) / name
            status = path.lstat()
            if not stat.S_ISLNK(status.st_mode):
                inside = path.relative_to(root).as_posix()
                yield Found(inside, status.st_mode, status.st_uid, status.st_gid, path)


def kind(path: Path) -> str | None:
    """Say what a file is to the kernel: an ELF file, a script, or neither."""
    with path.open("rb") as file:
        head = file.read(4)
    if head == elf.MAGIC:
        return "elf"
    return "script" if head[:2] == b"#!" else None


def test_every_program_is_on_the_committed_list(root: Path) -> None:
    """A program that gets into the image has been seen and agreed to by somebody."""
    # The kernel's release is in the lock; a new one is not a new program.
    programs = [
        f"{what} {re.sub('^usr/lib/modules/[^/]+', 'usr/lib/modules/RELEASE', found.path)}"
        for found in sorted(walk(root), key=lambda f: f.path)
        if stat.S_ISREG(found.mode) and (what := kind(found.real))
    ]

    assert programs == EXPECTED.read_text().splitlines()


def test_nothing_gives_its_caller_other_rights(root: Path) -> None:
    """No setuid or setgid file, no file capability, nothing that others can write."""
    wrong = [
        found.path
        for found in walk(root)
        if found.mode & (stat.S_ISUID | stat.S_ISGID)
        or (found.mode & stat.S_IWOTH and not found.mode & stat.S_ISVTX)
        or "security.capability" in os.listxattr(found.real)
    ]

    assert wrong == []


def test_there_are_only_files_and_directories(root: Path) -> None:
    """Devices, sockets and pipes have no place in an image."""
    kinds = {stat.S_IFMT(found.mode) for found in walk(root)}

    assert kinds == {stat.S_IFREG, stat.S_IFDIR}


@pytest.mark.parametrize(
    "name",
    ["sh", "bash", "dash", "busybox", "perl", "apt", "dpkg", "apt-get", "gcc", "cc", "ld", "as", "su",
     "sudo", "login", "agetty", "sulogin", "sshd", "ctr", "curl", "wget", "gdb", "python3"],
)  # fmt: skip
def test_there_is_no_such_program(root: Path, name: str) -> None:
    """No shell, login, package manager, compiler or download tool, on the host or beside the agents."""
    programs = [found.path for found in walk(root) if stat.S_ISREG(found.mode)]

    assert [path for path in programs if path.rpartition("/")[2] == name] == []


def test_the_interpreter_is_in_the_agent_tree_alone(root: Path) -> None:
    """Python exists once, where only the agents' services can reach it by name."""
    interpreters = [f.path for f in walk(root) if f.real.name.startswith("python") and f.mode & 0o111
                    and stat.S_ISREG(f.mode)]  # fmt: skip

    assert interpreters == [f"{AGENT}usr/bin/python3.13"]


def test_the_agents_have_no_source_and_no_tests(root: Path) -> None:
    """Only bytecode that is valid in the image is there."""
    names = [found.path for found in walk(root) if found.path.startswith(AGENT)]

    assert [name for name in names if name.endswith(".py") or "__pycache__" in name] == []
    assert f"{AGENT}usr/lib/python3/dist-packages/bulkhead/__init__.pyc" in names


def test_the_root_belongs_to_root(root: Path) -> None:
    """Everything in the read-only root belongs to root."""
    owners = {(found.uid, found.gid) for found in walk(root)}

    assert owners == {(0, 0)}


def test_nobody_can_log_in(root: Path) -> None:
    """Every account is locked and has no shell."""
    shadow = (root / "etc/shadow").read_text().splitlines()
    passwd = (root / "etc/passwd").read_text().splitlines()

    assert {line.split(":")[1] for line in shadow} == {"!*"}
    assert {line.split(":")[6] for line in passwd} == {"/usr/sbin/nologin"}
    assert not (root / "usr/sbin/nologin").exists()


def test_no_link_dangles_but_those_into_what_a_boot_makes(root: Path) -> None:
    """A link in the image leads to something in the image, or to /run, /proc and the like."""
    dangling = []
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder) / name
            if not path.is_symlink():
                continue
            target = os.path.normpath(
                os.path.join("/", Path(folder).relative_to(root), os.readlink(path))
            )
            if target.startswith(("/run/", "/proc/", "/dev/")):
                continue
            if not os.path.lexists(root / target.lstrip("/")):
                dangling.append(f"{path.relative_to(root)} -> {target}")

    assert dangling == []
