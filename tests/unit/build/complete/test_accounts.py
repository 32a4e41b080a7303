"""Users and groups from sysusers.d."""

from __future__ import annotations

import pytest

from bulkhead.build.complete import accounts
from bulkhead.build.tree import Tree, file
from bulkhead.model.errors import UserError


def tree_with(**files: str) -> Tree:
    """Return a tree with these sysusers.d files."""
    tree = Tree()
    for name, text in files.items():
        tree.put(f"{accounts.FOLDER}/{name}.conf", file(text))
    return tree


def test_accounts_are_locked_and_have_fixed_numbers() -> None:
    """Nobody has a password or a shell, and numbers are those that are written down."""
    tree = tree_with(a='u root 0 "Super User" /root\ng adm 4\nu daemon 7:4 - /\nm daemon adm\n')

    accounts.write(tree)

    assert tree["etc/passwd"].read().decode() == (
        "root:x:0:0:Super User:/root:/usr/sbin/nologin\ndaemon:x:7:4::/:/usr/sbin/nologin\n"
    )
    assert tree["etc/group"].read().decode() == "root:x:0:\nadm:x:4:daemon\n"
    assert tree["etc/shadow"].read().decode() == "root:!*:::::::\ndaemon:!*:::::::\n"
    assert tree["etc/shadow"].mode == 0o600
    assert tree["etc/gshadow"].mode == 0o600


def test_the_first_file_pins_what_a_later_one_leaves_open() -> None:
    """A package's `-` is harmless when a file of ours that sorts before it has the number."""
    tree = tree_with(**{"00-own": "u net 192\n", "net": "u! net -\n"})

    accounts.write(tree)

    assert tree["etc/passwd"].read() == b"net:x:192:192::/:/usr/sbin/nologin\n"


def test_an_account_without_a_number_is_refused() -> None:
    """Numbers that differ from image to image would give files to strangers."""
    with pytest.raises(UserError, match="account 'net' has no fixed number") as caught:
        accounts.write(tree_with(net="u net -\n"))

    assert caught.value.where == f"{accounts.FOLDER}/net.conf:1"


def test_two_accounts_with_one_number_are_refused() -> None:
    """A number that two accounts share would join their rights."""
    with pytest.raises(UserError, match="'a' and 'b' share number 5"):
        accounts.write(tree_with(x="u a 5\nu b 5\n"))


def test_a_user_in_an_unknown_group_is_refused() -> None:
    """A primary group must be declared."""
    with pytest.raises(UserError, match="user 'a' is in the unknown group 'b'"):
        accounts.write(tree_with(x="u a 5:b\n"))


def test_a_line_that_is_none_is_refused() -> None:
    """A file that is no sysusers.d file is named with its line."""
    with pytest.raises(UserError, match=r"not a line of sysusers\.d") as caught:
        accounts.write(tree_with(x="# fine\nnonsense\n"))

    assert caught.value.where == f"{accounts.FOLDER}/x.conf:2"
