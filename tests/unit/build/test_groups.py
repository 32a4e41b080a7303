"""Settings of a variant: what the builder makes of them, and messages for every way to write them wrongly."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from bulkhead.build import groups, variants
from bulkhead.build.groups import Chosen
from bulkhead.build.tree import Tree
from bulkhead.lib import groups as shipped
from bulkhead.lib.dirs import repository_root
from bulkhead.model.errors import HostError, UserError
from bulkhead.model.settings.groups import SettingsError

EXAMPLE = repository_root() / "tests" / "data" / "variants" / "logger"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """Return a copy of the documentation's example, to be changed."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "logger"))


def choose(folder: Path) -> Chosen:
    """Return what a variant's node can be told."""
    return groups.choose(variants.load(str(folder)))


def rewrite(path: Path, old: str, new: str) -> None:
    """Change a part of a file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(folder: Path) -> UserError:
    """Return the error of a variant that is wrong."""
    with pytest.raises(UserError) as caught:
        choose(folder)
    return caught.value


def placed(chosen: Chosen, folder: Path) -> Path:
    """Write what goes into the agent tree to a directory; return where settings are in it."""
    tree = Tree()
    groups.place(tree, chosen)
    for path, entry in tree.items():
        if entry.kind.value == "file":
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(entry.read())
    return folder / groups.PLACE


def test_every_shipped_variant_has_right_settings() -> None:
    """Bulkhead's own variants have groups and defaults that fit."""
    for name in variants.names():
        assert "network" in groups.choose(variants.load(name)).groups.names


def test_a_variant_adds_groups_of_its_own() -> None:
    """One by JSON Schema, one by a Python module; the variant's values win over the group's."""
    chosen = choose(EXAMPLE)

    assert {"journal", "watchdog", "network", "motd"} <= set(chosen.groups.names)
    assert chosen.defaults == {
        "journal": {"max-use": "500M", "keep-days": 7},
        "watchdog": {"enabled": False},
        "motd": "Logs are kept for a week.",
    }
    assert chosen.groups.is_secret(("journal", "forward", "token"))
    with pytest.raises(SettingsError) as caught:
        chosen.groups.check({"journal": {"keep-days": 0}})
    assert str(caught.value) == (
        "settings.journal.keep-days: expected a whole number from 1 to 3650, got 0"
    )
    with pytest.raises(SettingsError, match=r"settings.watchdog.shutdown-seconds: is missing"):
        chosen.groups.check({"watchdog": {"enabled": True}}, complete=True)


