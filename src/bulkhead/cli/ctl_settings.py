"""`bulkhead ctl get`, `set`, `unset`, `apply`: a node's settings."""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import msgspec
from click.shell_completion import CompletionItem

from bulkhead.cli import ctl_node
from bulkhead.cli.common import print_json, print_table
from bulkhead.cli.ctl_node import Command, Node, failure_option, json_option, pass_node
from bulkhead.client.api import Api
from bulkhead.client.connection import Interrupted
from bulkhead.model.api import BODY_LIMIT, OnFailure
from bulkhead.model.errors import UserError
from bulkhead.model.settings import keys
from bulkhead.model.settings.keys import Settings


def complete_key(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the settings that start like what has been typed, from what this program knows."""
    from bulkhead.model.settings.groups import GENERAL, Groups

    typed = incomplete.removeprefix("settings.")
    lead = incomplete[: len(incomplete) - len(typed)]
    names = [keys.format(key).removeprefix("settings.") for key, _ in Groups(GENERAL).known()]
    # A name that people choose is where the completion ends.
    plain = sorted({name.partition('."<')[0] for name in names})
    return [CompletionItem(lead + name) for name in plain if name.startswith(typed)]


def _change_options(command: Command) -> Command:
    """Add what `set`, `unset` and `apply` have in common."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Only show what it would change and touch."),
        click.option("--tx", metavar="NAME", help="Only stage it, in this transaction."),
        click.option("-m", "--message", help="Say why, for the history."),
        failure_option,
        json_option,
    ):
        command = option(command)
    return command


@click.command("get")
@click.argument("prefixes", nargs=-1, metavar="[PREFIX]...", shell_complete=complete_key)
@click.option("--show-secrets", is_flag=True, help="Show passwords and keys as they are.")
@json_option
@pass_node
def get_command(
    node: Node, *, prefixes: tuple[str, ...], show_secrets: bool, as_json: bool
) -> None:
    """Show settings in force: all, or those whose name starts with a PREFIX.

    A PREFIX is a name like settings.ntp, ntp or os.
    """
    api = node.open()
    settings: Settings = {}
    system: dict[str, str] = {}
    for prefix in prefixes or (None, "os"):
        if prefix is not None and (prefix == "os" or prefix.startswith("os.")):
            wanted = prefix[3:]
            system |= {k: v for k, v in api.os().items() if k.startswith(wanted)}
        else:
            wanted_settings = None if prefix in (None, "settings", "settings.") else prefix
            read = api.secret_settings if show_secrets else api.settings
            settings = keys.merge(settings, read(wanted_settings))
    if as_json:
        print_json({"settings": settings, "os": system} if system else {"settings": settings})
        return
    rows = [(keys.format(key), ctl_node.value(v)) for key, v in keys.flatten(settings).items()]
    rows += [(f"os.{name}", value) for name, value in sorted(system.items())]
    if not rows:
        raise UserError("nothing is set there", where=" ".join(prefixes) or "settings")
    print_table(("key", "value"), rows)


@click.command("set")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_key)
@click.option("-j", "--from-json", "text", metavar="JSON", help="Settings as a JSON object.")
@click.option(
    "-f", "--file", type=click.Path(path_type=Path, allow_dash=True),
    help="Settings from a TOML or JSON file; - for standard input.",
)  # fmt: skip
@_change_options
@pass_node
def set_command(
    node: Node, /, *, pairs: tuple[str, ...], text: str | None, file: Path | None, **options: object
) -> int:
    """Change settings, make them take effect, and say how that went.

    Only the services that the change concerns are restarted.
    """
    if sum((bool(pairs), text is not None, file is not None)) != 1:
        raise click.UsageError("give KEY=VALUE, --from-json or --file")
    if pairs:
        for pair in pairs:
            if "=" not in pair:
                raise UserError(f"{pair!r} is no KEY=VALUE", hint=f"write {pair}=VALUE")
        return _change(node, lambda api, tx: api.set_pairs(tx, pairs), options)
    given = _parse_json(text, "--from-json") if text is not None else _read(file or Path("-"))
    settings = _not_empty(_inner(given) if given.keys() == {"settings"} else given)
    return _change(node, lambda api, tx: api.set(tx, settings), options)


