"""Which packages a request leads to."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkhead.build.debian import index
from bulkhead.build.debian.resolver import Resolver, Unsatisfiable
from bulkhead.build.debian.sources import Source
from bulkhead.build.debian.universe import Universe
from bulkhead.model.errors import RemoteError, UserError
from bulkhead.model.repository import Pin


def source(
    text: str, *, suite: str = "stable", repository: str = "main", priority: int = 500
) -> Source:
    """Return an index of packages, one per line: `name version; Field: value; …`."""
    records = []
    for line in text.strip().splitlines():
        head, *rest = (part.strip() for part in line.split(";"))
        name, version = head.split()
        fields = dict(part.split(": ", 1) for part in rest)
        control = {"Package": name, "Version": version, "Architecture": "amd64", **fields}
        records.append(index.record(control, path=f"{name}.deb", size=1, sha256=f"{suite}{line}"))
    return Source(
        repository=repository,
        suites=(suite,),
        priority=priority,
        index=index.decode(index.make(records)),
    )


def resolve(
    requests: str,
    *sources: Source,
    exclude: tuple[str, ...] = (),
    pins: tuple[Pin, ...] = (),
    held: dict[str, str] | None = None,
) -> str:
    """Return the chosen packages as `name=version …`."""
    universe = Universe(sources, architecture="amd64", pins=pins, held=held)
    chosen = Resolver(universe, exclude=exclude).resolve(requests.split(), wanted_by="set 'x'")
    return " ".join(f"{name}={candidate.version}" for name, candidate in chosen.items())


def test_dependencies_are_followed() -> None:
    """Depends and Pre-Depends come along, to any depth; nothing else does."""
    main = source("a 1; Depends: b; Recommends: x\nb 1; Pre-Depends: c\nc 1; Suggests: x\nx 1")

    assert resolve("a", main) == "a=1 b=1 c=1"


def test_circles_are_fine() -> None:
    """Packages may need each other."""
    assert resolve("a", source("a 1; Depends: b\nb 1; Depends: a")) == "a=1 b=1"


def test_best_version_is_chosen() -> None:
    """Among equal priorities the highest version wins, wherever it is."""
    stable, security = source("a 1-10"), source("a 1-9", suite="security")

    assert resolve("a", stable, security) == "a=1-10"


def test_first_alternative_is_chosen() -> None:
    """Without a reason for another one, the first alternative is taken."""
    assert resolve("a", source("a 1; Depends: b | c\nb 1\nc 1")) == "a=1 b=1"


def test_alternative_that_is_there_anyway_is_enough() -> None:
    """A group that another package satisfies adds nothing."""
    main = source("a 1; Depends: b | c, d\nb 1\nc 1\nd 1; Depends: c")

    assert resolve("a", main) == "a=1 c=1 d=1"


def test_impossible_alternative_is_passed_over() -> None:
    """An alternative that does not exist or is too old does not count."""
    main = source("a 1; Depends: nothing | b (>= 2) | c\nb 1\nc 1")

    assert resolve("a", main) == "a=1 c=1"


def test_choice_that_leads_nowhere_is_revised() -> None:
    """The second alternative is tried when the first cannot be completed."""
    main = source("a 1; Depends: b | c\nb 1; Depends: d (>= 9)\nc 1\nd 1")

    assert resolve("a", main) == "a=1 c=1"


def test_older_version_is_chosen_when_the_best_does_not_fit() -> None:
    """A version constraint elsewhere overrides the preference for the newest."""
    main = source("a 1; Depends: b, c\nb 1; Depends: c (<< 2)\nc 1\nc 2")

    assert resolve("a", main) == "a=1 b=1 c=1"


def test_provider_satisfies() -> None:
    """A virtual package is satisfied by one that provides it: by priority, then name."""
    main = source(
        "a 1; Depends: mta\nzmail 1; Provides: mta; Priority: standard\nbmail 1; Provides: mta\n"
        "cmail 1; Provides: mta"
    )

    assert resolve("a", main) == "a=1 zmail=1"


def test_versioned_relation_needs_a_versioned_provider() -> None:
    """Policy 7.5: a Provides without a version satisfies no versioned relation."""
    main = source(
        "a 1; Depends: v (>= 2)\nb 1; Provides: v\nc 1; Provides: v (= 1)\nd 1; Provides: v (= 2)"
    )

    assert resolve("a", main) == "a=1 d=1"


def test_conflicting_provider_replaces_nothing_it_is() -> None:
    """A package may conflict with a name that it provides itself: only others are meant."""
    main = source("a 1; Provides: v; Conflicts: v\nb 1; Provides: v; Conflicts: v")

    assert resolve("a", main) == "a=1"
    with pytest.raises(Unsatisfiable, match="conflicts with v"):
        resolve("a b", main)


@pytest.mark.parametrize("field", ["Conflicts", "Breaks"])
def test_conflict_is_avoided(field: str) -> None:
    """Conflicts and Breaks forbid packages and versions in both directions."""
    main = source(f"a 1; Depends: b | c\nb 1\nc 1\nd 1; {field}: b (<< 2)")

    assert resolve("d a", main) == "a=1 c=1 d=1"
    assert resolve("a d", main) == "a=1 c=1 d=1"


def test_conflict_is_explained_with_who_asked() -> None:
    """The message says which relation cannot hold, why, and the chain that leads to it."""
    main = source("a 1; Depends: b\nb 1; Depends: c\nc 1; Conflicts: z\nz 1")

    with pytest.raises(Unsatisfiable) as caught:
        resolve("z a", main)

    assert str(caught.value) == (
        "set 'x': b 1 needs c, but c 1: it conflicts with z, and z 1 is chosen\n"
        "  hint: asked for by: set 'x' → a → b"
    )


def test_missing_dependency_is_explained() -> None:
    """A dependency that does not exist names who needs it and what there is instead."""
    with pytest.raises(Unsatisfiable, match=r"a 1 needs b \(>= 2\), but there is only b 1"):
        resolve("a", source("a 1; Depends: b (>= 2)\nb 1"))
    with pytest.raises(Unsatisfiable, match="a 1 needs b, but there is no such package"):
        resolve("a", source("a 1; Depends: b"))


def test_malformed_relation_names_its_package() -> None:
    """What a repository got wrong is said with the package and the repository."""
    with pytest.raises(
        RemoteError, match=r"b 1 of repository main: 'c \[amd64\]' is not a relation"
    ):
        resolve("a", source("a 1; Depends: b\nb 1; Depends: c [amd64]"))


def test_unknown_package_comes_with_a_suggestion() -> None:
    """A typing error is answered with the nearest name."""
    with pytest.raises(
        UserError, match=r"there is no package 'contianerd'\n  hint: did you mean 'containerd'"
    ):
        resolve("contianerd", source("containerd 1\nsystemd 1"))


def test_virtual_package_cannot_be_requested() -> None:
    """A request names a real package; for a virtual one the providers are listed."""
    with pytest.raises(UserError, match="it is a virtual package; choose one of: a, b"):
        resolve("v", source("a 1; Provides: v\nb 1; Provides: v"))


def test_request_can_name_a_version_or_a_suite() -> None:
    """`name=version` and `name/suite` choose; what is not there is listed."""
    stable, backports = source("a 1\na 2"), source("a 3", suite="backports", priority=100)

    assert resolve("a", stable, backports) == "a=2"
    assert resolve("a=1", stable, backports) == "a=1"
    assert resolve("a/backports", stable, backports) == "a=3"
    with pytest.raises(
        UserError,
        match=r"there is no 'a' version '9'\n.*there is: 2 \(stable\), 1 \(stable\), 3 \(backports\)",
    ):
        resolve("a=9", stable, backports)


def test_pin_wins_over_version() -> None:
    """A priority decides before the version does; a negative one forbids."""
    stable, other = source("a 1\nb 1"), source("a 2\nb 2", suite="other")

    assert (
        resolve("a b", stable, other, pins=(Pin(packages=("a",), suite="stable", priority=900),))
        == "a=1 b=2"
    )
    assert (
        resolve("a b", stable, other, pins=(Pin(packages=("*",), suite="other", priority=-1),))
        == "a=1 b=1"
    )


def test_pin_that_names_the_package_wins_over_a_pattern() -> None:
    """The more specific pin counts, whichever comes first."""
    stable, other = source("a 1\nb 1"), source("a 2\nb 2", suite="other")
    pins = (
        Pin(packages=("*",), suite="other", priority=100),
        Pin(packages=("b",), suite="other", priority=900),
    )

    assert resolve("a b", stable, other, pins=pins) == "a=1 b=2"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            Pin(packages=("a",), suite="other", priority=900),
            Pin(packages=("a",), suite="other", priority=100),
        ),
        (
            Pin(packages=("a",), version="1", priority=900),
            Pin(packages=("a",), version="2", priority=900),
        ),
    ],
)
def test_contradictory_pins_are_refused(first: Pin, second: Pin) -> None:
    """Two pins that say opposite things are an error that quotes both."""
    with pytest.raises(UserError, match="contradictory pins"):
        resolve("a", source("a 1\na 2"), pins=(first, second))


def test_excluded_package_counts_as_installed() -> None:
    """What is excluded is left out with all that only it needs, and so is what it provides."""
    main = source(
        "a 1; Depends: shell, awk\nshell 1; Depends: b\nb 1\nmawk 1; Provides: awk\ngawk 1; Provides: awk"
    )

    assert resolve("a", main, exclude=("shell", "mawk")) == "a=1"


def test_unknown_exclusion_is_refused() -> None:
    """A typing error in an exclusion would silently exclude nothing."""
    with pytest.raises(UserError, match=r"shel: is excluded but does not exist\n.*'shell'"):
        resolve("a", source("a 1\nshell 1"), exclude=("shel",))


def test_request_of_an_excluded_package_is_refused() -> None:
    """Asking for a package and excluding it is a contradiction."""
    with pytest.raises(UserError, match="is both requested and excluded"):
        resolve("a", source("a 1"), exclude=("a",))


def test_other_architectures_do_not_satisfy() -> None:
    """`:any` and our own architecture are satisfied, another one's is not."""
    main = source("a 1; Depends: b:any, c:amd64\nb 1\nc 1\nd 1; Depends: b:arm64 | c")

    assert resolve("a", main) == "a=1 b=1 c=1"
    assert resolve("d", main) == "c=1 d=1"