def test_a_node_reads_what_the_builder_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups, defaults, templates and modules come back from the agent tree as they went in."""
    chosen = choose(EXAMPLE)
    place = placed(chosen, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "usr/lib/python3/dist-packages"))

    found = shipped.load(place)

    assert found.names == chosen.groups.names
    assert shipped.defaults(place) == chosen.defaults
    assert found.check(chosen.defaults, complete=True) == chosen.defaults
    assert found.json_schema() == chosen.groups.json_schema()
    journal = shipped.own(place)["journal"]
    assert journal == chosen.own[0].described
    assert journal.schema == 1
    template = place / "groups" / "journal" / journal.files[0].template
    assert template.read_text().startswith("[Journal]")
    with pytest.raises(SettingsError, match="shutdown-seconds"):
        found.check({"watchdog": {"enabled": True}}, complete=True)


def test_an_incomplete_image_is_an_error_of_the_machine(tmp_path: Path) -> None:
    """A node without the files, or with damaged ones, says which."""
    place = placed(choose(EXAMPLE), tmp_path)
    (place / "defaults.json").write_bytes(b'{"motd": ')

    with pytest.raises(HostError, match=r"defaults.json: the image's settings cannot be read"):
        shipped.defaults(place)
    with pytest.raises(HostError, match=r"groups\.json"):
        shipped.load(place / "nowhere")
    with pytest.raises(HostError, match=r"x\.j2: the image's template cannot be read"):
        shipped.template("journal", "x.j2", directory=place)


def test_a_wrong_default_is_found_with_its_line(example: Path) -> None:
    """The error names the file and line of the variant that says it, and the nearest name."""
    rewrite(example / "variant.toml", "motd =", "network.hostnam =")

    error = refused(example)

    assert error.where == f"{example}/variant.toml"
    assert error.what == "settings.network.hostnam: there is no such setting"
    assert error.hint == "did you mean 'hostname'?"


def test_a_wrong_value_in_a_section_is_found_with_its_line(example: Path) -> None:
    """Values below a header are found too."""
    rewrite(example / "variant.toml", "keep-days = 7", 'keep-days = "x"')

    error = refused(example)

    line = (example / "variant.toml").read_text().splitlines().index('keep-days = "x"') + 1
    assert error.where == f"{example}/variant.toml:{line}"
    assert error.what.startswith("settings.journal.keep-days: expected a whole number")


def test_a_wrong_default_of_an_own_group_is_found_in_its_file(example: Path) -> None:
    """The group's own defaults are checked like the variant's."""
    path = example / "settings/journal/group.toml"
    rewrite(path, '"500M"', '"lots"')

    error = refused(example)

    line = path.read_text().splitlines().index('max-use = "lots"') + 1
    assert error.where == f"{path}:{line}"


def test_an_inherited_list_of_a_setting_is_replaced(tmp_path: Path) -> None:
    """Lists of settings replace each other, as on a node; those of the variant itself add up."""
    for name, text in {
        "parent": 'settings-groups = ["dns"]\n[settings.dns]\nname-servers = ["192.0.2.1"]\n',
        "child": 'inherit = ["../parent"]\nsettings-groups = ["motd"]\n'
        '[settings.dns]\nname-servers = ["192.0.2.2"]\n',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "variant.toml").write_text(text)

    chosen = choose(tmp_path / "child")

    assert chosen.names == ("dns", "motd")
    assert chosen.defaults == {"dns": {"name-servers": ["192.0.2.2"]}}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("etc/motd", "settings.motd"),
        ("etc/hosts", "settings.network.hosts or settings.network.hostname"),
        ("etc/containerd/certs.d/example/hosts.toml", "settings.container-registry"),
        ("etc/systemd/journald.conf.d/60-settings.conf", "settings.journal"),
    ],
)
def test_files_that_settings_write_cannot_be_brought(example: Path, path: str, names: str) -> None:
    """They would be lost without a word; the setting that is meant is named."""
    rewrite(example / "variant.toml", "settings-groups", 'rootfs = ["files"]\nsettings-groups')
    brought = example / "files" / path
    brought.parent.mkdir(parents=True)
    brought.write_text("ours\n")

    error = refused(example)

    assert error.what == f"/{path} is written by Bulkhead itself"
    assert error.where == str(brought)
    assert error.hint == f"say it in variant.toml with {names}, or choose another path"


def test_a_file_from_elsewhere_cannot_be_one_that_settings_write(example: Path) -> None:
    """It would be lost like one of `rootfs`."""
    text = f'[[files]]\npath = "etc/motd"\nurl = "http://example.com/x"\nsize = 1\nsha256 = "{"0" * 64}"'
    with (example / "variant.toml").open("a") as file:
        file.write(f"\n{text}\n")

    error = refused(example)

    assert (error.what, error.where) == (
        "/etc/motd is written by Bulkhead itself",
        str(example / "variant.toml"),
    )


def test_files_beside_those_of_settings_can_be_brought(example: Path) -> None:
    """A drop-in of another name, and a directory that is called like a file."""
    rewrite(example / "variant.toml", "settings-groups", 'rootfs = ["files"]\nsettings-groups')
    for path in ("etc/sysctl.d/50-ours.conf", "etc/motd.d/ours"):
        brought = example / "files" / path
        brought.parent.mkdir(parents=True)
        brought.write_text("ours\n")

    assert "motd" in choose(example).groups.names


def test_a_misspelt_group_is_found_with_the_nearest_name(example: Path) -> None:
    """Bulkhead's groups are named; a group of one's own is a path."""
    rewrite(example / "variant.toml", '"./settings/journal"', '"netwrok"')

    error = refused(example)

    assert error.what == "there is no group of settings 'netwrok'"
    assert error.hint == "did you mean 'network'?"
    assert error.where is not None
    assert error.where.startswith(f"{example}/variant.toml:")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("group.toml", "description =", "descripton =", "unknown key 'descripton'"),
        ("group.toml", "[[files]]", "[[file]]", "unknown key 'file'"),
        ("group.toml", '"/etc/systemd', '"/usr/systemd', r"files.*path"),
        ("group.toml", '"/etc/systemd', '"/etc/../usr', r"files.*path"),
        ("group.toml", "journal.conf.j2", "../../x.j2", r"files.*template"),
        ("group.toml", "journal.conf.j2", "other.j2", "the template cannot be read"),
        ("group.toml", "journald.conf.d/60-settings.conf", "../motd", r"files.*path"),
        ("group.toml", "/etc/systemd/journald.conf.d/60-settings.conf", "/etc/motd",
         "/etc/motd is written by Bulkhead itself"),
        ("group.toml", 'action = "restart"', 'action = "start"', r"services.*action"),
        ("group.toml", '[defaults]', 'before = ["containred"]\n[defaults]',
         "there is no service 'containred' to come before"),
        ("group.toml", '"systemd-journald.service"', '"systemd-journald"', r"services.*unit"),
        ("group.toml", "[defaults]", 'secrets = ["tokn"]\n[defaults]',
         "there is no 'tokn' that could be secret"),
        ("group.toml", "[defaults]", '[[migrations]]\nadded = ["a..b"]\n[defaults]',
         "migrations: 'a..b' is not the name of a setting"),
        ("schema.json", '"type": "object",', '"type": "objct",', "type has to be one of"),
        ("schema.json", '"minimum"', '"minimun"', "'minimun' is not understood"),
        ("schema.json", '"hostname"', '"hostnam"', "format 'hostnam' is not known"),
        ("schema.json", '["address"]', '["adress"]', "requires 'adress', which it does not have"),
        ("schema.json", "{", "[", "is not a JSON object"),
    ],
)  # fmt: skip
def test_a_wrong_group_is_refused_when_the_image_is_built(
    example: Path, file: str, old: str, new: str, message: str
) -> None:
    """Everything that would fail on a node fails here, with the file's name."""
    rewrite(example / "settings/journal" / file, old, new)

    with pytest.raises(UserError, match=message) as caught:
        choose(example)
    assert caught.value.where is not None
    assert "settings/journal" in caught.value.where


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Model = 1 / 0\n", "cannot be used: ZeroDivisionError"),
        ("x = 1\n", "cannot be used: AttributeError"),
        ("Model = set\n", "cannot be used: TypeError"),
        ("Model = (", "cannot be used: SyntaxError"),
    ],
)
def test_a_module_that_is_no_group_is_refused(example: Path, text: str, message: str) -> None:
    """Whatever a group's module does, the builder says which file it was."""
    (example / "settings/watchdog/group.py").write_text(text)

    error = refused(example)

    assert error.what.startswith(message)
    assert error.where == str(example / "settings/watchdog/group.py")


