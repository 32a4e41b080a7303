"""First process of a sandbox: makes the namespaces and the root, then runs the program.

Started by `bulkhead.lib.sandbox` as `python -I -S sandbox_init.py JSON`, because a process that
makes a user namespace must have a single thread. It runs hundreds of times in a build: it imports
the standard library alone, and little of it. Nothing of the host's mount table changes, as all
happens in a mount namespace that is private to it (mount_namespaces(7)).

This is the one file below `lib` that makes system calls by hand: `os.unshare` came with
Python 3.12, `mount` is not there at all, and the machine may have no program for either.
"""

from __future__ import annotations

# ruff: noqa: S108  # the /tmp in here is a fresh one that nobody else can see
import ctypes
import errno
import json
import os
import platform
import select
import signal
import struct
import sys
from collections.abc import Sequence
from typing import NoReturn, TypedDict

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
X32_SYSCALL_BIT = 0x40000000
CAPABILITY_VERSION = 0x20080522
KEPT_CAPABILITIES = 1 << 1
"""CAP_DAC_OVERRIDE: files that root was told to use may be another user's, such as the keys of
whoever called sudo; and trees are unpacked with directories that are read-only."""
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
SYS_MOUNT_SETATTR = 442  # the same number on every architecture
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

FAILED = 125
"""Exit code when the sandbox itself could not be made; stderr ends with `MARK` and JSON."""
MARK = "bulkhead-sandbox: "
OLD = "/.old"

OWN = ("dev", "proc", "run", "sys", "tmp")
"""Directories at the top that are never the tree's."""
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")


class Spec(TypedDict):
    """What `bulkhead.lib.sandbox` asks for."""

    root: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    binds: list[tuple[str, str, bool]]
    """Real path outside, path inside, and whether it may be written to; parents first."""
    devices: list[str]
    network: bool
    processes: bool
    """A PID namespace of its own: all processes end with the first."""
    parent: int
    """Die when this process does; 0 to live on."""
    denied: Sequence[tuple[int, int, str, int, int]] | None
    """Rules of `sandbox_policy`. None for a program that keeps all privileges and all of /proc."""


class Failed(Exception):
    """The sandbox cannot be made."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        self.what = what
        self.hint = hint


libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """Call a libc function that returns -1 and errno on failure; str becomes bytes."""
    ctypes.set_errno(0)
    raw = [a.encode() if isinstance(a, str) else a for a in arguments]
    if getattr(libc, name)(*raw) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount, with the paths in the error."""
    try:
        call("mount", source, target, kind, ctypes.c_ulong(flags), data)
    except OSError as error:
        raise OSError(error.errno, f"mount {source} on {target}: {error.strerror}") from error


