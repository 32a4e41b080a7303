"""Files that have the form of a unified kernel image, without a kernel in them."""

from __future__ import annotations

import struct

RELEASE = (
    'ID=bulkhead\nIMAGE_ID=bulkhead-test\nIMAGE_VERSION=1.0\nPRETTY_NAME="Bulkhead 1.0 (test)"\n'
)


def uki(line: str, *, release: str = RELEASE, more: bytes = b"kernel") -> bytes:
    """Return a PE file with the sections that say what an image is."""
    sections = {
        b".osrel": release.encode(),
        b".cmdline": line.encode() + b"\n\0",
        b".linux": more,
    }
    start, optional = 0x80, 0xF0
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", start)
    head = head.ljust(start, b"\0")
    head += struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(sections), 0, 0, 0, optional, 0x22E)
    head += bytes(optional)
    body, offset = b"", 0x400
    for name, data in sections.items():
        stored = -(-len(data) // 512) * 512
        head += struct.pack("<8sIIII16x", name, len(data), 0x1000, stored, offset + len(body))
        body += data.ljust(stored, b"\0")
    return head.ljust(offset, b"\0") + body
