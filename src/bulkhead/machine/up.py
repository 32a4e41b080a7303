"""`bulkhead up` and `down`: build a variant, run it as a machine, run a container on it.

The machine lives on when the command has ended. Interrupted before the
machine is ready, `up` ends what it started.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import msgspec

from bulkhead.build import formats, pipeline, variants
from bulkhead.build.tools import Tools, tools
from bulkhead.lib import atomicfile
from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.lib.progress import Progress
from bulkhead.machine import accelerate, demo, files, launch, ports, process, state
from bulkhead.machine.accelerate import Choice
from bulkhead.machine.spec import Accelerator, Disk, Firmware, MachineSpec
from bulkhead.machine.state import Record
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.manifest import Manifest

READY_S = {Accelerator.KVM: 90.0, Accelerator.TCG: 420.0}
"""How long a boot may take; far more than it does, since the workstation may be busy."""
STOP_S = 45.0

DEFAULT_VARIANT = "standalone"
MEMORY_MIB = 1024
CPUS = 2
DISK = 8 << 30

_IMAGE = "image.raw"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What `bulkhead up` was asked for; None is what was not said."""

    variant: str | None = None
    """By default standalone, and whatever it is where the machine runs already."""
    name: str = state.DEFAULT_NAME
    memory_mib: int | None = None
    cpus: int | None = None
    disk_size: int | None = None
    """Bytes."""
    accelerator: str = "auto"
    demo: bool = True
    fresh: bool = False
    """Forget what the machine stored before."""
    locked: bool = False


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A running machine, as it is shown to people and printed as JSON."""

    name: str
    variant: str
    version: str
    slot: str | None
    root_hash: str
    accelerator: str
    accelerator_reason: str
    api: str
    """Address of the node's API; `machine.json` in `directory` has the token."""
    containers: str
    """Address of the container service; the token is the same."""
    demo_url: str | None
    directory: str
    console: str
    already_running: bool
    build_s: float
    """0 when the machine was running already."""
    ready_s: float | None
    """From the start of QEMU until containerd answered."""
    demo_s: float


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """What `bulkhead down` did."""

    name: str
    was_running: bool
    clean: bool
    """The guest powered off by itself."""
    deleted: bool
    seconds: float


def up(request: Request, *, progress: Progress) -> Status:
    """Bring a machine up, or say where the one that runs already answers.

    Raises:
        UserError: the variant or an option is wrong, or cannot be while the machine runs; or the image
            has changed, and what the machine stored would go with the old one.
        HostError: the machine does not get ready; it is not left running.
        RemoteError: packages cannot be had.
    """
    with state.exclusive(request.name) as directory:
        record = state.read(request.name)
        if record is not None and record.is_running():
            _check_running(request, record)
            build_s, already = 0.0, True
        else:
            record, build_s = _bring_up(request, directory, record, progress=progress)
            already = False
        record = _wait(record, request, directory, progress=progress, keep=already)
        started = time.monotonic()
        if request.demo and not record.demo:
            demo.start(record, progress=progress)
            record = msgspec.structs.replace(record, demo=True)
            state.write(record)
    return _status(record, already=already, build_s=build_s, demo_s=time.monotonic() - started)


def _check_running(request: Request, record: Record) -> None:
    """Refuse what the machine that runs cannot become."""
    spec = record.spec
    named = None if request.variant is None else variants.load(request.variant).name
    asked: dict[str, tuple[object, object]] = {
        "variant": (named, record.variant),
        "--memory": (request.memory_mib, spec.memory_mib),
        "--cpus": (request.cpus, spec.cpus),
        "--disk-size": (_disk_size(request, record), spec.disks[0].size if spec.disks else None),
        "--accel": (
            None if request.accelerator == "auto" else request.accelerator, spec.accelerator.value
        ),
        "--fresh": (request.fresh or None, False),
    }  # fmt: skip
    other = [name for name, (want, has) in asked.items() if want is not None and want != has]
    if other:
        raise UserError(
            f"machine {request.name!r} runs already, with another {other[0]}"
            if other[0] != "--fresh"
            else f"machine {request.name!r} runs already, with what it has stored",
            hint=f"stop it first: bulkhead down {request.name}; or start another one with --name",
        )


