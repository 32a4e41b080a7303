"""The rules of a sandbox: the same on every machine that has them, and none without its numbers."""

from __future__ import annotations

import pytest

from bulkhead.lib import sandbox_policy
from bulkhead.model.errors import HostError


@pytest.mark.parametrize("own_processes", [True, False])
def test_every_machine_has_the_same_rules(*, own_processes: bool) -> None:
    """Only the numbers differ, and no number stands for two calls."""
    found = [
        sandbox_policy.rules(own_processes=own_processes, machine=machine)
        for machine in ("x86_64", "aarch64")
    ]

    assert [[rule._replace(number=0) for rule in rules] for rules in found] == [
        [rule._replace(number=0) for rule in found[0]]
    ] * 2
    for rules in found:
        plain = [rule.number for rule in rules if rule.test in ("always", "not own process")]
        assert len(plain) == len(set(plain))


def test_a_machine_whose_calls_are_not_known_has_no_sandboxes() -> None:
    """A filter with the wrong numbers would let everything through."""
    with pytest.raises(HostError, match="there are no sandboxes for riscv64 machines"):
        sandbox_policy.rules(own_processes=True, machine="riscv64")