@click.command("unset")
@click.argument("names", nargs=-1, required=True, metavar="KEY...", shell_complete=complete_key)
@_change_options
@pass_node
def unset_command(node: Node, /, *, names: tuple[str, ...], **options: object) -> int:
    """Return settings, each with all below it, to what the image has."""
    full = [keys.format(keys.parse(name)) for name in names]
    return _change(node, lambda api, tx: api.unset(tx, full), options)


@click.command("apply")
@click.argument(
    "file", default="-", metavar="[FILE|-]", type=click.Path(path_type=Path, allow_dash=True)
)
@_change_options
@pass_node
def apply_command(node: Node, /, *, file: Path, **options: object) -> int:
    """Take over the settings of a TOML or JSON FILE that looks like user data.

    They are in a table `settings`; everything they do not name stays as it is.
    """
    given = _read(file)
    if given.keys() != {"settings"}:
        other = ", ".join(sorted(given.keys() - {"settings"})) or "none"
        raise UserError(
            f"expected one table named settings, found: {other}", where=str(file),
            hint='begin with [settings], or use "bulkhead ctl set --file"',
        )  # fmt: skip
    settings = _not_empty(_inner(given))
    return _change(node, lambda api, tx: api.set(tx, settings), options)


def _change(node: Node, stage: Callable[[Api, str], None], options: dict[str, object]) -> int:
    """Stage a change and do with it what the options say; return the exit code."""
    given = msgspec.convert(options, _Options)
    api = node.open()
    if given.tx is not None:
        if given.dry_run:
            raise click.UsageError(
                'give --tx or --dry-run; "bulkhead ctl diff" shows what is staged'
            )
        stage(api, given.tx)
        if given.as_json:
            print_json({"transaction": given.tx})
        else:
            next_step = f"bulkhead ctl commit {shlex.quote(given.tx)}"
            click.echo(f"staged in {given.tx!r}; make it live with: {next_step}")
        return 0
    with api.transaction() as tx:
        try:
            stage(api, tx)
        except Interrupted:
            raise KeyboardInterrupt from None  # what is staged goes with the transaction
        if given.dry_run:
            from bulkhead.cli.ctl_changes import show_plan

            return show_plan(api.plan(tx), as_json=given.as_json)
        done = api.commit(tx, message=given.message, on_failure=given.on_failure)
    return ctl_node.show_committed(done, as_json=given.as_json)


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `_change_options` adds."""

    dry_run: bool
    tx: str | None
    message: str | None
    on_failure: OnFailure
    as_json: bool


def _read(file: Path) -> Settings:
    """Return what is in a TOML or JSON file, or on standard input for `-`."""
    where = "standard input" if str(file) == "-" else str(file)
    source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    with source:
        raw = source.read(BODY_LIMIT + 1)
    if len(raw) > BODY_LIMIT:
        raise UserError(f"is longer than {BODY_LIMIT} bytes, which is the limit", where=where)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8 text", where=where) from error
    if text.lstrip().startswith("{"):
        return _parse_json(text, where)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"cannot be read as TOML: {error}", where=where) from error


def _parse_json(text: str, where: str) -> Settings:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UserError(f"cannot be read as a JSON object: {error}", where=where) from error


def _not_empty(settings: Settings) -> Settings:
    if not keys.flatten(settings):
        raise UserError(
            "no setting is given there", hint="to take settings away: bulkhead ctl unset"
        )
    return settings


def _inner(given: Settings) -> Settings:
    try:
        return msgspec.convert(given["settings"], dict[str, object])
    except msgspec.ValidationError as error:
        raise UserError("is no table", where="settings") from error
