"""Names of settings, and trees of them: laws that hold for whatever is in them."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.model.errors import UserError
from bulkhead.model.settings import keys
from bulkhead.model.settings.keys import Key, Settings

PARTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NAMES = st.sampled_from(["a", "b", "a.b", 'c"', "motd"])
LEAVES = st.one_of(
    st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2)
)


def tables(values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Return tables of some values."""
    return st.dictionaries(NAMES, values, max_size=3)


TREES: st.SearchStrategy[Settings] = tables(st.recursive(LEAVES, tables, max_leaves=8))
SHAPED: st.SearchStrategy[Settings] = st.fixed_dictionaries(
    {}, optional={"a": LEAVES, "b": tables(LEAVES), "c": tables(tables(LEAVES))}
)
KEYS: st.SearchStrategy[Key] = st.lists(NAMES, min_size=1, max_size=3).map(tuple)


@given(st.lists(PARTS, min_size=1, max_size=5).map(tuple))
def test_a_key_is_read_as_it_was_written(key: Key) -> None:
    """Whatever the parts are, format and parse are each other's inverse."""
    text = keys.format(key)
    if len(text) > keys.LONGEST_KEY:
        return

    assert keys.parse(text) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("settings.motd", ("motd",)),
        ("motd", ("motd",)),
        ("settings.settings", ("settings",)),
        ('kernel.sysctl."net.ipv4.ip_forward"', ("kernel", "sysctl", "net.ipv4.ip_forward")),
        ('"settings".motd', ("motd",)),
        ("kubernetes.node-labels.team/name", ("kubernetes", "node-labels", "team/name")),
    ],
)
def test_reads_what_people_write(text: str, key: Key) -> None:
    """The prefix may be missing and quotes are only needed where Bottlerocket needs them."""
    assert keys.parse(text) == key


def test_writes_quotes_only_where_they_are_needed() -> None:
    """A plain key looks as in Bottlerocket's documentation."""
    assert keys.format(("a-b", "c/d", "e.f")) == 'settings.a-b.c/d."e.f"'


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "a b", 'a."', 'a.""', 'a."b"c', "a=b", 'a."\\x"', "a\n", "ä",
     'a."\ud800"', "\udcff"],
)  # fmt: skip
def test_refuses_what_is_no_key(text: str) -> None:
    """Nothing is guessed: a part is missing or needs quotes, and the error says how to write them."""
    with pytest.raises(UserError, match="is not the name of a setting") as caught:
        keys.parse(text)

    assert caught.value.hint is not None
    assert '"vm.swappiness"' in caught.value.hint


def test_refuses_settings_alone() -> None:
    """The root of the tree is no setting."""
    with pytest.raises(UserError, match="'settings' names no setting"):
        keys.parse("settings")


def test_refuses_a_key_that_is_too_long() -> None:
    """255 characters are the most, as in Bottlerocket's store; the error does not repeat all of them."""
    assert keys.parse("a" * 255) == ("a" * 255,)
    with pytest.raises(UserError, match="has at most 255 characters, this one has 256") as caught:
        keys.parse("a" * 256)

    assert len(str(caught.value)) < 200


def test_an_error_can_show_a_part_that_is_not_unicode() -> None:
    """Names from a command line may hold bytes that are no text."""
    assert keys.format(("a\udcff",)) == 'settings."a\\\\udcff"'


@given(TREES)
def test_values_by_key_are_the_tree_without_empty_tables(tree: Settings) -> None:
    """Flattening and building up again loses nothing but empty tables."""
    leaves = keys.flatten(tree)

    assert keys.flatten(keys.unflatten(leaves)) == leaves
    assert all(keys.lookup(tree, key) == value for key, value in leaves.items())


@pytest.mark.slow
def test_flattens_what_is_nested_deeper_than_the_stack() -> None:
    """A tree from outside cannot end the program."""
    tree: Settings = {"a": 1}
    for _ in range(20_000):
        tree = {"a": tree}

    assert list(keys.flatten(tree).values()) == [1]


@given(SHAPED, SHAPED, SHAPED)
def test_merging_is_associative(a: Settings, b: Settings, c: Settings) -> None:
    """Defaults, parents and own values may be joined in any grouping, in their order.

    What is a table in one is a table in all, as in settings that have been checked.
    """
    assert keys.merge(keys.merge(a, b), c) == keys.merge(a, keys.merge(b, c))


@given(TREES)
def test_merging_with_nothing_or_itself_changes_nothing(tree: Settings) -> None:
    """An empty tree is neutral and a second time does nothing."""
    assert keys.merge(tree, {}) == tree
    assert keys.merge({}, tree) == tree
    assert keys.merge(tree, tree) == tree


@given(TREES, TREES)
def test_what_is_merged_over_wins(base: Settings, over: Settings) -> None:
    """Every value of the upper tree is in the result."""
    merged = keys.merge(base, over)

    assert all(keys.lookup(merged, key) == value for key, value in keys.flatten(over).items())


@given(TREES, TREES)
def test_the_result_of_a_merge_shares_nothing(base: Settings, over: Settings) -> None:
    """Changing the result changes neither of the trees that it was made from."""
    before = copy.deepcopy((base, over))
    for value in keys.flatten(keys.merge(base, over)).values():
        if isinstance(value, list):
            value.append(0)

    assert (base, over) == before


@given(TREES, KEYS)
def test_what_is_removed_is_gone_and_nothing_else(tree: Settings, key: Key) -> None:
    """The subtree goes, all other values stay, and no table is left empty on its way."""
    left = keys.remove(tree, key)

    assert keys.lookup(left, key) is None
    kept = {k: v for k, v in keys.flatten(tree).items() if k[: len(key)] != key}
    assert keys.flatten(left) == kept


def test_tables_that_are_emptied_by_a_removal_vanish() -> None:
    """Removing the last value of a table removes the table."""
    assert keys.remove({"a": {"b": {"c": 1}}, "d": 2}, ("a", "b", "c")) == {"d": 2}