class MountAttr(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def bind(source: str, target: str, *, writable: bool) -> None:
    """Bind `source` and all mounts below it."""
    mount(source, target, None, MS_BIND | MS_REC)
    if not writable:
        make_read_only(target)


def make_read_only(path: str) -> None:
    """Make a mount, and those below it where the kernel can (5.12), read-only."""
    attributes = MountAttr(attr_set=MS_RDONLY)
    try:
        call("syscall", ctypes.c_long(SYS_MOUNT_SETATTR), AT_FDCWD, path, AT_RECURSIVE,
             ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)))  # fmt: skip
    except OSError:
        # A remount must repeat the flags that the outer namespace locked (mount_namespaces(7)).
        kept = os.statvfs(path).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)
        mount("none", path, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def read_sysctl(path: str) -> str:
    """Return a kernel setting, or "" where the kernel does not have it."""
    try:
        with open(f"/proc/sys/{path}", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def why_no_user_namespace(error: OSError) -> Failed:
    """Say what keeps an ordinary user from making a namespace here, and what to do."""
    if read_sysctl("kernel/unprivileged_userns_clone") == "0":
        hint = "allow them: sudo sysctl kernel.unprivileged_userns_clone=1; or run as root"
    elif read_sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        hint = (
            "AppArmor restricts them (Ubuntu 23.10 and later): "
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0; or run as root"
        )
    elif read_sysctl("user/max_user_namespaces") == "0" or error.errno == errno.ENOSPC:
        hint = "allow more of them: sudo sysctl user.max_user_namespaces=15000; or run as root"
    else:
        hint = "a container or security policy may forbid it; run as root or outside of it"
    return Failed(f"this user may not make a user namespace ({error.strerror})", hint)


def unshare(spec: Spec) -> None:
    """Leave the host's namespaces; become root of a user namespace where that is needed."""
    flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS
    flags |= CLONE_NEWPID if spec["processes"] else 0
    flags |= 0 if spec["network"] else CLONE_NEWNET
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        try:
            call("unshare", flags)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
        else:
            return
    try:
        call("unshare", flags | CLONE_NEWUSER)
        # user_namespaces(7): without this an ordinary user may not write gid_map.
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
    except OSError as error:
        raise why_no_user_namespace(error) from error


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends."""
    if parent:
        call("prctl", PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it ended before prctl
            os._exit(FAILED)


def pivot(base: str) -> None:
    """Make an empty tmpfs the root; the old root moves to `OLD`.

    Raises:
        Failed: the machine's root is an initramfs, which cannot be moved.
    """
    mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    os.mkdir(base + OLD)
    try:
        number = SYS_PIVOT_ROOT[platform.machine()]
        call("syscall", ctypes.c_long(number), base, base + OLD)
    except OSError as error:
        raise Failed(f"cannot change the root directory: {error.strerror}") from error
    os.chdir("/")


def make_root(spec: Spec) -> None:
    """Build the root on a tmpfs: the tool tree read-only, and what the program may see."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    pivot(spec["root"])
    targets = [target for _, target, _ in spec["binds"]]
    place_tree(OLD + spec["root"], "", targets)
    for name in ("/dev", "/dev/shm", "/proc", "/run", "/tmp", "/var"):
        os.makedirs(name, exist_ok=True)
    os.chmod("/tmp", 0o1777)
    os.chmod("/dev/shm", 0o1777)
    if not os.path.lexists("/var/tmp") and os.access("/var", os.W_OK):
        os.symlink("/tmp", "/var/tmp")
    make_devices((*DEVICES, *spec["devices"]))
    make_proc(writable=spec["denied"] is None)
    for source, target, writable in spec["binds"]:
        make_mount_point(OLD + source, target)
        bind(OLD + source, target, writable=writable)
    call("umount2", OLD, MNT_DETACH)
    os.rmdir(OLD)


def place_tree(source: str, inside: str, targets: list[str]) -> None:
    """Bind what is in `source` to the same names in directory `inside`.

    A directory in which something else will be mounted is made anew with its
    entries bound one by one, so that any path can be a mount point although
    the tree is read-only.
    """
    for name in sorted(os.listdir(source)):
        if not inside and name in OWN:
            continue
        origin, here = f"{source}/{name}", f"{inside}/{name}"
        if os.path.islink(origin):
            os.symlink(os.readlink(origin), here)
        elif any(target.startswith(f"{here}/") for target in targets) and os.path.isdir(origin):
            os.mkdir(here)
            place_tree(origin, here, targets)
        elif here not in targets:
            make_mount_point(origin, here)
            bind(origin, here, writable=False)


def make_mount_point(source: str, target: str) -> None:
    """Make an empty file or directory, as `source` is, unless `target` exists."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.lexists(target):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))


def make_devices(names: tuple[str, ...]) -> None:
    """Bind device nodes of the host: mknod(2) needs privileges, a bind does not."""
    for name in names:
        source = f"{OLD}/dev/{name}"
        if os.path.exists(source):
            make_mount_point(source, f"/dev/{name}")
            mount(source, f"/dev/{name}", None, MS_BIND)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"/dev/{name}")


def make_proc(*, writable: bool) -> None:
    """Mount /proc; show the host's where the kernel refuses a new one.

    It does so without a PID namespace of our own, and in containers that hide parts of theirs.
    Read-only: user 0 owns the files below /proc/sys, and the kernel asks for no capability.
    """
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:
        mount(f"{OLD}/proc", "/proc", None, MS_BIND | MS_REC)
    if not writable:
        make_read_only("/proc")


def drop_capabilities() -> None:
    """Give up all capabilities but `KEPT_CAPABILITIES`.

    With no_new_privs set, no execve(2) gives back what is not permitted now, not even to user 0.
    """
    header = struct.pack("<Ii", CAPABILITY_VERSION, 0)
    data = ctypes.create_string_buffer(24)
    call("capget", header, data)
    _, permitted, _, _, _, _ = struct.unpack("<6I", data.raw)
    kept = permitted & KEPT_CAPABILITIES
    call("capset", header, struct.pack("<6I", kept, kept, 0, 0, 0, 0))


class FilterProgram(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def deny(rules: Sequence[tuple[int, int, str, int, int]]) -> None:
    """Have system calls fail: number, argument, test, value and error of each rule.

    Only the lower half of an argument is looked at: flags and process numbers have no more.
    """

    def load(offset: int) -> bytes:
        return struct.pack("<HBBI", 0x20, 0, 0, offset)

    def jump(kind: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("<HBBI", kind, yes, no, value)

    def end(action: int) -> bytes:
        return struct.pack("<HBBI", 0x06, 0, 0, action)

    same, any_bit = 0x15, 0x45
    refuse = end(SECCOMP_RET_ERRNO | errno.ENOSYS)
    program = [load(4), jump(same, AUDIT_ARCH[platform.machine()], yes=1), refuse]
    program += [load(0), jump(any_bit, X32_SYSCALL_BIT, no=1), refuse]
    for number, argument, test, value, error in rules:
        last = end(SECCOMP_RET_ERRNO | error)
        program.append(load(0))
        if test == "always":
            program += [jump(same, number, no=1), last]
            continue
        program += [jump(same, number, no=3), load(16 + 8 * argument)]
        if test == "not own process":
            program += [jump(same, os.getpid(), yes=1), last]
        else:
            program += [jump(any_bit if test == "any bit" else same, value, no=1), last]
    program.append(end(SECCOMP_RET_ALLOW))
    whole = FilterProgram(length=len(program), instructions=b"".join(program))
    call("prctl", PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(whole), 0, 0)


def execute(spec: Spec) -> NoReturn:
    """Become the program.

    Raises:
        Failed: it is not in the tree.
    """
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    call("prctl", PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))  # fmt: skip
    if spec["denied"] is not None:
        drop_capabilities()
        deny(spec["denied"])
    try:
        os.chdir(spec["cwd"])
    except OSError as error:
        raise Failed(
            f"cannot start {spec['argv'][0]!r} in the directory {spec['cwd']}: {error.strerror}"
        ) from error
    try:
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        raise Failed(
            f"cannot start {spec['argv'][0]!r} in {spec['root']}: {error.strerror}"
        ) from error


def wait_for(child: int) -> int:
    """Reap every process until `child` ends; return its wait status."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def report(failure: Failed) -> NoReturn:
    """Tell `bulkhead.lib.sandbox` why there is no sandbox."""
    text = json.dumps({"what": failure.what, "hint": failure.hint})
    os.write(2, f"\n{MARK}{text}\n".encode())
    os._exit(FAILED)


def run_inside(spec: Spec) -> NoReturn:
    """Make the root and run the program in this process."""
    try:
        call("sethostname", "bulkhead", ctypes.c_size_t(8))
        make_root(spec)
        execute(spec)
    except Failed as failure:
        report(failure)
    except OSError as error:
        report(Failed(f"cannot make a sandbox: {error.strerror}"))


def run_as_init(spec: Spec, status_pipe: int) -> NoReturn:
    """Be process 1 of the PID namespace: when this ends, all in it end (pid_namespaces(7)).

    The program itself is process 2, because for process 1 the kernel ignores
    most signals, such as the one of abort(3).
    """
    call("prctl", PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    # The parent's number is 0 in here; that it ended before prctl shows at the pipe.
    watch = select.poll()
    watch.register(status_pipe, 0)
    if watch.poll(0):
        os._exit(FAILED)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        os.close(status_pipe)
        run_inside(spec)
    os.write(status_pipe, str(wait_for(child)).encode())
    os._exit(0)


def pass_on(status: int) -> NoReturn:
    """End as the program ended."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main() -> NoReturn:
    """Run what the JSON on the command line describes."""
    spec: Spec = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        unshare(spec)
        die_with(spec["parent"])
    except Failed as failure:
        report(failure)
    except OSError as error:
        report(Failed(f"cannot make a sandbox: {error.strerror}"))
    if not spec["processes"]:
        run_inside(spec)
    here, there = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(here)
        run_as_init(spec, there)
    os.close(there)
    answer = os.read(here, 16)
    os.waitpid(init, 0)
    if not answer:
        report(Failed("the sandbox was killed"))
    pass_on(int(answer))


if __name__ == "__main__":
    main()
