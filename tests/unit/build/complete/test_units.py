"""Enabling units without systemctl."""

from __future__ import annotations

import pytest

from bulkhead.build.complete import units
from bulkhead.build.tree import Tree, file, symlink
from bulkhead.model.errors import UserError


def tree_with(**texts: str) -> Tree:
    """Return a tree with these service units."""
    tree = Tree()
    for name, text in texts.items():
        tree.put(f"{units.FOLDER}/{name}.service", file(text))
    return tree


def test_enabling_makes_the_links_that_install_asks_for() -> None:
    """WantedBy, RequiredBy and Alias become links below /usr."""
    tree = tree_with(
        a="[Unit]\n[Install]\nWantedBy=multi-user.target\nRequiredBy=b.target\nAlias=c.service\n"
    )

    units.write(tree, enable=["a.service"], mask=[])

    assert tree[f"{units.FOLDER}/multi-user.target.wants/a.service"].target == "../a.service"
    assert tree[f"{units.FOLDER}/b.target.requires/a.service"].target == "../a.service"
    assert tree[f"{units.FOLDER}/c.service"].target == "a.service"


def test_an_instance_links_to_its_template() -> None:
    """`a@x.service` is enabled by a link with that name to `a@.service`."""
    tree = tree_with(**{"a@": "[Install]\nWantedBy=multi-user.target\n"})

    units.write(tree, enable=["a@x.service"], mask=[])

    assert tree[f"{units.FOLDER}/multi-user.target.wants/a@x.service"].target == "../a@.service"


def test_a_masked_unit_is_a_link_to_nothing() -> None:
    """Masking replaces the unit."""
    tree = tree_with(a="[Unit]\n")

    units.write(tree, enable=[], mask=["a.service"])

    assert tree[f"{units.FOLDER}/a.service"].target == "/dev/null"


def test_an_unknown_unit_gets_a_suggestion() -> None:
    """A mistyped unit is refused with the nearest one in the image."""
    with pytest.raises(
        UserError, match=r"unit 'containerdd\.service' is not in the image"
    ) as caught:
        units.write(tree_with(containerd="[Install]\n"), enable=["containerdd.service"], mask=[])

    assert caught.value.hint == "did you mean 'containerd.service'?"


def test_a_unit_that_cannot_be_enabled_is_refused() -> None:
    """Enabling a unit without [Install] would do nothing, silently."""
    with pytest.raises(UserError, match=r"has no \[Install\] section"):
        units.write(tree_with(a="[Unit]\n"), enable=["a.service"], mask=[])


def test_links_to_units_that_were_not_chosen_go() -> None:
    """A package's `wants` link to a unit that is not in the image would be an error at boot."""
    tree = tree_with(a="[Unit]\n")
    tree.put(f"{units.FOLDER}/x.target.wants/a.service", symlink("../a.service"))
    tree.put(f"{units.FOLDER}/x.target.wants/gone.service", symlink("../gone.service"))
    tree.put(f"{units.FOLDER}/masked.service", symlink("/dev/null"))

    units.drop_dangling_links(tree)

    assert f"{units.FOLDER}/x.target.wants/a.service" in tree
    assert f"{units.FOLDER}/x.target.wants/gone.service" not in tree
    assert f"{units.FOLDER}/masked.service" in tree
