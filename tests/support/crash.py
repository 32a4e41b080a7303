"""Stops a program before any one of its changes to files, and cuts the power of a disk.

The program is a child of the test under ptrace(2), so what is counted are the
system calls that the kernel gets, whoever makes them. `run` kills it before
the n-th one. `disks` goes further: from all the calls it works out what a
disk may hold if the power goes, when only what was synced is sure.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

_TRACEME, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_POKEUSER, _GETREGSET, _SETREGSET = 6, 0x4204, 0x4205
_GENERAL, _SYSTEM_CALL = 1, 0x404  # NT_PRSTATUS, NT_ARM_SYSTEM_CALL: elf.h
_SYSGOOD_EXITKILL = 1 | 0x100000
_STOPPED_BY_CALL = signal.SIGTRAP | 0x80
_CREATE = os.O_CREAT
_HERE = -100  # AT_FDCWD

# System calls that change files: number by architecture (asm/unistd.h), and where paths are.
_CALLS = {
    "x86_64": {
        1: "write", 2: "open", 74: "fsync", 75: "fdatasync", 76: "truncate", 77: "ftruncate",
        82: "rename", 83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink", 88: "symlink",
        18: "pwrite", 20: "writev", 257: "openat", 258: "mkdirat", 263: "unlinkat",
        264: "renameat", 265: "linkat", 266: "symlinkat", 316: "renameat2",
    },
    "aarch64": {
        64: "write", 82: "fsync", 83: "fdatasync", 45: "truncate", 46: "ftruncate",
        68: "pwrite", 66: "writev", 56: "openat", 34: "mkdirat", 35: "unlinkat",
        38: "renameat", 37: "linkat", 36: "symlinkat", 276: "renameat2",
    },
}  # fmt: skip


class Call(msgspec.Struct, frozen=True):
    """One system call that changed files below the watched directories."""

    name: str
    path: str
    target: str = ""
    """Of a rename."""
    data: bytes = b""
    """Of a write."""


class Ended(msgspec.Struct, frozen=True):
    """How the program ended."""

    calls: tuple[Call, ...]
    """What it did; without the call that it was killed before, and those that failed."""
    tried: int
    """With those that failed."""
    killed: bool


class _Info(ctypes.Structure):
    # struct ptrace_syscall_info, ptrace(2); `nr` and `args` at entry, `result` at exit.
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("pointer", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("nr", ctypes.c_uint64),
        ("args", ctypes.c_uint64 * 6),
        ("rest", ctypes.c_uint64 * 4),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, address: int = 0, data: object = None) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace: {os.strerror(code)}")


def run(
    work: Callable[[], object],
    *watched: Path,
    kill_before: int | None = None,
    refuse: int | None = None,
    code: int = errno.ENOSPC,
) -> Ended:
    """Do some work in a child and return what it did to files below some directories.

    Args:
        work: what the child does; if it raises, so does this.
        watched: the directories.
        kill_before: the child is killed when it makes this call, the first is 0.
        refuse: this call is not made, and answers that it failed.
        code: how it failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(work)
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, 0, _SYSGOOD_EXITKILL)
    calls: list[Call] = []
    begun: Call | None = None
    refused, tried = False, 0
    while True:
        _ptrace(_SYSCALL, pid)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the work failed, see its traceback"
            return Ended(tuple(calls), tried=tried, killed=False)
        assert os.WIFSTOPPED(status), status
        assert os.WSTOPSIG(status) == _STOPPED_BY_CALL, os.WSTOPSIG(status)
        info = _Info()
        _ptrace(_SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.byref(info))
        if info.op == 1:
            begun = _call(pid, info, watched)
            if begun is not None and tried == kill_before:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return Ended(tuple(calls), tried=tried, killed=True)
            refused = begun is not None and tried == refuse
            if refused:
                _skip(pid)
            tried += begun is not None
        elif refused:
            _answer(pid, -code)
            refused = False
        # At exit the result is where the number was; errors are negative.
        elif begun is not None and ctypes.c_int64(info.nr).value >= 0:
            calls.append(begun)


def _skip(pid: int) -> None:
    """Let the call that is about to be made be none."""
    if platform.machine() == "x86_64":
        _ptrace(_POKEUSER, pid, 15 * 8, ctypes.c_void_p(-1))  # orig_rax, sys/reg.h
    else:
        _registers(pid, _SETREGSET, _SYSTEM_CALL, ctypes.c_int32(-1))


def _answer(pid: int, result: int) -> None:
    """Let the call that has just ended have another result."""
    if platform.machine() == "x86_64":
        _ptrace(_POKEUSER, pid, 10 * 8, ctypes.c_void_p(result))  # rax
    else:
        general = (ctypes.c_uint64 * 34)()
        _registers(pid, _GETREGSET, _GENERAL, general)
        general[0] = result & (2**64 - 1)
        _registers(pid, _SETREGSET, _GENERAL, general)


def _registers(
    pid: int, request: int, kind: int, data: ctypes.Array[ctypes.c_uint64] | ctypes.c_int32
) -> None:
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(data), ctypes.sizeof(data))
    _ptrace(request, pid, kind, ctypes.byref(vector))


