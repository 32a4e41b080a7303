"""Stores the container images that the system brings along, each once.

python3 -I -m bulkhead.host.containers.preload

Started at boot when there are any. An archive's name holds its hash, so an
update that brings another one is noticed by the name. An image that cannot be
stored does not keep the others from it, but makes the program fail.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from bulkhead.host.containers import transfer
from bulkhead.host.containers.containerd import Containerd
from bulkhead.lib import atomicfile
from bulkhead.lib.decoding import decode_json
from bulkhead.model.errors import BulkheadError

ARCHIVES = Path("/run/images")
"""The machine's /usr/lib/bulkhead/images, where the service sees it."""
STORED = Path("/var/lib/bulkhead/preloaded.json")
CHUNK = 1 << 20


def stored(record: Path) -> set[str]:
    """Return the names of the archives that were stored before; none if that is not known."""
    try:
        return decode_json(record.read_bytes(), set[str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return set()


async def preload(containerd: Containerd, *, archives: Path, record: Path) -> list[str]:
    """Store what was not stored before; return a message for each archive that failed.

    Args:
        containerd: where they go.
        archives: directory of OCI archives.
        record: file with the names of those that are stored.
    """
    done = stored(record)
    problems = []
    present = sorted(path for path in archives.iterdir() if path.suffix == ".tar")
    for path in present:
        if path.name in done:
            continue
        try:
            names = await transfer.import_archive(containerd, _chunks(path), report=lambda _: None)
        except (BulkheadError, OSError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        done.add(path.name)
        # What earlier versions of the system brought is forgotten, so that it can come back.
        kept = sorted(done & {path.name for path in present})
        atomicfile.write(record, msgspec.json.encode(kept), durable=True)
        print(f"stored {', '.join(names)}")
    return problems


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


async def _main() -> int:
    async with Containerd() as containerd:
        problems = await preload(containerd, archives=ARCHIVES, record=STORED)
    for problem in problems:
        # sd-daemon(3): <3> is the priority of an error in the journal.
        print(f"<3>cannot store the container image {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
