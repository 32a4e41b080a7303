"""Programs of a few bytes that make one system call, for amd64: no compiler, no library in between."""

from __future__ import annotations

import struct

AF_INET, AF_VSOCK = 2, 40

_BASE = 0x400000
_HEADERS = 64 + 56

# mov ebx/ecx/edx; in the order that a 32-bit `socket` takes its arguments.
_NUMBERS_32 = b"\xbb%b\xb9\x01\0\0\0\x31\xd2"
_NUMBERS_64 = b"\x48\xbf%b\xbe\x01\0\0\0\x31\xd2"
# Exit with 0, or with the number of the error: test eax, eax; js +9; xor edi, edi; exit; neg eax; …
_EXIT = b"\x85\xc0\x78\x09\x31\xff\xb8\x3c\0\0\0\x0f\x05\xf7\xd8\x89\xc7\xb8\x3c\0\0\0\x0f\x05"

CALLS = ("64", "64, more than an int", "32", "32, socketcall", "x32")


def socket(call: str, *, family: int) -> bytes:
    """Return a program that opens a stream socket; its exit code is 0 or the error's number.

    Args:
        call: which of the ways to make the call, one of `CALLS`.
        family: its first argument.
    """
    code = {
        "64": _wide(family) + b"\xb8\x29\0\0\0\x0f\x05",
        "64, more than an int": _wide(family | 1 << 32) + b"\xb8\x29\0\0\0\x0f\x05",
        "32": _NUMBERS_32 % struct.pack("<I", family) + b"\xb8\x67\x01\0\0\xcd\x80",
        # socketcall(SYS_SOCKET, arguments): the filter sees a pointer only.
        "32, socketcall": (
            b"\xbb\x01\0\0\0\xb9" + struct.pack("<I", _BASE + _HEADERS)
            + b"\xb8\x66\0\0\0\xcd\x80"
        ),
        "x32": _wide(family) + b"\xb8\x29\0\0\x40\x0f\x05",
    }[call]  # fmt: skip
    return _elf(struct.pack("<III", family, 1, 0), code + _EXIT)


def _wide(value: int) -> bytes:
    return _NUMBERS_64 % struct.pack("<Q", value)


def _elf(data: bytes, code: bytes) -> bytes:
    """Return a static program: one segment with headers, `data` and `code`, which is run."""
    size = _HEADERS + len(data) + len(code)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    entry = _BASE + _HEADERS + len(data)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096)
    return header + segment + data + code
