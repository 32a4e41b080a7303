"""Updates and rollbacks of the image over the same data: nothing is lost on the way there and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.host.store.migrations import Chain, Migration, Schemas, moved, of_groups
from bulkhead.host.store.reading import GROUP_KEPT, UNREADABLE
from bulkhead.host.store.store import Store
from bulkhead.model.settings.declared import Type
from bulkhead.model.settings.groups import Group, Groups
from bulkhead.model.settings.keys import Settings, flatten, unflatten
from bulkhead.model.settings.own import Migration as Step
from bulkhead.model.settings.own import OwnGroup
from tests.support.store import NAMES, WHO, put, store

# Three images: the second adds settings, the third counts one value in another unit.
ADDED = moved(added=(("motd",), ("kernel", "sysctl")))


def seconds(settings: Settings) -> Settings:
    """Bring a value into another form: the sysctl is 1000 times larger."""
    return times(settings, 1000)


def thousands(settings: Settings) -> Settings:
    """Bring it back."""
    return times(settings, 1 / 1000)


def times(settings: Settings, factor: float) -> Settings:
    """Multiply the one value that has another unit."""
    key = ("kernel", "sysctl", "vm.timeout")
    leaves = flatten(settings)
    if key in leaves:
        leaves[key] = str(int(int(str(leaves[key])) * factor))
    return unflatten(leaves)


UNIT = Migration(seconds, thousands)
IMAGES = (
    Schemas(core=Chain()),
    Schemas(core=Chain((ADDED,))),
    Schemas(core=Chain((ADDED, UNIT))),
)


def image(home: Path, schema: int) -> Store:
    """Return the store as the image of a schema sees it."""
    return store(home, schemas=IMAGES[schema - 1], defaults={}, os_version=f"{schema}.0.0")


VALUES: Settings = {
    "network": {"hostname": "node-1"},
    "motd": "new in schema 2",
    "kernel": {"sysctl": {"vm.timeout": "2000"}, "lockdown": "integrity"},
}


def test_an_older_image_reads_what_a_newer_one_wrote(tmp_path: Path) -> None:
    """Each gets the form of its own schema, from the same commit, without knowing the newer."""
    put(image(tmp_path, 3), VALUES)

    assert image(tmp_path, 3).own() == VALUES
    assert image(tmp_path, 2).own() == {
        **VALUES,
        "kernel": {"sysctl": {"vm.timeout": "2"}, "lockdown": "integrity"},
    }
    assert image(tmp_path, 1).own() == {
        "network": {"hostname": "node-1"},
        "kernel": {"lockdown": "integrity"},
    }
    assert image(tmp_path, 1).conditions() == ()


def test_a_newer_image_brings_old_settings_forward(tmp_path: Path) -> None:
    """Reading changes nothing on the disk, so the older image still finds its own."""
    old = image(tmp_path, 2)
    put(old, {"kernel": {"sysctl": {"vm.timeout": "2"}}})

    assert image(tmp_path, 3).own() == {"kernel": {"sysctl": {"vm.timeout": "2000"}}}
    assert old.own() == {"kernel": {"sysctl": {"vm.timeout": "2"}}}


def test_a_rollback_of_the_image_and_an_update_again_lose_nothing(tmp_path: Path) -> None:
    """Commits of the older image count; what it could not express is back with the newer one."""
    put(image(tmp_path, 3), VALUES)

    put(image(tmp_path, 1), {"network": {"hostname": "renamed"}})
    node = image(tmp_path, 1)
    node.stage_unset("default", [("kernel", "lockdown")])
    node.commit("default", who=WHO)

    assert image(tmp_path, 1).own() == {"network": {"hostname": "renamed"}}
    assert image(tmp_path, 3).own() == {
        "network": {"hostname": "renamed"},
        "motd": "new in schema 2",
        "kernel": {"sysctl": {"vm.timeout": "2000"}},
    }
    assert [commit.schema for commit in node.history()] == [1, 1, 3]
    assert [commit.os_version for commit in node.history()] == ["1.0.0", "1.0.0", "3.0.0"]


def test_an_update_in_small_steps_loses_nothing_either(tmp_path: Path) -> None:
    """From 3 back to 1, forward to 2, which commits, and to 3: all that 3 had is there."""
    put(image(tmp_path, 3), VALUES)
    put(image(tmp_path, 1), {"network": {"hostname": "one"}})
    assert image(tmp_path, 2).own()["network"] == {"hostname": "one"}
    put(image(tmp_path, 2), {"network": {"hostname": "two"}})

    assert image(tmp_path, 3).own() == {**VALUES, "network": {"hostname": "two"}}


def test_a_rollback_of_settings_reaches_over_an_update(tmp_path: Path) -> None:
    """A commit of an older image is restored in the form of the present one, and the reverse."""
    put(image(tmp_path, 2), {"kernel": {"sysctl": {"vm.timeout": "2"}}})
    put(image(tmp_path, 3), {"kernel": {"sysctl": {"vm.timeout": "5000"}}})

    image(tmp_path, 3).rollback(1, who=WHO)
    assert image(tmp_path, 3).own() == {"kernel": {"sysctl": {"vm.timeout": "2000"}}}
    image(tmp_path, 2).rollback(2, who=WHO)
    assert image(tmp_path, 2).own() == {"kernel": {"sysctl": {"vm.timeout": "5"}}}
    assert image(tmp_path, 3).own() == {"kernel": {"sysctl": {"vm.timeout": "5000"}}}


def test_an_image_that_is_too_old_takes_the_newest_it_can_read(tmp_path: Path) -> None:
    """A newer image that no longer supports its schema has left older commits behind."""
    put(image(tmp_path, 1), {"network": {"hostname": "one"}})
    newest = Schemas(core=Chain((UNIT,), oldest=4))
    put(store(tmp_path, schemas=newest, defaults={}), {"motd": "far ahead"})

    state = image(tmp_path, 1).state()

    assert state.own == {"network": {"hostname": "one"}}
    assert [entry.code for entry in state.conditions] == [UNREADABLE]
    assert "in the schemas [4, 5], this image reads 1 to 1" in state.conditions[0].title


def test_a_migration_that_fails_does_not_keep_the_node_from_booting(tmp_path: Path) -> None:
    """The commit counts as one that cannot be read, and the reason is told."""

    def fail(settings: Settings) -> Settings:
        raise KeyError(settings["motd"])

    put(image(tmp_path, 1), {"network": {"hostname": "secret-name"}})
    node = store(tmp_path, schemas=Schemas(core=Chain((Migration(fail, fail),))), defaults={})

    assert node.live() == {}
    assert "a migration fails: KeyError" in node.conditions()[0].title
    assert "secret-name" not in str(node.conditions())


def own_group() -> Group:
    """Return a group that a variant brings along: any table of text."""
    return Group("bees", Type(dict[str, str]))


HIVES = moved(renamed={("bees", "hive"): ("bees", "home")})


def variant(home: Path, schema: int | None) -> Store:
    """Return the store of a variant whose own group has a schema, or that has no such group."""
    if schema is None:
        return store(home, defaults={})
    chain = Chain((HIVES,) * (schema - 1))
    groups = Groups(NAMES, {"bees": own_group})
    return store(home, groups=groups, schemas=Schemas(groups={"bees": chain}), defaults={})


def test_a_group_of_a_variant_has_migrations_of_its_own(tmp_path: Path) -> None:
    """Its schema moves without that of Bulkhead's settings, there and back."""
    put(variant(tmp_path, 1), {"motd": "x", "bees": {"hive": "north"}})
    assert variant(tmp_path, 2).own() == {"motd": "x", "bees": {"home": "north"}}
    put(variant(tmp_path, 2), {"bees": {"queen": "Maja"}})

    assert variant(tmp_path, 1).own() == {"motd": "x", "bees": {"hive": "north", "queen": "Maja"}}
    assert variant(tmp_path, 2).own() == {"motd": "x", "bees": {"home": "north", "queen": "Maja"}}