def down(name: str | None, *, delete: bool = False) -> Stopped:
    """Stop a machine; what it stored stays unless `delete`.

    Args:
        name: the machine's; by default the one that runs, or "bulkhead".
        delete: remove all that is known about it.

    Raises:
        UserError: there is no such machine.
    """
    started = time.monotonic()
    name = name or _default_name()
    if state.read(name) is None and not (delete and state.directory(name).exists()):
        raise UserError(f"there is no machine {name!r}", hint="see: bulkhead up")
    with state.exclusive(name) as directory:
        record = state.read(name)
        running = record is not None and record.is_running()
        clean = True
        if record is not None and record.process is not None:
            clean = launch.stop(directory, record.process, timeout_s=STOP_S)
            state.write(msgspec.structs.replace(record, process=None, ready=None, slot=None))
        if delete:
            state.delete(name)
    return Stopped(
        name=name, was_running=running, clean=clean, deleted=delete,
        seconds=time.monotonic() - started,
    )  # fmt: skip


def _default_name() -> str:
    running = [name for name in state.names() if (r := state.read(name)) and r.is_running()]
    return running[0] if len(running) == 1 else state.DEFAULT_NAME


def _bring_up(
    request: Request, directory: Path, before: Record | None, *, progress: Progress
) -> tuple[Record, float]:
    """Build, and start QEMU."""
    started = time.monotonic()
    # While the image is built nothing of the machine exists, so an interrupt needs no undoing.
    variant = request.variant or DEFAULT_VARIANT
    manifest = pipeline.build_variant(variant, locked=request.locked, progress=progress)
    build_s = time.monotonic() - started
    vm = tools("vm", cache=cache_dir(), progress=progress, locked=request.locked)
    choice = accelerate.choose(request.accelerator, tools=vm, cache=cache_dir(), progress=progress)
    _place_image(directory, manifest, before, request)
    record = describe(request, manifest, choice, directory=directory, before=before)
    # What is stored from now on belongs to this image, however far the start comes.
    state.write(record)
    return _start(record, directory, vm), build_s


def describe(
    request: Request,
    manifest: Manifest,
    choice: Choice,
    *,
    directory: Path,
    before: Record | None,
) -> Record:
    """Return the machine that will be started; keeps the ports of the one before."""
    disk = manifest.output("disk")
    assert disk is not None
    known = before.spec.forwards if before else ()
    size = max(request.disk_size or DISK, disk.size)
    if before is not None and (directory / files.overlay(0)).exists():
        size = before.spec.disks[0].size or size
    spec = MachineSpec(
        name=request.name,
        boot=Firmware(),
        accelerator=choice.accelerator,
        memory_mib=request.memory_mib or MEMORY_MIB,
        cpus=request.cpus or CPUS,
        disks=(Disk(image=directory / _IMAGE, size=size),),
        forwards=ports.choose(
            dict.fromkeys(
                (
                    state.CHANNEL_PORT,
                    state.API_PORT,
                    state.DEMO_PORT,
                    *(old.guest_port for old in known),
                )
            ),
            remembered=known,
        ),
        credentials=(state.TOKEN_CREDENTIAL,),
        watchdog=True,
    )
    return Record(
        spec=spec,
        token=before.token if before else secrets.token_hex(32),
        variant=manifest.variant,
        version=manifest.version,
        root_hash=manifest.root_hash,
        image_sha256=disk.sha256,
        accelerator_reason=choice.reason,
        # Containers are on the data partition, and come back with it.
        demo=False,
    )


def _place_image(
    directory: Path, manifest: Manifest, before: Record | None, request: Request
) -> None:
    """Link the image into the machine's directory; drop what was stored on top of it, if asked for.

    A link or a copy, not a path: the machine's disk stays whole when the next
    build replaces the image.

    Raises:
        UserError: what was stored is on top of another image or of another size, and may not be
            dropped.
    """
    disk = manifest.output("disk")
    assert disk is not None
    make_room(directory, disk.sha256, variant=manifest.variant, before=before, fresh=request.fresh)
    stored = (directory / files.overlay(0)).exists()
    size = _disk_size(request, before) if stored else None
    has = before.spec.disks[0].size if before is not None else None
    if size is not None and has is not None and size != has:
        raise UserError(
            f"its disk has {has >> 20} MiB, and keeps them",
            where=f"machine {directory.name}",
            hint="--fresh makes another one, and gives up what is stored there",
        )
    if not (directory / _IMAGE).exists():
        source = repository_root() / "out" / manifest.variant / disk.file
        link_or_copy(source, directory / _IMAGE)


def _disk_size(request: Request, record: Record | None) -> int | None:
    """Return the size that a disk gets when this one is asked for: never less than the image's."""
    if request.disk_size is None or record is None or not record.spec.disks:
        return None
    image = record.spec.disks[0].image
    return max(request.disk_size, image.stat().st_size if image.exists() else 0)


