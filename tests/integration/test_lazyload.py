"""native/lazyload with a library of our own: what a caller gets is what the library gives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from bulkhead.build import elf_exports, lazyload, native
from bulkhead.build.tools import Tools, tools
from bulkhead.lib.dirs import cache_dir
from bulkhead.lib.progress import SILENT
from bulkhead.model.errors import UserError

DATA = Path(__file__).parents[1] / "data" / "lazyload"
NAME = "libsample.so.1"
FUNCTIONS = 500
VERSIONS = "SAMPLE_1 { global: *; };\nSAMPLE_2 { global: big; } SAMPLE_1;\n"
CALLS = {
    "integers": "87654321",
    "doubles": "987654321.0",
    "quads": "1793 2048 2303 2558",
    "long_doubles": "4.25",
    "pair": "2 3.5",
    "big": "3 10",
    "format": "22 1 two 3.25 4 5 6 7 8.5",
    "errno": "77",
    "address": "1",
    "constructor": "42",
}


class Sample(msgspec.Struct, frozen=True):
    """A library, the one that stands for it, and a program that calls them."""

    compiler: Tools
    folder: Path

    @property
    def real(self) -> Path:
        """The library itself."""
        return self.folder / "real" / NAME

    def call(
        self, *what: str, by: str = "late", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the program with the library in the folder `by`."""
        return self.compiler.run(
            [str(self.folder / "caller"), *what], reads=[self.folder], check=check,
            env={"LD_LIBRARY_PATH": str(self.folder / by)},
        )  # fmt: skip


@pytest.fixture(scope="module")
def compiler() -> Tools:
    """Return the tools that compile."""
    return tools(native.TOOL_SET, cache=cache_dir(), progress=SILENT)


def compile_sample(folder: Path, compiler: Tools) -> Sample:
    """Compile the library, what stands for it, and the program."""
    sample = Sample(compiler, folder)
    for name in ("real", "late"):
        (folder / name).mkdir()
    (folder / "numbers.inc").write_text("".join(f"NUMBER({n})\n" for n in range(FUNCTIONS)))
    (folder / "version.map").write_text(VERSIONS)
    flags = ["-O1", "-Wall", "-Wextra", f"-I{folder}"]
    compiler.run(
        ["gcc", *flags, "-shared", "-fPIC", f"-Wl,-soname,{NAME}", "-Wl,-z,now",
         f"-Wl,--version-script={folder / 'version.map'}", "-o", str(sample.real), str(DATA / "sample.c")],
        reads=[DATA], writes=[folder],
    )  # fmt: skip
    native.compile_lazyload(
        folder / "late" / NAME, name=NAME, real=str(sample.real), tools=compiler,
        functions=lazyload.version_script(elf_exports.read(sample.real)),
    )  # fmt: skip
    compiler.run(
        ["gcc", *flags, "-Wl,-z,now", "-o", str(folder / "caller"), str(DATA / "caller.c"),
         str(folder / "late" / NAME)],
        reads=[DATA], writes=[folder],
    )  # fmt: skip
    return sample


@pytest.fixture(scope="module")
def sample(compiler: Tools, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Return the compiled sample."""
    return compile_sample(tmp_path_factory.mktemp("sample"), compiler)


def test_it_exports_what_the_library_exports(sample: Sample) -> None:
    """Each name with its version, and no other."""
    real, late = (elf_exports.read(sample.folder / name / NAME) for name in ("real", "late"))

    assert late == real
    assert len(real) == FUNCTIONS + 11
    assert sorted({export.version for export in real}) == ["SAMPLE_1", "SAMPLE_2"]


@pytest.mark.parametrize("what", CALLS)
def test_a_first_call_and_a_second_arrive_as_they_were_made(sample: Sample, what: str) -> None:
    """Whatever registers or stack arguments and results are in, and as without us between."""
    answers = [sample.call(what, what, by=by).stdout.decode() for by in ("late", "real")]

    assert answers == [f"{CALLS[what]}\n" * 2] * 2


def test_first_calls_of_many_threads_arrive(sample: Sample) -> None:
    """Whoever comes while the library is being loaded gets its function too."""
    answers = {sample.call("threads").stdout for _ in range(10)}

    assert answers == {b"0 wrong\n"}


def test_the_library_is_loaded_at_the_first_call(sample: Sample) -> None:
    """Not sooner, and the table of addresses can be written to by nobody before or after."""
    text = sample.call("maps", "integers", "maps").stdout.decode()

    before, after, _ = text.split("end\n")
    assert str(sample.real) not in before
    assert str(sample.real) in after
    for maps in (before, after):
        writable = [
            line.split()[0].split("-")
            for line in maps.splitlines()
            if line.endswith(f"/late/{NAME}") and line.split()[1][1] == "w"
        ]
        assert sum(int(end, 16) - int(start, 16) for start, end in writable) <= 4096


def test_a_library_that_is_not_there_ends_the_program(compiler: Tools, tmp_path: Path) -> None:
    """No program goes on without its cryptography, and the reason is on standard error."""
    sample = compile_sample(tmp_path, compiler)
    sample.real.unlink()

    done = sample.call("integers", check=False)

    assert done.stdout == b""
    assert done.returncode in (-6, 128 + 6)
    assert done.stderr.decode() == (
        f"{NAME}: cannot call integers of {sample.real}:"
        f" {sample.real}: cannot open shared object file: No such file or directory\n"
    )


def test_data_cannot_be_loaded_late(compiler: Tools, tmp_path: Path) -> None:
    """No jump can stand for a variable, so there is no list for such a library."""
    source, library = tmp_path / "data.c", tmp_path / "libdata.so.1"
    source.write_text("int answer = 42;\n")
    compiler.run(
        ["gcc", "-shared", "-fPIC", "-Wl,-soname,libdata.so.1", "-o", str(library), str(source)],
        writes=[tmp_path],
    )

    with pytest.raises(UserError, match=r"functions without a version: answer \(data\)"):
        lazyload.write_script(library)
