"""What the programs on a node load: their start-up time, memory and size.

`imports/PROGRAM.txt` is committed, as it is on the image's Python. After a
change that is meant, write it again with `BULKHEAD_WRITE_IMPORTS=1 ./bulkhead
python -m pytest tests/integration/test_image_python.py` and say why in the
commit.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from bulkhead.lib.dirs import repository_root
from bulkhead.lib.run import run

ROOT = repository_root()
UNITS = ROOT / "image" / "rootfs" / "usr" / "lib" / "systemd" / "system"
LISTS = Path(__file__).parent / "imports"

# Of the standard library, whose small modules differ between Pythons, only what is big.
BIG = {
    "asyncio", "concurrent", "ctypes", "dataclasses", "decimal", "email", "http", "inspect",
    "json", "logging", "multiprocessing", "pickle", "socket", "ssl", "subprocess", "tarfile",
    "tempfile", "tomllib", "unittest", "urllib", "xml", "zipfile",
}  # fmt: skip

IS_IMAGES = sys.version_info[:2] == (3, 13)
OTHERS_OWN = {"dataclasses", "urllib"}
"""What modules of other Pythons load of their library, and the same of the image's do not."""
OURS = re.compile(r"bulkhead\b")

SHOW = """
import importlib, importlib.util, sys
name = {module!r}
if importlib.util.find_spec(name).submodule_search_locations is not None:
    name += ".__main__"
before = set(sys.modules)
importlib.import_module(name)
for name in sorted(set(sys.modules) - before - {{"__mp_main__"}}):
    top = name.partition(".")[0]
    if top == "bulkhead":
        print(name)
    elif "." not in name and (top not in sys.stdlib_module_names or top in {big!r}):
        print(name)
"""


def programs() -> dict[str, str]:
    """Return the module of each program that a unit starts, by the name of its list."""
    found = {}
    for unit in UNITS.rglob("*.service"):
        for module in re.findall(
            r"^Exec\w+=.* -m (bulkhead\.[\w.]+)", unit.read_text(), re.MULTILINE
        ):
            found[module.removeprefix("bulkhead.host.").replace(".", "-")] = module
    return found


@pytest.mark.parametrize("name", sorted(programs()))
def test_a_program_loads_what_its_list_says(name: str) -> None:
    """More modules mean a slower start and a bigger node; fewer are welcome, and are committed too."""
    code = SHOW.format(module=programs()[name], big=BIG)
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    found = run([sys.executable, "-P", "-c", code], env=environment).stdout.decode()
    loaded = found.split()
    path = LISTS / f"{name}.txt"
    if os.environ.get("BULKHEAD_WRITE_IMPORTS") and IS_IMAGES:
        LISTS.mkdir(exist_ok=True)
        path.write_text(found)

    listed = path.read_text().split()
    assert [name for name in loaded if OURS.match(name)] == [
        name for name in listed if OURS.match(name)
    ]
    if IS_IMAGES:
        assert loaded == listed
    else:  # newer libraries may load less
        assert set(loaded) <= {*listed, *OTHERS_OWN}


def test_every_list_belongs_to_a_program() -> None:
    """A program that is gone takes its list along."""
    assert {path.stem for path in LISTS.glob("*.txt")} == programs().keys()
