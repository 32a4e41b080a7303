"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.lib.run import run

ROOT = repository_root()
LONGEST_FILE = 500
ALLOWED_HOSTS = {"ftp.debian.org", "security.debian.org", "snapshot.debian.org"}
# An archive's or an index's address, whoever's it is; names that stand for no host (RFC 2606) are free.
ARCHIVE_ADDRESS = re.compile(
    r"https?://(?!ftp\.debian|security\.debian|snapshot\.debian|127\.|localhost|\[|\{)"
    r"(?![\w.-]*(?:example|invalid|test)(?:\.\w+)?[:/])[\w.-]+(?::\d+)?/(?:debian|simple)\b"
)


@cache
def tracked() -> tuple[Path, ...]:
    """Return all files under version control that exist."""
    names = run(["git", "ls-files", "-z"], cwd=ROOT).stdout.decode().split("\0")
    paths = (ROOT / name for name in names if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def text_of(path: Path) -> str:
    """Return a file's text; nothing for binary files."""
    raw = path.read_bytes()
    return "" if b"\0" in raw[:4096] else raw.decode(errors="replace")


def python_files(*folders: str) -> list[Path]:
    """Return the tracked Python files below some folders."""
    return [p for p in tracked() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in folders]


def machine_registries() -> set[str]:
    """Return the hosts that this machine gets packages from."""
    home = Path.home()
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    files += [Path("/etc/pip.conf"), home / ".config/pip/pip.conf", home / ".pip/pip.conf"]
    text = os.environ.get("PIP_INDEX_URL", "") + os.environ.get("PIP_EXTRA_INDEX_URL", "")
    for path in files:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        text += "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    hosts = re.findall(r"://(?:[^/@\s]*@)?([^/:\s]+)", text)
    return {host for host in hosts if "." in host} - ALLOWED_HOSTS


def test_no_file_outgrows_its_reader() -> None:
    """Python and C files stay within 500 lines; a longer one has two jobs."""
    lengths = {
        str(path.relative_to(ROOT)): len(text_of(path).splitlines())
        for path in tracked()
        if path.suffix in (".py", ".c", ".h")
    }

    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_file_names_a_package_registry() -> None:
    """Mirrors and indexes are the machine's business; locks and code name none."""
    patterns = [ARCHIVE_ADDRESS, *(re.compile(re.escape(host)) for host in machine_registries())]
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        for pattern in patterns
        if (match := pattern.search(text_of(path)))
    ]

    assert found == []


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    """Home directories and checkouts differ; files name paths relative to what is known."""
    pattern = re.compile(rf"(?<![\w.])(/home/[a-z]\w+|/Users/\w+|{re.escape(str(ROOT))})/")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if (match := pattern.search(text_of(path)))
    ]

    assert found == []


def test_no_module_but_one_starts_programs() -> None:
    """`subprocess` is called in `lib.run`; others use its types and constants at most."""
    starters = {"run", "Popen", "call", "check_call", "check_output", "getoutput"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in python_files("src")
        if path.relative_to(ROOT).as_posix() != "src/bulkhead/lib/run.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr) in {("subprocess", name) for name in starters}
    ]

    assert found == []


def test_packages_only_describe_themselves() -> None:
    """An `__init__.py` has a docstring, at most a version, and no logic."""
    wrong = []
    for path in python_files("src"):
        if path.name == "__init__.py":
            first, *rest = ast.parse(path.read_text()).body or [ast.Pass()]
            described = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            if not described or any(not isinstance(node, ast.Assign) for node in rest):
                wrong.append(str(path.relative_to(ROOT)))

    assert wrong == []


def test_every_test_says_what_must_hold() -> None:
    """Test functions have a docstring: it is what the failure is read with."""
    missing = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in python_files("tests")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and ast.get_docstring(node) is None
    ]

    assert missing == []


@pytest.mark.parametrize(
    ("name", "extras"), [("build.txt", ("build",)), ("dev.txt", ("build", "dev"))]
)
def test_requirements_pin_what_the_project_asks_for(name: str, extras: tuple[str, ...]) -> None:
    """Every direct dependency is pinned with hashes, and nothing names an index."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    text = (ROOT / "requirements" / name).read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+==\S+).*\\\n    --hash=sha256:", text, re.MULTILINE))
    names = {re.split(r"[<>=!~\[ ]", item)[0].lower() for item in wanted}

    assert names <= {item.partition("==")[0] for item in pinned}
    assert len(pinned) == len(re.findall(r"==", re.sub(r" ;.*", "", text)))
    assert "://" not in text


NOT_THE_IMAGES = {
    "click": "a workstation's; Debian's version is 8.1.8 by another name",
    "grpclib": "the registry has no 0.4.8 candidate 2, which Debian has",
    "hpack": "h2 4.2.0 asks for a newer one than Debian gives it",
    "hyperframe": "h2 4.2.0 asks for a newer one than Debian gives it",
}
"""Libraries of a node whose tests run on another version: why."""


def test_the_tests_run_on_the_libraries_of_the_image() -> None:
    """What runs on a node runs on Debian's versions: `requirements/image.txt` has those of the locks."""
    text = (ROOT / "requirements/dev.txt").read_text()
    pinned = dict(
        re.findall(r"^([a-z0-9-]+)==([^\s;]+)(?!\S| ; python_full_version >)", text, re.M)
    )
    for path in sorted((ROOT / "image/variants").glob("*/variant.lock")):
        found = re.findall(
            r'"name": "python3-([a-z0-9-]+)", "version": "([^"-]+)', path.read_text()
        )
        locked = {name: version for name, version in found if name in pinned}

        assert {n for n in locked if pinned[n] != locked[n]} == NOT_THE_IMAGES.keys(), path
        assert len(locked) > 10


IMPORT_WITH_BASE_ONLY = """
import importlib, importlib.metadata, pkgutil, re, sys

def closure(names):
    found, queue = set(), list(names)
    while queue:
        name = re.split(r"[<>=!~\\[; (]", queue.pop())[0].lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        try:
            needs = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:  # for another Python or system
            continue
        queue += [need for need in needs if "extra ==" not in need]
    return found

allowed = closure(sys.argv[1:])
owners = importlib.metadata.packages_distributions()
foreign = {
    top for top, dists in owners.items()
    if not {d.lower().replace("_", "-") for d in dists} & allowed
} - set(sys.stdlib_module_names)

class Fence:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in foreign:
            raise ImportError(f"{name} is no dependency of a node")

sys.meta_path.insert(0, Fence())
for package in ("bulkhead.model", "bulkhead.lib", "bulkhead.render", "bulkhead.host", "bulkhead.client"):
    folder = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(folder, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def test_a_nodes_modules_need_only_the_base_dependencies() -> None:
    """Everything that goes into an image imports without the builder's or developer's extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[<>=!~]", item)[0] for item in project["dependencies"]]

    done = run([sys.executable, "-P", "-c", IMPORT_WITH_BASE_ONLY, *names], check=False,
               env={**os.environ, "PYTHONPATH": str(ROOT / "src")})  # fmt: skip

    assert done.stderr.decode() == ""
    assert done.returncode == 0
