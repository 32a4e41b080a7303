"""Users and groups from sysusers.d, with numbers that never change.

systemd-sysusers hands out free numbers on each machine; files on the data
partition outlive an image, so here every number is written down: an account
that asks for any number (`-`) is an error until a file of ours pins it.
Source: sysusers.d(5).
"""

from __future__ import annotations

import shlex

import msgspec

from bulkhead.build.tree import Tree, file
from bulkhead.model.errors import UserError

FOLDER = "usr/lib/sysusers.d"
NO_LOGIN = "/usr/sbin/nologin"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One user or group."""

    name: str
    number: int
    group: int | None = None
    """Of a user: its primary group; None for a group."""
    comment: str = ""
    home: str = "/"


def write(tree: Tree) -> None:
    """Put `passwd`, `group`, `shadow` and `gshadow` into the tree's `etc`.

    Nobody has a password and nobody has a shell: all accounts are locked.

    Raises:
        UserError: an account has no pinned number, two accounts share one, or
            a line cannot be understood.
    """
    users, groups, members = read(tree)
    _check_unique(users)
    _check_unique(groups)
    by_number = sorted(users.values(), key=lambda user: user.number)
    passwd = [f"{u.name}:x:{u.number}:{u.group}:{u.comment}:{u.home}:{NO_LOGIN}" for u in by_number]
    ordered = sorted(groups.values(), key=lambda group: group.number)
    group = [f"{g.name}:x:{g.number}:{','.join(sorted(members.get(g.name, ())))}" for g in ordered]
    tree.put("etc/passwd", file(_lines(passwd)))
    tree.put("etc/group", file(_lines(group)))
    tree.put("etc/shadow", file(_lines([f"{u.name}:!*:::::::" for u in by_number]), mode=0o600))
    tree.put("etc/gshadow", file(_lines([f"{g.name}:!*::" for g in ordered]), mode=0o600))


def read(tree: Tree) -> tuple[dict[str, Account], dict[str, Account], dict[str, set[str]]]:
    """Return users, groups and additional members that the tree's sysusers.d files declare.

    As with systemd, files count in the order of their names and the first
    line for a name wins.
    """
    users: dict[str, Account] = {}
    groups: dict[str, Account] = {}
    members: dict[str, set[str]] = {}
    waiting: list[tuple[str, list[str]]] = []
    for path in sorted(tree.below(FOLDER), key=lambda p: p.rsplit("/", 1)[1]):
        for number, line in enumerate(tree[path].read().decode().splitlines(), 1):
            fields = _fields(line, f"{path}:{number}")
            if fields:
                waiting.append((f"{path}:{number}", fields))
    # Groups first: a user may name a group that a later file declares.
    for where, fields in waiting:
        if fields[0] == "g":
            _group(fields, where, groups)
    for where, fields in waiting:
        if fields[0].rstrip("!") == "u":
            _user(fields, where, users, groups)
        elif fields[0] == "m":
            members.setdefault(fields[2], set()).add(fields[1])
    return users, groups, members


def _fields(line: str, where: str) -> list[str]:
    line = line.strip()
    if not line or line.startswith("#"):
        return []
    fields = shlex.split(line)
    if fields[0].rstrip("!") not in ("u", "g", "m", "r") or len(fields) < 3:
        raise UserError(f"not a line of sysusers.d: {line!r}", where=where)
    return fields


def _group(fields: list[str], where: str, groups: dict[str, Account]) -> None:
    name = fields[1]
    if name in groups:
        return
    groups[name] = Account(name=name, number=_number(fields[2], name, where))


def _user(
    fields: list[str], where: str, users: dict[str, Account], groups: dict[str, Account]
) -> None:
    name, identity = fields[1], fields[2]
    if name in users:
        return
    number, _, group = identity.partition(":")
    if group and not group.isdigit():
        if group not in groups:
            raise UserError(f"user {name!r} is in the unknown group {group!r}", where=where)
        primary = groups[group].number
    elif group:
        primary = int(group)
    else:
        primary = _number(number, name, where)
        groups.setdefault(name, Account(name=name, number=primary))
    users[name] = Account(
        name=name, number=_number(number, name, where), group=primary,
        comment=fields[3] if len(fields) > 3 and fields[3] != "-" else "",
        home=fields[4] if len(fields) > 4 and fields[4] != "-" else "/",
    )  # fmt: skip


def _number(text: str, name: str, where: str) -> int:
    if not text.isdigit():
        raise UserError(
            f"account {name!r} has no fixed number", where=where,
            hint="pin it in a sysusers.d file that sorts before this one",
        )  # fmt: skip
    return int(text)


def _check_unique(accounts: dict[str, Account]) -> None:
    seen: dict[int, str] = {}
    for account in accounts.values():
        if account.number in seen:
            raise UserError(
                f"accounts {seen[account.number]!r} and {account.name!r} share number {account.number}"
            )
        seen[account.number] = account.name


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
