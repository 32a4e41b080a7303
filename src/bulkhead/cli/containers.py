"""Containers of a machine: ps, run, start, stop, rm, logs, exec, images, pull, import.

Which machine: `--machine NAME`, by default the one that `bulkhead up` started.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TypeVar

import click

from bulkhead.cli.common import print_json, print_table, program, progress
from bulkhead.client.connection import Busy, Missing
from bulkhead.client.containers import Containers, Report, read_file
from bulkhead.lib.progress import Task
from bulkhead.model import containers as model
from bulkhead.model import reference
from bulkhead.model.errors import BulkheadError, HostError, RemoteError, UserError

Command = TypeVar("Command", bound=Callable[..., object])

# Everything after the first argument belongs to the container's program.
_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def _machine_option(command: Command) -> Command:
    option = click.option(
        "--machine", "-M", metavar="NAME", help="Which machine; the default one if left out."
    )
    return option(command)


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _open(machine: str | None) -> Containers:
    """Return the containers of a machine.

    Raises:
        UserError: it does not run.
    """
    # For programs and tests that reach a service without a machine of ours.
    if socket := os.environ.get("BULKHEAD_CONTAINERS"):
        return Containers(Path(socket))
    from bulkhead.machine.state import channel

    return Containers(channel(machine))


def _forward(machine: str | None, container: model.Container) -> None:
    """Make the ports that a container publishes answer on the workstation, and say where."""
    if os.environ.get("BULKHEAD_CONTAINERS"):
        return
    from bulkhead.machine.forward import forward

    for port in container.ports:
        if port.protocol == "tcp" and port.address is None:
            here = forward(machine, port.host)
            click.echo(f"port {port.container} answers at 127.0.0.1:{here}", err=True)
        else:
            at = f"{port.address or ''}:{port.host}/{port.protocol}"
            click.echo(f"port {port.container} answers in the machine only, at {at}", err=True)


def _close_ports(machine: str | None, containers: Containers) -> None:
    """Let go of the workstation's ports that lead to containers which are no more."""
    if os.environ.get("BULKHEAD_CONTAINERS"):
        return
    from bulkhead.machine.forward import close_unused

    def used() -> set[int]:
        found = containers.list_containers()
        if any(item.unreadable for item in found):
            raise HostError("not all ports that are used are known")
        return {port.host for item in found for port in item.ports}

    # Whatever keeps it from that, somebody else at work on the machine for example, it is no part
    # of what was asked for: the next container that is removed sees to it.
    with suppress(BulkheadError):
        close_unused(machine, used)


