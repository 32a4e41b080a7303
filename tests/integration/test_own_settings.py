"""A variant with settings of its own, built for real: what its agents find in their tree, read by their Python."""

from __future__ import annotations

import base64
import tomllib
from pathlib import Path

import msgspec
import pytest

from bulkhead.lib import sandbox
from bulkhead.lib.dirs import repository_root
from tests.support import images
from tests.unit.model.settings.test_bottlerocket import EXAMPLES, PEM

EXAMPLE = repository_root() / "tests" / "data" / "variants" / "logger"
AGENT = "usr/lib/bulkhead/agent"

# Runs with the image's own Python, msgspec and bytecode, where docstrings and assertions are gone.
PROGRAM = """
import sys
import msgspec
from bulkhead.lib import groups
from bulkhead.model.errors import BulkheadError
found = groups.load()
answers = {"names": found.names, "defaults": groups.defaults(), "own": groups.own(), "results": []}
for text in sys.argv[1:]:
    try:
        answers["results"].append(found.check(msgspec.json.decode(text), complete=True))
    except BulkheadError as error:
        answers["results"].append(str(error))
answers["loaded"] = [name for name in sys.modules if name.startswith("bulkhead.model.settings.")]
answers["schema"] = len(found.json_schema()["properties"])
answers["secret"] = found.is_secret(("journal", "forward", "token"))
sys.stdout.buffer.write(msgspec.json.encode(answers))
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the agent tree of the built example."""
    folder = tmp_path_factory.mktemp("logger")
    image = images.build(folder / "out", str(EXAMPLE))
    root = folder / "root"
    images.image_tools().run(
        ["fsck.erofs", f"--extract={root}", str(image.path("root"))],
        reads=[folder], writes=[folder],
    )  # fmt: skip
    return root / AGENT


FILL = """
import sys
import msgspec
from bulkhead.render import own
settings = msgspec.json.decode(sys.argv[1])
before = "jinja2" in sys.modules
files = {
    file.path: file.data.decode()
    for service in own.shipped() if service.name in ("journal", "watchdog")
    for file in service.render(settings)
}
sys.stdout.buffer.write(msgspec.json.encode([before, files]))
"""


def test_templates_are_filled_on_a_node_and_in_the_image(agent: Path) -> None:
    """The image has the files of the defaults; a node makes others from its own settings."""
    journal = "etc/systemd/journald.conf.d/60-settings.conf"
    settings = {
        "journal": {"max-use": "1G", "keep-days": 1, "forward": {"address": "logs.example.com"}},
        "watchdog": {"enabled": True, "shutdown-seconds": 60},
    }
    done = sandbox.run(
        sandbox.Sandbox(root=agent),
        ["/usr/bin/python3.13", "-I", "-B", "-c", FILL, msgspec.json.encode(settings).decode()],
    )
    root = agent.parents[3]

    assert (root / journal).read_text() == "[Journal]\nSystemMaxUse=500M\nMaxRetentionSec=7day\n"
    assert msgspec.json.decode(done.stdout) == [
        False,
        {
            f"/{journal}": "[Journal]\nSystemMaxUse=1G\nMaxRetentionSec=1day\n"
            "ForwardToSocket=logs.example.com\n",
            "/etc/systemd/system.conf.d/60-watchdog.conf": "[Manager]\nRuntimeWatchdogSec=60\n"
            "RebootWatchdogSec=60\n",
        },
    ]


def ask(agent: Path, *settings: object) -> dict[str, object]:
    """Return what the agent's Python says of some settings."""
    texts = [msgspec.json.encode(item).decode() for item in settings]
    done = sandbox.run(
        sandbox.Sandbox(root=agent),
        ["/usr/bin/python3.13", "-I", "-B", "-c", PROGRAM, *texts],
    )
    return msgspec.json.decode(done.stdout, type=dict[str, object])


def test_the_agents_of_a_node_know_the_variants_settings(agent: Path) -> None:
    """Groups, defaults, own groups by schema and by module, and their errors, with the image's bytes."""
    answers = ask(
        agent,
        {"journal": {"keep-days": 0}},
        {"watchdog": {"enabled": True}},
        {"watchdog": {"enabled": True, "shutdown-seconds": 60}, "motd": "hello"},
        {"kubernetes": {}},
        {"network": {"interfaces": {"eth0": {"mtu": "big"}}}},
    )

    assert set(answers["names"]) >= {"journal", "watchdog", "network", "firewall"}  # type: ignore[call-overload] # a list
    assert answers["defaults"] == {
        "journal": {"max-use": "500M", "keep-days": 7},
        "watchdog": {"enabled": False},
        "motd": "Logs are kept for a week.",
    }
    assert answers["results"] == [
        "settings.journal.keep-days: expected a whole number from 1 to 3650, got 0",
        "settings.watchdog.shutdown-seconds: is missing; the watchdog is enabled",
        {"watchdog": {"enabled": True, "shutdown-seconds": 60}, "motd": "hello"},
        "settings.kubernetes: this variant has no such settings\n"
        f"  hint: it has: {', '.join(answers['names'])}",  # type: ignore[arg-type] # a list
        'settings.network.interfaces.eth0.mtu: expected a whole number from 68 to 9216, got "big"',
    ]
    assert answers["secret"] is True
    assert answers["schema"] == len(answers["names"])  # type: ignore[arg-type] # a list


def test_bottlerockets_settings_are_right_on_a_node_too(agent: Path) -> None:
    """The image's msgspec is older than the workstation's; it judges the same, certificates included."""
    settings = tomllib.loads(EXAMPLES["general"])
    bundle = {"pki": {"own": {"data": base64.b64encode(PEM).decode()}}}

    answers = ask(agent, settings, bundle, {"pki": {"own": {"data": "YQ=="}}})

    assert answers["results"] == [
        settings,
        bundle,
        'settings.pki.own.data: expected base64 of one or more certificates in PEM form, got "YQ=="',
    ]


def test_a_node_loads_only_the_groups_that_are_set(agent: Path) -> None:
    """A group that nobody uses costs its name."""
    loaded = ask(agent, {"motd": "x"})["loaded"]
    assert isinstance(loaded, list)

    # The schema, which is asked for afterwards, needs them all.
    common = {"check", "declared", "groups", "keys", "own", "values"}
    assert {name.rpartition(".")[2] for name in loaded} == {*common, "motd"}


def test_templates_and_modules_are_in_the_agent_tree(agent: Path) -> None:
    """Templates as they are, modules as bytecode alone."""
    found = {
        path.relative_to(agent).as_posix(): path.read_bytes()
        for folder in ("usr/share/bulkhead", "usr/lib/python3/dist-packages/bulkhead_groups")
        for path in (agent / folder).rglob("*")
        if path.is_file()
    }

    template = EXAMPLE / "settings/journal/journal.conf.j2"
    assert found["usr/share/bulkhead/groups/journal/journal.conf.j2"] == template.read_bytes()
    assert sorted(path for path in found if "bulkhead_groups" in path) == [
        "usr/lib/python3/dist-packages/bulkhead_groups/__init__.pyc",
        "usr/lib/python3/dist-packages/bulkhead_groups/watchdog.pyc",
    ]