def _child(work: Callable[[], object]) -> None:
    code = 1
    try:
        _ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()
        code = 0
    except BaseException:  # noqa: BLE001 # nothing may get back into the test's own stack
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _call(pid: int, info: _Info, watched: tuple[Path, ...]) -> Call | None:
    name = _CALLS[platform.machine()].get(info.nr)
    if name is None:
        return None
    args = list(info.args)
    target, data = "", b""
    match name:
        case "open" | "mkdir" | "rmdir" | "unlink" | "truncate":
            path, flags = _path(pid, _HERE, args[0]), args[1]
        case "openat" | "mkdirat" | "unlinkat":
            path, flags = _path(pid, args[0], args[1]), args[2]
        case "rename":
            path, target, flags = _path(pid, _HERE, args[0]), _path(pid, _HERE, args[1]), 0
        case "renameat" | "renameat2":
            path, target, flags = _path(pid, args[0], args[1]), _path(pid, args[2], args[3]), 0
        case "write" | "fsync" | "fdatasync":
            path, flags = os.readlink(f"/proc/{pid}/fd/{args[0]}"), 0
            data = _memory(pid, args[1], args[2]) if name == "write" else b""
        case _:
            raise AssertionError(f"the model knows nothing of {name}")
    name = {"openat": "open", "mkdirat": "mkdir", "unlinkat": "unlink"}.get(name, name)
    name = {"renameat": "rename", "renameat2": "rename", "fdatasync": "fsync"}.get(name, name)
    if name == "open" and not flags & _CREATE:
        return None
    if not any(Path(path).is_relative_to(place) for place in watched):
        return None
    return Call(name, path, target, data)


def _path(pid: int, directory: int, address: int) -> str:
    name = _memory(pid, address, 4096).split(b"\0")[0].decode()
    number = ctypes.c_int32(directory & 0xFFFFFFFF).value
    base = os.readlink(f"/proc/{pid}/cwd" if number == _HERE else f"/proc/{pid}/fd/{number}")
    return str(Path(base) / name)


def _memory(pid: int, address: int, size: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        found = b""
        while len(found) < size:
            # To the end of a page at a time: what follows may not be mapped.
            end = (address + len(found) | 0xFFF) + 1
            wanted = min(size - len(found), end - address - len(found))
            try:
                found += os.pread(memory.fileno(), wanted, address + len(found))
            except OSError:
                break
        return found


class _File:
    """A file on a disk: what is sure, and what it says as long as the power stays."""

    def __init__(self, data: bytes = b"", *, sure: bool = False, directory: bool = False) -> None:
        self.data = data
        self.sure = data if sure else None
        self.directory = directory

    def possible(self) -> list[bytes]:
        """Return what may be found after the power went: all, nothing, half of it."""
        if self.sure == self.data or self.directory:
            return [self.data]
        found = {self.sure or b"", b"", self.data[: len(self.data) // 2], self.data}
        return sorted(found)


_Entry = tuple[str, str, "_File | None"]  # directory, name, what it is then; None is nothing


def moved(calls: tuple[Call, ...], made: Path, there: Path) -> tuple[Call, ...]:
    """Return calls as if they had been made below another directory."""

    def replaced(path: str) -> str:
        return path.replace(str(made), str(there), 1)

    return tuple(
        Call(call.name, replaced(call.path), replaced(call.target), call.data) for call in calls
    )


def disks(before: Path, calls: tuple[Call, ...]) -> Iterator[dict[str, bytes]]:
    """Yield what the disk may hold when the power goes after some calls: files by relative path.

    Sure is what fsync(2) was called for: of a file its data, of a directory
    the names in it. Of the rest any part may be there, in any order.

    Args:
        before: a directory; all in it is sure.
        calls: made after that, below it.
    """
    root = str(before)
    names = {
        str(path): _File(directory=True) if path.is_dir() else _File(path.read_bytes(), sure=True)
        for path in before.rglob("*")
    }
    sure, waiting = _replay(names, calls)
    assert len(waiting) <= 12, "too many possibilities"
    seen = set()
    for count in range(len(waiting) + 1):
        for chosen in itertools.combinations(waiting, count):
            for disk in _contents(root, sure, chosen):
                if (once := frozenset(disk.items())) not in seen:
                    seen.add(once)
                    yield disk


def _replay(
    names: dict[str, _File], calls: tuple[Call, ...]
) -> tuple[dict[str, _File], list[_Entry]]:
    """Return the names that are sure after some calls, and changes of names that are not."""
    sure = dict(names)
    waiting: list[_Entry] = []
    # By descriptor the trace says a name, which is right as long as nobody renames an open file.
    for call in calls:
        parent = call.path.rpartition("/")[0]
        match call.name:
            case "open" | "mkdir":
                assert call.path not in names, "the model knows no truncation"
                names[call.path] = _File(directory=call.name == "mkdir")
                waiting.append((parent, call.path, names[call.path]))
            case "write":
                names[call.path].data += call.data
            case "rename":
                file = names[call.target] = names.pop(call.path)
                waiting.append((parent, call.path, None))
                waiting.append((call.target.rpartition("/")[0], call.target, file))
            case "unlink":
                del names[call.path]
                waiting.append((parent, call.path, None))
            case "fsync" if call.path in names and not names[call.path].directory:
                names[call.path].sure = names[call.path].data
            case "fsync":
                for directory, name, entry in waiting:
                    if directory == call.path:
                        _enter(sure, name, entry)
                waiting = [entry for entry in waiting if entry[0] != call.path]
    return sure, waiting


def _contents(
    root: str, sure: dict[str, _File], chosen: tuple[_Entry, ...]
) -> Iterator[dict[str, bytes]]:
    tree = dict(sure)
    for _, name, file in chosen:
        _enter(tree, name, file)
    # Without its name a directory takes along all that is in it.
    there = {root, *(name for name, file in tree.items() if file.directory)}
    files = {
        os.path.relpath(name, root): file
        for name, file in tree.items()
        if not file.directory
        and all(str(above) in there for above in Path(name).parents if above.is_relative_to(root))
    }
    for contents in itertools.product(*(file.possible() for file in files.values())):
        yield dict(zip(files, contents, strict=True))


def _enter(tree: dict[str, _File], name: str, file: _File | None) -> None:
    if file is None:
        tree.pop(name, None)
    else:
        tree[name] = file
