"""Compiles the C programs of `native/` with the compiler of the tool tree.

The results are committed beside their sources, so that building an image
needs no compiler; a test compiles them again and compares the bytes. After
a change of the sources:

    python -m bulkhead.build.native

and when a library that is loaded late has got new functions:

    python -m bulkhead.build.native LIBRARY
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.build import lazyload
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
# No start files: the library has no constructor. Calls go through the table that the
# loader makes read-only, and it stays loaded as the library that it stands for does.
LAZYLOAD = (
    "gcc", "-std=gnu11", "-Os", "-shared", "-fPIC", "-fno-plt", "-fcf-protection=full",
    "-fno-ident", *WARNINGS, "-nostartfiles",
    "-Wl,--build-id=none", "-Wl,--hash-style=gnu", "-Wl,-z,noexecstack", "-Wl,-z,relro,-z,now",
    "-Wl,-z,nodelete", "-Wl,-z,defs", "-s",
)  # fmt: skip


def sources() -> Path:
    """Return the directory `native` of the checkout."""
    return repository_root() / "native"


def outputs(arch: Architecture) -> tuple[str, ...]:
    """Return the paths of the compiled programs and libraries, relative to `native`."""
    late = [f"lazyload/{name}.{arch.debian}" for name in lazyload.names()]
    return f"init/init.{arch.debian}", f"start/start.{arch.debian}.efi", *late


def compile_all(out: Path, *, arch: Architecture, tools: Tools) -> None:
    """Compile all programs of `native` into the directory `out`, the same bytes each time.

    Args:
        out: gets the files of `outputs`, in directories that are made.
        arch: what to compile for; it must be what the tools run on.
        tools: the tool set "compile".

    Raises:
        HostError: the compiler found an error, which the message shows.
    """
    init, start, *late = outputs(arch)
    for path in (init, start, *late):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
    compile_init(out / init, files=sorted((sources() / "init").glob("*.c")), arch=arch, tools=tools)
    _compile_start(out / start, arch=arch, tools=tools)
    for name, path in zip(lazyload.names(), late, strict=True):
        compile_lazyload(
            out / path, name=name, functions=lazyload.script_path(name).read_text(),
            real=lazyload.real_path(name), tools=tools,
        )  # fmt: skip


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


def compile_lazyload(out: Path, *, name: str, functions: str, real: str, tools: Tools) -> None:
    """Compile the library that stands for another one until it is called.

    Args:
        out: the result.
        name: of the library, by which programs know it (DT_SONAME).
        functions: the list of its functions, a linker's version script.
        real: where the library itself will be.
        tools: the tool set "compile".
    """
    source = sources() / "lazyload"
    with tempfile.TemporaryDirectory(prefix="bulkhead-native.") as folder:
        scratch = Path(folder)
        script = scratch / "functions.map"
        script.write_text(functions)
        lines = [f"function {function}\n" for function in lazyload.functions(functions)]
        (scratch / "functions.inc").write_text("".join(lines))
        argv = [
            *LAZYLOAD, f'-DSONAME="{name}"', f'-DREAL="{real}"', f"-Wa,-I,{scratch}",
            f"-Wl,-soname,{name}", f"-Wl,--version-script={script}", "-o", str(out),
            str(source / "enter.S"), str(source / "load.c"),
        ]  # fmt: skip
        tools.run(argv, reads=[source, scratch], writes=[out.parent])


def main() -> None:
    """Compile for each architecture and put the programs beside their sources."""
    from bulkhead.build.tools import tools
    from bulkhead.lib.progress import SILENT

    for library in sys.argv[1:]:
        lazyload.write_script(Path(library))
    compiler = tools(TOOL_SET, cache=cache_dir(), progress=SILENT)
    for arch in ARCHITECTURES.values():
        with tempfile.TemporaryDirectory(prefix="bulkhead-native.") as name:
            compile_all(Path(name), arch=arch, tools=compiler)
            for path in outputs(arch):
                shutil.copyfile(Path(name) / path, sources() / path)


if __name__ == "__main__":
    main()