def test_a_group_is_declared_once(example: Path) -> None:
    """A schema beside a module would be a second truth, and without both there is none."""
    schema = example / "settings/journal/schema.json"
    shutil.copy(schema, example / "settings/watchdog/schema.json")
    assert refused(example).what.startswith("has both schema.json and group.py")

    (example / "settings/watchdog/schema.json").unlink()
    schema.unlink()
    assert refused(example).what.startswith("has no schema.json or group.py")


@pytest.mark.parametrize("name", ["motd", "settings", "Journal"])
def test_a_group_needs_a_name_of_its_own(example: Path, name: str) -> None:
    """The name is a key in the same tree as Bulkhead's groups."""
    (example / "settings/journal").rename(example / "settings" / name)
    rewrite(example / "variant.toml", "./settings/journal", f"./settings/{name}")

    assert refused(example).where == str(example / "settings" / name)


def test_the_example_is_what_a_schema_says() -> None:
    """The schema that goes out has the own groups in it."""
    made = msgspec.json.decode(msgspec.json.encode(choose(EXAMPLE).groups.json_schema()))

    assert made["properties"].keys() >= {"journal", "watchdog"}


def test_a_variant_with_templates_brings_what_fills_them(example: Path) -> None:
    """Jinja2 is in an image whose variant has groups of its own, and in no other."""
    assert "python3-jinja2" in variants.load(str(example)).variant.packages.agent
    assert "python3-jinja2" not in variants.load("standalone").variant.packages.agent