def _not_nan(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Refuse what is no number and within every range."""
    if math.isnan(value):
        raise click.BadParameter("'nan' is not a valid float.", ctx, param)
    return value


def _each(
    names: tuple[str, ...], act: Callable[[str], model.Ended | None], *, as_json: bool
) -> None:
    """Do something with each container; those that it works with are told, then what failed.

    Raises:
        BulkheadError: for one of them at least it did not.
    """
    done: list[model.Ended] = []
    failed: list[BulkheadError] = []
    for name in dict.fromkeys(names):
        try:
            ended = act(name)
        except BulkheadError as error:
            failed.append(error)
            if isinstance(error, RemoteError) and not isinstance(error, Busy):
                break  # nobody answers: the others need not be tried
        else:
            done += [ended] if ended is not None else []
            if ended is not None and not as_json:
                click.echo(ended.name)
    if as_json and (done or not failed):
        print_json(done)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise UserError("\n".join(str(error) for error in failed))


@click.command("ps")
@_machine_option
@_json_option
def ps_command(*, machine: str | None, as_json: bool) -> None:
    """List containers."""
    found = _open(machine).list_containers()
    if as_json:
        print_json(found)
        return
    print_table(
        ("name", "image", "state", "created", "ports"),
        [
            (
                item.name,
                "?" if item.unreadable else reference.familiar(item.image),
                _state(item),
                _age(item.created),
                " ".join(_port(port) for port in item.ports),
            )
            for item in found
        ],
    )
    for item in found:
        if item.unreadable:
            click.echo(f"{item.name}: {item.unreadable}", err=True)


@click.command("run", context_settings=_PASS_ON)
@click.option("--name", help="The container's name; made from the image's if left out.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
@click.option("-p", "--publish", multiple=True, metavar="HOST:CONTAINER", help="Publish a port.")
@click.option("-v", "--volume", multiple=True, metavar="NAME:/PATH[:ro]", help="Use a volume.")
@click.option("-u", "--user", help="Run as this user[:group].")
@click.option("-w", "--workdir", help="Start in this directory.")
@click.option("--entrypoint", help="Run this instead of the image's entry point.")
@click.option("--hostname", help="Name of the container's host.")
@click.option("--dns", multiple=True, help="Ask this name server.")
@click.option("-m", "--memory", metavar="SIZE", help="Memory limit, as in 512m.")
@click.option("--cpus", type=float, help="How many CPUs' time, as in 1.5.")
@click.option("--pids-limit", type=int, help="How many processes and threads.")
@click.option("--restart", default="no", help="no, on-failure[:N], always or unless-stopped.")
@click.option("--read-only", is_flag=True, help="Nothing in the container's root can be written.")
@click.option(
    "--userns",
    type=click.Choice(["own", "host"]),
    default="own",
    help="Users of the container's own, or the machine's.",
)
@click.option("--cap-add", multiple=True, help="Give a capability.")
@click.option("--cap-drop", multiple=True, help="Take a capability; ALL takes all.")
@click.option("-l", "--label", multiple=True, metavar="NAME=VALUE", help="Attach a label.")
@click.option("--pull", type=click.Choice(["missing", "always", "never"]), default="missing")
@click.option(
    "-f", "--follow", is_flag=True, help="Show its output until it ends; pass on its exit code."
)
@_machine_option
@_json_option
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run_command(
    *,
    machine: str | None,
    as_json: bool,
    follow: bool,
    image: str,
    command: tuple[str, ...],
    env: tuple[str, ...],
    publish: tuple[str, ...],
    volume: tuple[str, ...],
    label: tuple[str, ...],
    memory: str | None,
    cpus: float | None,
    pids_limit: int | None,
    restart: str,
    entrypoint: str | None,
    **plain: object,
) -> int:
    """Run COMMAND (or what IMAGE says) in a new container and leave it running."""
    if follow and as_json:
        raise click.UsageError("--follow shows what the container writes, which is no JSON")
    limits: dict[str, object] = {
        "memory": model.parse_size(memory) if memory else None,
        "cpus": cpus,
    }
    if pids_limit is not None:
        limits["processes"] = pids_limit
    request = model.request(
        image=reference.normalize(image),
        command=command,
        entrypoint=(entrypoint,) if entrypoint else None,
        env=dict(_pair(item, "--env") for item in env),
        labels=dict(_pair(item, "--label") for item in label),
        ports=tuple(model.parse_port(item) for item in publish),
        volumes=tuple(model.parse_volume(item) for item in volume),
        limits=limits,
        restart=model.parse_restart(restart),
        **plain,
    )
    machine_containers = _open(machine)
    with _reporting(f"pulling {reference.familiar(request.image)}") as report:
        made = machine_containers.run(request, report=report)
    if as_json:
        print_json(made)
    elif not follow:
        click.echo(made.name)
    try:
        _forward(machine, made)
        if not follow:
            return 0
        _copy(machine_containers.logs(made.name, follow=True))
        return machine_containers.inspect(made.name).exit_code or 0
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"container {made.name!r} runs on") from None


@click.command("start")
@_machine_option
@_json_option
@click.argument("name")
def start_command(*, machine: str | None, as_json: bool, name: str) -> None:
    """Start a container that has ended."""
    started = _open(machine).start(name)
    if as_json:
        print_json(started)
    else:
        click.echo(started.name)


@click.command("stop")
@click.option(
    "-t", "--time", "timeout", type=click.FloatRange(0, model.STOP_LIMIT_S), default=10, show_default=True,
    callback=_not_nan, help="Seconds until SIGKILL.",
)  # fmt: skip
@_machine_option
@_json_option
@click.argument("names", nargs=-1, required=True)
def stop_command(
    *, machine: str | None, as_json: bool, timeout: float, names: tuple[str, ...]
) -> None:
    """Stop containers."""
    where = _open(machine)
    _each(names, lambda name: where.stop(name, timeout_s=timeout), as_json=as_json)


@click.command("rm")
@click.option("-f", "--force", is_flag=True, help="Stop a container that runs; none is fine too.")
@_machine_option
@_json_option
@click.argument("names", nargs=-1, required=True)
def rm_command(*, machine: str | None, as_json: bool, force: bool, names: tuple[str, ...]) -> None:
    """Remove containers, and what was written in them; volumes and images stay."""
    where = _open(machine)

    def remove(name: str) -> model.Ended | None:
        try:
            return where.remove(name, force=force)
        except Missing:
            if not force:
                raise
            return None

    try:
        _each(names, remove, as_json=as_json)
    except (UserError, HostError):
        _close_ports(machine, where)
        raise
    _close_ports(machine, where)


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on until the container will write no more.")
@click.option("-n", "--tail", type=click.IntRange(min=0), help="Only that many lines from the end.")
@_machine_option
@click.argument("name")
def logs_command(*, machine: str | None, follow: bool, tail: int | None, name: str) -> None:
    """Show what a container wrote."""
    try:
        _copy(_open(machine).logs(name, follow=follow, tail=tail))
    except KeyboardInterrupt:
        # The usual way to stop following; nothing was interrupted that matters.
        raise click.exceptions.Exit(130) from None


@click.command("exec", context_settings=_PASS_ON)
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
@click.option("-u", "--user", help="Run as this user[:group].")
@click.option("-w", "--workdir", help="Start in this directory.")
@_machine_option
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(
    *,
    machine: str | None,
    interactive: bool,
    tty: bool,
    env: tuple[str, ...],
    user: str | None,
    workdir: str | None,
    name: str,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND in a container; its exit code becomes this program's."""
    from bulkhead.cli.attach import attach

    variables = dict(_pair(item, "--env") for item in env)
    if tty:
        variables.setdefault("TERM", os.environ.get("TERM", "xterm"))
    words = program(command)
    request = model.ExecRequest(
        command=words, env=variables, user=user, workdir=workdir, stdin=interactive, tty=tty
    )
    return attach(_open(machine).connection, name, request)


@click.command("images")
@_machine_option
@_json_option
def images_command(*, machine: str | None, as_json: bool) -> None:
    """List images."""
    found = _open(machine).list_images()
    if as_json:
        print_json(found)
        return
    print_table(
        ("image", "digest", "size"),
        [
            (reference.familiar(item.name), item.digest[7:19], f"{item.size / 1e6:.1f} MB")
            for item in found
        ],
    )


@click.command("pull")
@click.option("--username", help="Name at the registry.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@_machine_option
@_json_option
@click.argument("image")
def pull_command(
    *, machine: str | None, as_json: bool, username: str | None, password_stdin: bool, image: str
) -> None:
    """Fetch an image from its registry."""
    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    if (username is None) != (password is None):
        raise UserError(
            "a name and a password belong together", hint="--username, --password-stdin"
        )
    request = model.PullRequest(
        image=reference.normalize(image), username=username, password=password
    )
    with _reporting(f"pulling {image}") as report:
        name = _open(machine).pull(request, report=report)
    _stored([name], as_json=as_json)


@click.command("import")
@_machine_option
@_json_option
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def import_command(*, machine: str | None, as_json: bool, archive: Path) -> None:
    """Load images from an OCI archive or from the output of `docker save`."""
    with _reporting(f"importing {archive.name}") as report:
        names = _open(machine).import_archive(read_file(archive), report=report)
    _stored(names, as_json=as_json)


def _stored(names: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"images": names})
    else:
        for name in names:
            click.echo(reference.familiar(name))


@contextmanager
def _reporting(title: str) -> Iterator[Report]:
    """Show progress once the first event comes: most runs need no pull."""
    done: dict[str, int] = {}
    with ExitStack() as stack:
        tasks: list[Task] = []

        def report(event: model.Event) -> None:
            if not tasks:
                shown = stack.enter_context(progress())
                tasks.append(stack.enter_context(shown.task(title)))
            if event.what and event.done:
                tasks[0].advance(event.done - done.get(event.what, 0))
                done[event.what] = event.done

        yield report


def _copy(chunks: Iterator[bytes]) -> None:
    out: IO[bytes] = sys.stdout.buffer
    for chunk in chunks:
        out.write(chunk)
        out.flush()


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UserError(f"{option} cannot be {text!r}", hint="write NAME=VALUE")
    return name, value


def _state(item: model.Container) -> str:
    return f"exited ({item.exit_code})" if item.exit_code is not None else item.state


def _port(port: model.Port) -> str:
    at = f"{port.address}:" if port.address else ""
    return f"{at}{port.host}->{port.container}/{port.protocol}"


def _age(moment: str) -> str:
    seconds = int((datetime.now(tz=UTC) - datetime.fromisoformat(moment)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"
