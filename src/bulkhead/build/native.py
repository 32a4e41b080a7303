"""Compiles the C programs of `native/` with the compiler of the tool tree.

The results are committed beside their sources, so that building an image
needs no compiler; a test compiles them again and compares the bytes. After
a change of the sources:

    python -m bulkhead.build.native
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.lib.dirs import cache_dir, repository_root
from bulkhead.model.arch import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    from bulkhead.build.tools import Tools

TOOL_SET = "compile"
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wvla", "-Werror")

# What musl-gcc, a shell script, calls the compiler with; it hides
# /usr/include, where the kernel's headers are.
MUSL = "/usr/lib/{musl}/musl-gcc.specs"
KERNEL_HEADERS = ("-idirafter", "/usr/include", "-idirafter", "/usr/include/{triplet}")

INIT = (
    "gcc", "-specs", MUSL, *KERNEL_HEADERS, "-std=gnu11", "-Os", "-static", "-fstack-protector-strong",
    "-ffunction-sections", "-fdata-sections", *WARNINGS,
    "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,relro,-z,now", "-s",
)  # fmt: skip
START_OBJECT = (
    "gcc", "-I/usr/include/efi", "-I/usr/include/efi/x86_64", "-DGNU_EFI_USE_MS_ABI",
    "-std=c11", "-Os", "-ffreestanding", "-fPIC", "-fvisibility=hidden", "-fshort-wchar",
    # Interrupts of the firmware use our stack; it has no canary and no unwinder.
    "-mno-red-zone", "-fno-stack-protector", "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables", "-fno-ident", *WARNINGS,
)  # fmt: skip
# The linker writes the EFI program (PE32+) itself; all code is position-independent.
START_LINK = (
    "ld", "-m", "i386pep", "--subsystem=10", "--entry=efi_main", "--image-base=0",
    "--no-insert-timestamp", "-s",
)  # fmt: skip


def sources() -> Path:
    """Return the directory `native` of the checkout."""
    return repository_root() / "native"


def outputs(arch: Architecture) -> tuple[str, str]:
    """Return the paths of the compiled programs, relative to `native`."""
    return f"init/init.{arch.debian}", f"start/start.{arch.debian}.efi"


def compile_all(out: Path, *, arch: Architecture, tools: Tools) -> None:
    """Compile all programs of `native` into the directory `out`, the same bytes each time.

    Args:
        out: gets the files of `outputs`, in directories that are made.
        arch: what to compile for; it must be what the tools run on.
        tools: the tool set "compile".

    Raises:
        HostError: the compiler found an error, which the message shows.
    """
    init, start = outputs(arch)
    for path in (init, start):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
    compile_init(out / init, files=sorted((sources() / "init").glob("*.c")), arch=arch, tools=tools)
    _compile_start(out / start, arch=arch, tools=tools)


def compile_init(
    out: Path,
    *,
    files: Sequence[Path],
    arch: Architecture,
    tools: Tools,
    options: Sequence[str] = (),
) -> None:
    """Compile C files of the init program, or a test of them, into the static program `out`."""
    musl = arch.triplet.replace("-gnu", "-musl")
    argv = [part.format(triplet=arch.triplet, musl=musl) for part in INIT]
    argv += [*options, f"-I{sources() / 'init'}", "-o", str(out), *map(str, files)]
    directories = {path.parent for path in files} | {sources() / "init"}
    tools.run(argv, reads=sorted(directories), writes=[out.parent])


def _compile_start(out: Path, *, arch: Architecture, tools: Tools) -> None:
    source = sources() / "start" / "start.c"
    loader = f"\\\\EFI\\\\systemd\\\\systemd-boot{arch.efi_suffix}.efi"
    with tempfile.TemporaryDirectory(prefix="bulkhead-native.") as name:
        compiled = Path(name) / "start.o"
        argv = [*START_OBJECT, f'-DLOADER=L"{loader}"', "-c", str(source), "-o", str(compiled)]
        tools.run(argv, reads=[source], writes=[compiled.parent])
        argv = [*START_LINK, str(compiled), "-o", str(out)]
        tools.run(argv, reads=[compiled.parent], writes=[out.parent])


def main() -> None:
    """Compile for each architecture and put the programs beside their sources."""
    from bulkhead.build.tools import tools
    from bulkhead.lib.progress import SILENT

    compiler = tools(TOOL_SET, cache=cache_dir(), progress=SILENT)
    for arch in ARCHITECTURES.values():
        with tempfile.TemporaryDirectory(prefix="bulkhead-native.") as name:
            compile_all(Path(name), arch=arch, tools=compiler)
            for path in outputs(arch):
                shutil.copyfile(Path(name) / path, sources() / path)


if __name__ == "__main__":
    main()
