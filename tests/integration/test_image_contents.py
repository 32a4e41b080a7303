"""What is in the standalone image: nothing that is not on the committed list, nothing that gives rights away."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.build import elf, elf_exports, lazyload
from bulkhead.lib.sandbox import Sandbox, run
from tests.support import images

EXPECTED = Path(__file__).parents[1] / "data" / "standalone.programs.txt"
AGENT = "usr/lib/bulkhead/agent/"
LOADER = "/usr/lib64/ld-linux-x86-64.so.2"
STAND_IN = "usr/lib/x86_64-linux-gnu/libcrypto.so.3"
LIBCRYPTO = "usr/lib/bulkhead/lazyload/libcrypto.so.3"
TLS = EXPECTED.parent / "tls_guest.py"


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


def test_functions_of_libcrypto_are_those_of_its_list(root: Path) -> None:
    """When an update brings others, `python -m bulkhead.build.native LIBRARY` makes the list again."""
    exports = elf_exports.read(root / AGENT / STAND_IN)

    assert lazyload.script_path("libcrypto.so.3").read_text() == lazyload.version_script(exports)


def test_libcrypto_is_kept_once(root: Path) -> None:
    """The host's and the agents' are one file; a small one has its name on the host."""
    real = root / LIBCRYPTO

    assert real.samefile(root / AGENT / STAND_IN)
    assert (root / STAND_IN).stat().st_size < 1 << 20 < real.stat().st_size


def test_every_symbol_that_the_host_needs_is_there(root: Path) -> None:
    """The loader of the image finds all libraries and functions, with their versions."""
    # As ldd -r does it; systemd's own libraries are found by the programs that need them.
    env = {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "yes", "LD_BIND_NOW": "yes",
           "LD_LIBRARY_PATH": "/usr/lib/x86_64-linux-gnu/systemd"}  # fmt: skip
    checked, wrong = [], []
    for found in walk(root):
        if (
            found.path.startswith(("usr/lib/bulkhead/", "usr/lib/modules/"))
            or not found.real.is_file()
        ):
            continue
        described = elf.read(found.real)
        if described is None or not described.needed:
            continue
        done = run(Sandbox(root=root), [LOADER, f"/{found.path}"], env=env, check=False)
        checked.append(found.path)
        said = (done.stdout + done.stderr).decode().splitlines()
        wrong += [
            f"{found.path}: {line}" for line in said if re.search("undefined|not found", line)
        ]
        wrong += [f"{found.path}: status {done.returncode}"] if done.returncode else []

    assert wrong == []
    assert {"usr/lib/systemd/systemd", "usr/lib/x86_64-linux-gnu/libssl.so.3"} <= set(checked)


def test_a_program_that_needs_no_cryptography_does_not_load_it(root: Path) -> None:
    """Programs of systemd find the small library in its place."""
    done = run(Sandbox(root=root), ["/usr/bin/systemctl", "--version"], env={"LD_DEBUG": "files"})

    loaded = set(re.findall("calling init: /(.*)", done.stderr.decode()))
    assert STAND_IN in loaded
    assert LIBCRYPTO not in loaded


def test_a_program_that_needs_cryptography_loads_it(root: Path) -> None:
    """The signature of a kernel module is read with it."""
    module = next((root / "usr/lib/modules").rglob("loop.ko")).relative_to(root)
    argv = [LOADER, "--argv0", "modinfo", "/usr/bin/kmod", "--field=sig_hashalgo", f"/{module}"]

    done = run(Sandbox(root=root), argv, env={"LD_DEBUG": "files"})

    assert done.stdout == b"sha256\n"
    assert f"calling init: /{LIBCRYPTO}" in done.stderr.decode()


def test_tls_works_with_libcrypto_loaded_late(root: Path) -> None:
    """The host's libssl and libcrypto agree on a connection; Python's `ssl` is there to ask them."""
    argv = [f"/{AGENT}usr/bin/python3.13", "-I", "-S", "-c", TLS.read_text()]

    done = run(Sandbox(root=root), argv)

    assert done.stdout.decode().splitlines() == [
        "TLSv1.2 ECDHE-PSK-CHACHA20-POLY1305 hello",
        "2cf24dba5fb0a30e",
        str([f"/{LIBCRYPTO}", f"/{STAND_IN}"]),
    ]
