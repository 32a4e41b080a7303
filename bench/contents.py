"""What is in the images: files, ELF files, scripts, setuid files, bytes.

./bulkhead python -m bench.contents [--json]
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import msgspec

from bench import peer
from bench.table import Row, show
from bulkhead.build import compare, pipeline
from bulkhead.build.tools import tools
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT

KERNEL = "/modules/"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted."""

    files: int
    megabytes: float
    elf: int
    """ELF files, kernel modules not among them."""
    scripts: int
    setuid: int


def count(root: Path) -> Counts:
    """Count what is below a directory."""
    files = elf = scripts = setuid = size = 0
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                continue
            files += 1
            size += status.st_size
            setuid += bool(status.st_mode & (stat.S_ISUID | stat.S_ISGID))
            with path.open("rb") as file:
                head = file.read(4)
            elf += head == b"\x7fELF" and KERNEL not in str(path)
            scripts += head[:2] == b"#!"
    return Counts(files=files, megabytes=size / 1e6, elf=elf, scripts=scripts, setuid=setuid)


def main() -> None:
    """Count both and print the ratios."""
    plain = peer.make()
    made_with = tools("image", cache=cache_dir(), progress=SILENT)
    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as name:
        out, root = Path(name) / "out", Path(name) / "root"
        manifest = pipeline.build_variant("standalone", out=out, progress=SILENT)
        output = manifest.output("root")
        assert output is not None
        compare.extract(out / output.file, root, tools=made_with)
        a, b = count(root), count(plain.root)
        compare.make_removable(root)
    rows = [
        Row("files", a.files, b.files, ""),
        Row("bytes unpacked", a.megabytes, b.megabytes, "MB"),
        Row("ELF files, without kernel modules", a.elf, b.elf, ""),
        Row("scripts", a.scripts, b.scripts, ""),
        Row("setuid and setgid files", a.setuid, b.setuid, ""),
    ]
    show("contents", f"Debian 13, mmdebstrap --variant={peer.VARIANT}", rows)
    print(f"root image: {output.size / 1e6:.1f} MB (wanted: ≤ 70 MB)")


if __name__ == "__main__":
    main()
