"""Sandboxes on this machine, as root and as an ordinary user, with the machine's own /usr."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bulkhead.lib import sandbox
from bulkhead.lib.dirs import repository_root
from bulkhead.lib.run import CommandFailed
from bulkhead.model.errors import Bug, HostError

NOBODY = 65534
USERS = ["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a tree of merged-/usr links; /usr itself comes from the machine."""
    tree = tmp_path / "tree"
    (tree / "usr").mkdir(parents=True)
    (tree / "etc").mkdir()
    (tree / "etc/os-release").write_text("ID=sandbox\n")
    for name in ("bin", "lib", "lib64", "sbin"):
        (tree / name).symlink_to(f"usr/{name}")
    for path in (tmp_path, *tmp_path.parents[:3]):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(0o755)
    return tree


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> int:
    """Return the user id that the sandbox starts with."""
    if request.param == "root":
        return 0
    return os.geteuid() or NOBODY


def run_as(user: int, box: sandbox.Sandbox, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in the sandbox as this user."""
    argv = sandbox.command(box, ["sh", "-c", script])
    # Root's own interpreter may be where nobody else can read it.
    argv[0] = shutil.which("python3", path="/usr/bin:/usr/local/bin") or argv[0]
    ids = {} if user == os.geteuid() else {"user": user, "group": user, "extra_groups": []}
    return subprocess.run(argv, capture_output=True, text=True, check=False, **ids)  # type: ignore[call-overload,no-any-return]  # ids are of three types


def test_shows_the_tree_and_the_given_paths_only(user: int, root: Path, tmp_path: Path) -> None:
    """The root holds the tree; everything else of the machine is absent."""
    given = tmp_path / "given"
    given.mkdir()
    (given / "file").write_text("content\n")
    box = sandbox.Sandbox(root=root, reads=[Path("/usr"), given])

    done = run_as(user, box, f"cat {given}/file /etc/os-release; ls / {tmp_path}")

    lines = ["content", "ID=sandbox", "/:", "bin", "dev", "etc", "lib", "lib64", "proc", "run"]
    lines += ["sbin", "tmp", "usr", "var", "", f"{tmp_path}:", "given"]
    assert done.stdout.splitlines() == lines


def test_writes_only_where_allowed(user: int, root: Path, tmp_path: Path) -> None:
    """A path in `writes` can be changed; the tree and `reads` cannot."""
    open_, closed = tmp_path / "open", tmp_path / "closed"
    for path in (open_, closed):
        path.mkdir()
        path.chmod(0o777)
    box = sandbox.Sandbox(root=root, reads=[Path("/usr"), closed], writes=[open_])

    done = run_as(
        user, box, f"echo yes >{open_}/a; echo no >{closed}/a; echo no >/etc/a; echo no >/usr/a"
    )

    assert (open_ / "a").read_text() == "yes\n"
    assert done.stderr.count("Read-only file system") == 3
    assert list(closed.iterdir()) == []
    assert not (root / "etc/a").exists()


def test_mounts_inside_of_the_read_only_tree(user: int, root: Path) -> None:
    """Any absolute path can be given, even one below a directory of the tree."""
    (root / "usr/share").mkdir()
    (root / "usr/share/own").write_text("own\n")
    paths = [Path(p) for p in ("/usr/bin", "/usr/lib", "/usr/lib64") if os.path.isdir(p)]
    box = sandbox.Sandbox(root=root, reads=[*paths, Path("/usr/share/doc")])

    done = run_as(user, box, "cat /usr/share/own; ls -d /usr/share/doc")

    assert done.stdout == "own\n/usr/share/doc\n"


def test_gives_no_network_unless_asked(user: int, root: Path) -> None:
    """A tool sees no interface but a loopback that is down."""
    count = "tail -n +3 /proc/net/dev | wc -l"
    closed = sandbox.Sandbox(root=root, reads=[Path("/usr")])
    shared = sandbox.Sandbox(root=root, reads=[Path("/usr")], network=True)

    counts = [run_as(user, box, count).stdout.strip() for box in (closed, shared)]

    assert counts == ["1", str(len(socket.if_nameindex()))]


def test_has_a_fixed_environment(user: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's variables nor locale nor umask reach a tool."""
    monkeypatch.setenv("LANG", "de_DE")
    monkeypatch.setenv("SECRET", "x")
    old = os.umask(0o077)
    try:
        done = run_as(user, sandbox.Sandbox(root=root, reads=[Path("/usr")]), "umask; env | sort")
    finally:
        os.umask(old)

    shown = done.stdout.splitlines()
    fixed = [f"{name}={value}" for name, value in {**sandbox.ENVIRONMENT, "PWD": "/tmp"}.items()]
    assert shown[0] == "0022"
    assert shown[1:] == sorted(fixed)


def test_leaves_no_mounts_behind(user: int, root: Path) -> None:
    """The machine's mount table is the same afterwards."""
    before = Path("/proc/self/mountinfo").read_text()

    run_as(user, sandbox.Sandbox(root=root, reads=[Path("/usr")]), "true")

    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize("detached", [False, True])
def test_a_tool_that_went_bad_reaches_nothing(
    user: int, root: Path, tmp_path: Path, *, detached: bool
) -> None:
    """Not even as root can a tool mount, make devices, load modules or reach another process."""
    attack = tmp_path / "attack.py"
    shutil.copyfile(repository_root() / "tests/data/attack.py", attack)
    paths = [path for name in ("/usr", "/opt") if (path := Path(name)).is_dir()]
    box = sandbox.Sandbox(root=root, reads=[*paths, attack], own_processes=not detached)
    ids = {} if user == os.geteuid() else {"user": user, "group": user, "extra_groups": []}
    victim = subprocess.Popen(["sleep", "600"], **ids)  # type: ignore[call-overload]  # ids are of three types
    try:
        done = run_as(user, box, f"exec python3 -I -S {attack} {victim.pid}")
        alive = victim.poll() is None
    finally:
        victim.kill()
        victim.wait()

    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == 0
    assert alive


def test_a_privileged_tool_keeps_what_root_may_do(root: Path) -> None:
    """Package scripts of a peer in `bench` mount and make devices: that is asked for by name."""
    if os.geteuid() != 0:
        pytest.fail("this test needs root")
    box = sandbox.Sandbox(root=root, reads=[Path("/usr")], privileged=True)

    done = run_as(0, box, "mount -t tmpfs none /tmp && mknod /tmp/null c 1 3 && echo yes")

    assert done.stdout == "yes\n"


def test_ends_everything_that_the_program_started(root: Path, tmp_path: Path) -> None:
    """A process left in the background is killed when the program ends."""
    box = sandbox.Sandbox(root=root, reads=[Path("/usr")], writes=[tmp_path])

    sandbox.run(box, ["sh", "-c", f"sleep 987 & while true; do date >{tmp_path}/x; done & exit 0"])

    assert not [pid for pid in _processes() if "sleep\x00987" in pid]


def test_dies_with_the_process_that_started_it(root: Path, tmp_path: Path) -> None:
    """When the starting process is killed, the sandbox is too."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    box = sandbox.Sandbox(root=root, reads=[Path("/usr")], writes=[fifo])
    starter = (
        "import sys, subprocess, json; argv = json.loads(sys.argv[1]); spec = json.loads(argv[4]);"
        "import os; spec['parent'] = os.getpid(); argv[4] = json.dumps(spec); subprocess.run(argv)"
    )
    argv = sandbox.command(box, ["sh", "-c", f"echo here >{fifo}; exec 3>{fifo}; exec sleep 654"])
    process = subprocess.Popen([sys.executable, "-c", starter, json.dumps(argv)])
    with fifo.open() as file:
        assert file.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        # The write end is closed when the last process of the sandbox has gone.
        started = time.monotonic()
        rest = file.read()

    assert rest == ""
    assert time.monotonic() - started < 20


def test_ends_as_the_program_ended(root: Path) -> None:
    """Exit codes and signals are passed on, and standard error is in the message."""
    box = sandbox.Sandbox(root=root, reads=[Path("/usr")])

    code = sandbox.run(box, ["sh", "-c", "exit 7"], check=False).returncode
    killed = sandbox.run(box, ["sh", "-c", "kill -SEGV $$"], check=False).returncode
    with pytest.raises(CommandFailed) as failure:
        sandbox.run(box, ["sh", "-c", "echo 'no such thing' >&2; exit 3"])

    assert (code, killed) == (7, -signal.SIGSEGV)
    assert str(failure.value) == "sh exited 3:\n    no such thing"


def test_says_when_the_program_is_not_in_the_tree(root: Path) -> None:
    """A missing program is told apart from one that fails."""
    box = sandbox.Sandbox(root=root, reads=[Path("/usr")])

    with pytest.raises(sandbox.SandboxFailed) as failure:
        sandbox.run(box, ["no-such-tool"])

    assert str(failure.value) == f"cannot start 'no-such-tool' in {root}: No such file or directory"


def test_refuses_a_path_that_does_not_exist(root: Path) -> None:
    """The message names the path, not a failed mount."""
    with pytest.raises(HostError, match=r"^/no/such/path: does not exist"):
        sandbox.command(sandbox.Sandbox(root=root, reads=[Path("/no/such/path")]), ["true"])


FORBID = """
import os, subprocess, sys
from bulkhead.lib import sandbox_init
uid = os.geteuid()
sandbox_init.call("unshare", sandbox_init.CLONE_NEWUSER)
open("/proc/self/uid_map", "w").write(f"1000 {uid} 1")
open("/proc/sys/user/max_user_namespaces", "w").write("0")
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


def test_says_what_to_do_when_user_namespaces_are_disabled(root: Path) -> None:
    """An ordinary user on a machine without user namespaces is told the sysctl."""
    box = sandbox.Sandbox(root=root, reads=[Path("/usr")], dies_with_us=False)
    argv = [sys.executable, "-c", FORBID, *sandbox.command(box, ["true"])]

    env = {**os.environ, "PYTHONPATH": str(repository_root() / "src")}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)

    with pytest.raises(sandbox.SandboxFailed) as failure:
        sandbox.raise_failure(done.stderr)
    assert str(failure.value) == (
        "this user may not make a user namespace (No space left on device)\n  hint: allow more of "
        "them: sudo sysctl user.max_user_namespaces=15000; or run as root"
    )


def _processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_text())
        except OSError:
            continue
    return found


def test_the_machines_own_root_is_refused() -> None:
    """Nothing is mounted over or written into the root of the machine."""
    with pytest.raises(Bug, match="a sandbox needs a root of its own"):
        sandbox.run(sandbox.Sandbox(root=Path("/")), ["/bin/true"])