def test_held_version_is_kept_while_it_fits() -> None:
    """An update moves only what it must."""
    main = source("a 1\na 2\nb 1; Depends: c (>= 2)\nc 1\nc 2")

    assert resolve("a b", main, held={"a": "1", "c": "1"}) == "a=1 b=1 c=2"


def test_package_that_a_pin_forbids_is_explained() -> None:
    """A request that a pin makes impossible says so."""
    pin = Pin(packages=("a",), version="1", priority=-1)

    with pytest.raises(
        UserError, match=r"there is no 'a' allowed\n.*there is: 1 \(stable, forbidden by a pin\)"
    ):
        resolve("a", source("a 1"), pins=(pin,))
    with pytest.raises(UserError, match=r"there is no 'a' version '1'"):
        resolve("a=1", source("a 1\na 2"), pins=(pin,))


def test_pin_moves_what_is_held() -> None:
    """A new pin is a changed request: it does not wait for an update."""
    stable, other = source("a 1"), source("a 2", suite="other", priority=100)
    pin = Pin(packages=("a",), suite="other", priority=900)

    assert resolve("a", stable, other, held={"a": "1"}) == "a=1"
    assert resolve("a", stable, other, held={"a": "1"}, pins=(pin,)) == "a=2"


def test_hopeless_request_ends(tmp_path: Path) -> None:
    """A knot with very many combinations is given up on, with the first contradiction."""
    lines = [f"p{n} 1; Depends: x{n} | y{n}\nx{n} 1\ny{n} 1" for n in range(40)]
    main = source("\n".join([*lines, "z 1; Depends: q\nq 1; Depends: nothing"]))

    with pytest.raises(Unsatisfiable, match="q 1 needs nothing"):
        resolve(" ".join([*(f"p{n}" for n in range(40)), "z"]), main)
