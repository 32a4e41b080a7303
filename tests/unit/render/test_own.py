"""Templates of a variant's own groups: what they see, what they cannot do, and when they fail."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest

from bulkhead.build import groups, variants
from bulkhead.lib.dirs import repository_root
from bulkhead.model.settings.declared import Type
from bulkhead.model.settings.groups import Group
from bulkhead.model.settings.own import File, OwnGroup, Service
from bulkhead.model.settings.values import Table
from bulkhead.render import own, services
from bulkhead.render.service import RenderError, Step

EXAMPLE = repository_root() / "tests" / "data" / "variants" / "logger"


class User(Table, frozen=True):
    """A table in a list and in a table with free names."""

    full_name: str | None = None
    mode: Literal["read", "write"] | None = None


class Model(Table, frozen=True):
    """One of each kind."""

    max_use: str | None = None
    count: int | None = None
    users: dict[str, User] | None = None
    more: tuple[User, ...] | None = None


GROUP = Group("own", Type(Model))
DESCRIBED = OwnGroup(
    description="x",
    files=(File(template="a.j2", path="/etc/own/a.conf", mode="0640"),),
    services=(Service(unit="a.service", action="restart"), Service(unit="b.service")),
)


def fill(template: str, value: object) -> str:
    """Return what a template makes of a group's settings."""
    item = own.service("own", DESCRIBED, group=lambda: GROUP, template=lambda _: template)
    (file,) = item.render({"own": value, "motd": "hello"})
    assert (file.path, file.mode, file.secret) == ("/etc/own/a.conf", 0o640, False)
    return file.data.decode()


def test_a_template_sees_its_settings_by_name() -> None:
    """Names of the group's own have `_` for `-`; names that people chose are as they are."""
    value = {
        "max-use": "1G",
        "users": {"ann-x": {"full-name": "Ann"}},
        "more": [{"mode": "read"}],
    }
    template = (
        "{% if count or more[0].full_name %}\nnever\n{% endif %}\n"
        "{{ max_use }} {{ users['ann-x'].full_name }} {{ more[0].mode }} {{ settings.motd }}\n"
    )

    assert fill(template, value) == "1G Ann read hello\n"


def test_without_settings_there_are_no_files() -> None:
    """A group that nobody set makes nothing, and its template is not even read."""
    item = own.service("own", DESCRIBED, group=lambda: GROUP, template=lambda _: 1 / 0)  # type: ignore[arg-type,return-value] # never called

    assert item.render({"motd": "x"}) == ()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ nothing }}", "the template a.j2 cannot be filled: 'nothing' is undefined"),
        ("a\n{% if %}", "the template a.j2 line 2 cannot be filled: Expected an expression"),
        ("{{ 1 / 0 }}", "the template a.j2 cannot be filled: division by zero"),
        (
            "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
            "makes more than 1048576 bytes",
        ),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ settings.update({}) }}", "access to attribute 'update' of 'dict' object is unsafe"),
        ("{% include '/etc/passwd' %}", "no loader for this environment"),
    ],
)
def test_a_template_that_fails_names_itself(template: str, message: str) -> None:
    """Misspelt, broken, endless, or after something that is none of its business."""
    with pytest.raises(RenderError) as caught:
        fill(template, {"max-use": "1G"})

    assert message in caught.value.what
    assert caught.value.where == "settings.own"
    assert caught.value.hint == "it makes /etc/own/a.conf; look at the variant's own group"


def test_a_file_of_a_group_with_secrets_is_secret() -> None:
    """What has a secret in it is not shown as a difference."""
    chosen = groups.choose(variants.load(str(EXAMPLE)))
    (journal,) = [item for item in chosen.services if item.name == "journal"]

    assert [file.secret for file in journal.render(chosen.defaults)] == [True]


def test_own_services_are_acted_on_where_they_ask_to_be() -> None:
    """Before a service that is named, and last otherwise."""
    first = msgspec.structs.replace(DESCRIBED, before=("pki", "dns"))
    one = own.service("one", first, group=lambda: GROUP, template=str)
    two = own.service("two", DESCRIBED, group=lambda: GROUP, template=str)

    names = [item.name for item in own.placed(services.SERVICES, [(one, first), (two, DESCRIBED)])]

    assert names.index("one") == names.index("dns") - 1
    assert names[-1] == "two"
    assert one.steps == (
        Step(verb="restart", unit="a.service"),
        Step(verb="try-restart", unit="b.service"),
    )
    assert one.files == {"one-a.conf": "/etc/own/a.conf"}