def test_an_image_without_the_group_carries_it_along(tmp_path: Path) -> None:
    """It is told, kept over commits, and back with an image that has the group."""
    put(variant(tmp_path, 2), {"motd": "x", "bees": {"home": "north"}})
    other = variant(tmp_path, None)

    assert other.own() == {"motd": "x"}
    assert [(entry.code, entry.where) for entry in other.conditions()] == [
        (GROUP_KEPT, "settings.bees")
    ]
    put(other, {"motd": "y"})
    assert variant(tmp_path, 1).own() == {"motd": "y", "bees": {"hive": "north"}}

    other.stage_unset("default", [("bees",)])
    other.commit("default", who=WHO)
    assert other.conditions() == ()
    assert variant(tmp_path, 2).own() == {"motd": "y"}


def test_a_group_that_only_a_newer_image_can_read_is_carried_along(tmp_path: Path) -> None:
    """As long as nobody sets it anew."""
    groups = Groups(NAMES, {"bees": own_group})
    far = Schemas(groups={"bees": Chain((HIVES,), oldest=7)})
    put(store(tmp_path, groups=groups, schemas=far, defaults={}), {"bees": {"home": "north"}})
    old = variant(tmp_path, 1)

    put(old, {"motd": "x"})
    assert "in the schemas [7, 8], this image reads 1 to 1" in old.conditions()[0].title
    assert store(tmp_path, groups=groups, schemas=far, defaults={}).own() == {
        "motd": "x",
        "bees": {"home": "north"},
    }
    put(old, {"bees": {"hive": "south"}})
    assert old.conditions() == ()
    assert old.own() == {"motd": "x", "bees": {"hive": "south"}}


TABLE = st.dictionaries(st.sampled_from(["x", "old", "older"]), st.integers())
TREES = st.fixed_dictionaries({}, optional={"a": TABLE, "b": TABLE, "c": st.integers()})


@given(TREES)
def test_there_and_back_is_where_it_began(tree: Settings) -> None:
    """For every tree of the older schema, whatever is renamed and added."""
    step = moved(renamed={("a", "old"): ("b", "never-used")}, added=(("later",),))
    chain = Chain((step,))
    plain = unflatten(flatten(tree))
    newer = chain.forward(plain, 1)

    assert chain.versions(newer)[1] == plain
    assert chain.versions({**newer, "later": {"x": 1}})[1] == plain


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_a_commit_has_every_older_form(tmp_path: Path, schema: int) -> None:
    """So an image of any supported schema finds one."""
    put(image(tmp_path, schema), {"network": {"hostname": "node-1"}})

    for other in (1, 2, 3):
        assert image(tmp_path, other).own() == {"network": {"hostname": "node-1"}}


def test_a_group_of_a_variant_says_its_migrations_in_a_file() -> None:
    """What `group.toml` says of renamed and new keys works in both directions, inside the group."""
    group = OwnGroup(
        description="x",
        migrations=(Step(renamed={"keep-days": "retention.days"}, added=("retention.size",)),),
    )

    chain = of_groups({"journal": group}).groups["journal"]

    assert chain.schema == group.schema == 2
    new: Settings = {"journal": {"retention": {"days": 7, "size": "1G"}, "max-use": "2G"}}
    old: Settings = {"journal": {"keep-days": 7, "max-use": "2G"}}
    assert chain.versions(new) == {1: old, 2: new}
    assert chain.forward(old, 1) == {"journal": {"retention": {"days": 7}, "max-use": "2G"}}