def make_room(
    directory: Path, image: str, *, variant: str, before: Record | None, fresh: bool
) -> None:
    """Remove what an image cannot be started with.

    Args:
        directory: the machine's.
        image: the SHA-256 of the disk image that is to be started.
        variant: the name of its variant.
        before: the machine as it was, if that is known.
        fresh: what is stored there may go.

    Raises:
        UserError: what is stored there would go, and may not.
    """
    changed = before is None or before.image_sha256 != image
    overlay = directory / files.overlay(0)
    if changed and overlay.exists() and not fresh:
        what = "the image has changed, and what the machine has stored belongs to the one before"
        if before is None:
            what = "what the machine has stored belongs to an image that is not known any more"
        elif before.variant != variant:
            what = f"it is of variant {before.variant!r}, not {variant!r}"
        raise UserError(
            what,
            where=f"machine {directory.name}",
            hint="--fresh gives up its containers, volumes and settings; --name starts another machine",
        )
    if changed or fresh:
        for path in (overlay, directory / files.VARIABLES, directory / _IMAGE):
            path.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where that is not possible; holes stay holes.

    Raises:
        HostError: it cannot be copied either.
    """
    try:
        os.link(source, target)
    except OSError:
        with atomicfile.scratch_directory(target) as scratch:
            formats.copy_sparse(source, scratch / target.name)
            (scratch / target.name).replace(target)


def _start(record: Record, directory: Path, vm: Tools) -> Record:
    """Start QEMU and remember it."""
    launch.prepare(
        directory, record.spec, tools=vm,
        credentials={state.TOKEN_CREDENTIAL: record.token.encode()},
    )  # fmt: skip
    qemu = launch.start(directory, record.spec, tools=vm, detached=True)
    running = msgspec.structs.replace(
        record, process=process.identify(qemu.pid), started=time.time()
    )
    try:
        state.write(running)
    except BaseException:
        qemu.kill()
        raise
    return running


def _wait(
    record: Record, request: Request, directory: Path, *, progress: Progress, keep: bool
) -> Record:
    """Wait until containerd answers; end the machine if that does not happen.

    Args:
        record: the machine, running.
        request: what was asked for.
        directory: its files.
        progress: where to show that we wait.
        keep: it was running before: an interrupt is no reason to end it.
    """
    assert record.process is not None
    if record.ready is not None:
        return record
    try:
        if request.demo and not record.demo:
            demo.image(progress=progress, locked=request.locked)  # while the machine boots
        with progress.task("starting the machine"):
            ready = launch.wait_until_ready(
                directory, record.process, timeout_s=READY_S[record.spec.accelerator]
            )
    except BaseException as error:
        if not keep:
            launch.kill(record.process)
            state.write(msgspec.structs.replace(record, process=None))
        if isinstance(error, HostError) and record.spec.accelerator is Accelerator.KVM:
            error.hint = error.hint or "KVM may be to blame: try --accel tcg"
        raise
    record = msgspec.structs.replace(
        record,
        ready=ready,
        slot=ready.get(launch.SLOT),
        ready_after_s=time.time() - record.started,
    )
    state.write(record)
    return record


def _status(record: Record, *, already: bool, build_s: float, demo_s: float) -> Status:
    directory = state.directory(record.spec.name)
    if record.slot is None and (slot := launch.running_slot(directory)):
        record = msgspec.structs.replace(record, slot=slot)
        state.write(record)
    return Status(
        name=record.spec.name,
        variant=record.variant,
        version=record.version,
        slot=record.slot,
        root_hash=record.root_hash,
        accelerator=record.spec.accelerator.value,
        accelerator_reason=record.accelerator_reason,
        api=_url(record, state.API_PORT),
        containers=_url(record, state.CHANNEL_PORT),
        demo_url=demo.url(record) if record.demo else None,
        directory=str(directory),
        console=str(directory / files.CONSOLE_LOG),
        already_running=already,
        build_s=build_s,
        ready_s=record.ready_after_s,
        demo_s=demo_s,
    )


def _url(record: Record, guest_port: int) -> str:
    channel = record.channel(guest_port)
    return f"http://{channel.host}:{channel.port}"


def summary(status: Status) -> list[tuple[str, str]]:
    """Return what people want to know about a machine, line by line."""
    rows = [("machine", f"{status.name} ({status.variant} {status.version})")]
    if status.already_running:
        rows[0] = ("machine", f"{rows[0][1]}, running already")
    rows += [
        ("slot", status.slot or "unknown"),
        ("root hash", status.root_hash),
        ("accelerator", f"{status.accelerator}: {status.accelerator_reason}"),
        ("api", status.api),
    ]
    if status.demo_url:
        rows.append(("demo", status.demo_url))
    rows.append(("console", str(status.console)))
    if not status.already_running:
        times = (
            f"built in {status.build_s:.1f} s, ready {status.ready_s or 0:.1f} s after the start"
        )
        rows.append(("time", times + (f", demo {status.demo_s:.1f} s" if status.demo_url else "")))
    return rows
