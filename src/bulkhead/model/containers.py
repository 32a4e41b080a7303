"""What the container service and its clients say to each other, as JSON.

Also the values that both check before anything is done: a port, a volume, a
limit. Unknown fields are refused, so a misspelt option is never ignored.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from bulkhead.model.errors import UserError
from bulkhead.model.problem import Problem

# A `$` alone would also match before a newline at the end.
NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$(?!\n)"
_IPV4 = r"^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$(?!\n)"
# What sethostname(2) takes and a name server could know. It is written to files in the container.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(?:\.{_LABEL})*")
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of a container or a volume."""
    return re.search(NAME_PATTERN, text) is not None


PortNumber = Annotated[int, Meta(ge=1, le=65535)]


class _Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    pass


class Port(_Model, frozen=True, kw_only=True):
    """A port of the machine that leads to one of the container."""

    host: PortNumber
    container: PortNumber
    protocol: Literal["tcp", "udp"] = "tcp"
    address: Annotated[str, Meta(pattern=_IPV4)] | None = None
    """Only on this IPv4 address of the machine; on all by default."""


class Volume(_Model, frozen=True, kw_only=True):
    """Something of the machine that the container sees at `target`."""

    source: str
    """A volume's name, or the absolute path of a directory that the machine allows."""
    target: str
    read_only: bool = False


_LEAST_MEMORY = 6 << 20
"""Bytes; with less, no container starts."""
_MOST_MEMORY = 1 << 50
_MOST_PROCESSES = 4 << 20
"""PID_MAX_LIMIT, see proc(5)."""
STOP_LIMIT_S = 3600


class Limits(_Model, frozen=True, kw_only=True):
    """What a container may take. None is no limit, except for processes."""

    memory: Annotated[int, Meta(ge=_LEAST_MEMORY)] | None = None
    """Bytes."""
    cpus: Annotated[float, Meta(ge=0.01, le=4096)] | None = None
    """A hundredth is the least that the kernel can measure out."""
    processes: Annotated[int, Meta(ge=1)] = 4096
    """Threads count too. Never unlimited: a fork bomb must not take the machine."""


def check_limits(limits: Limits) -> None:
    """Refuse what no machine has. Not a rule of the type: what is stored already stays readable.

    Raises:
        UserError: a limit is too large for the kernel.
    """
    if (limits.memory or 0) > _MOST_MEMORY:
        raise UserError(f"a memory limit of {limits.memory} bytes is more than any machine has")
    if limits.processes > _MOST_PROCESSES:
        raise UserError(f"a kernel has {_MOST_PROCESSES} processes at most, not {limits.processes}")


class Restart(_Model, frozen=True, kw_only=True):
    """What happens when the first process ends; containerd itself sees to it."""

    policy: Literal["no", "on-failure", "always", "unless-stopped"] = "no"
    attempts: Annotated[int, Meta(ge=0)] = 0
    """With `on-failure`: how often; 0 is without end."""


class RunRequest(_Model, frozen=True, kw_only=True):
    """A container to make and start."""

    image: str
    name: Name | None = None
    """Made from the image's name if missing."""
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] = ()
    """Takes the place of the image's command (not of its entry point), if not empty."""
    env: dict[str, str] = {}
    user: str | None = None
    workdir: str | None = None
    hostname: str | None = None
    dns: tuple[str, ...] = ()
    """Name servers instead of the machine's: IPv4 or IPv6 addresses."""
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    limits: Limits = Limits()
    read_only: bool = False
    userns: Literal["own", "host"] = "own"
    """`own`: root in the container is an ordinary number on the machine. `host`: the machine's
    users, for the few programs that cannot do without."""
    restart: Restart = Restart()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    pull: Literal["missing", "always", "never"] = "missing"

    def __post_init__(self) -> None:
        """Check what gets into files of the container, where a line more would mean something."""
        if self.hostname is not None and not _HOSTNAME.fullmatch(self.hostname):
            raise ValueError(
                "hostname: expected up to 64 letters, digits, dots and hyphens, 63 of them between "
                f"dots, got {self.hostname!r}"
            )
        for server in self.dns:
            if not _is_address(server):
                raise ValueError(f"dns: expected an IPv4 or IPv6 address, got {server!r}")


def _is_address(text: str) -> bool:
    import ipaddress  # only where somebody names a server

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # an interface's name, which is not checked and means nothing there


State = Literal["created", "running", "paused", "exited", "unknown"]


class Container(_Model, frozen=True, kw_only=True):
    """A container as the service describes it."""

    name: str
    image: str
    state: State
    exit_code: int | None = None
    """Of the first process, once it has ended."""
    pid: int | None = None
    created: str
    """UTC, ISO 8601."""
    address: str | None = None
    """In the network of the containers."""
    ports: tuple[Port, ...] = ()
    restart: Restart = Restart()
    labels: dict[str, str] = {}
    userns: Literal["own", "host"] = "host"
    first_user: int | None = None
    """The machine's number of the container's user 0; it has 65536 from there on."""
    unreadable: str | UnsetType = UNSET
    """Why its record cannot be read. Only its name and state are known then, and when that file was written."""


class Image(_Model, frozen=True, kw_only=True):
    """An image that containerd has."""

    name: str
    digest: str
    size: int
    """Bytes of its compressed layers."""
    created: str


class PullRequest(_Model, frozen=True, kw_only=True):
    """An image to fetch from its registry."""

    image: str
    username: str | None = None
    password: str | None = None


class Event(_Model, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a stream that says how far a pull or an import is."""

    event: str
    what: str | None = None
    done: int | None = None
    total: int | None = None
    images: tuple[str, ...] | None = None
    """In the last event: what was stored."""
    problem: Problem | None = None
    """In the last event, if it failed."""


class StopRequest(_Model, frozen=True, kw_only=True):
    """How to stop: SIGTERM, and SIGKILL after `timeout` seconds."""

    timeout: Annotated[float, Meta(ge=0, le=STOP_LIMIT_S)] = 10


class Ended(_Model, frozen=True, kw_only=True):
    """How a container's first process ended; None if it had not run."""

    name: str
    exit_code: int | None = None


class ExecRequest(_Model, frozen=True, kw_only=True):
    """One more process in a container. First message of the WebSocket."""

    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    env: dict[str, str] = {}
    user: str | None = None
    workdir: str | None = None
    stdin: bool = False
    tty: bool = False
    columns: Annotated[int, Meta(ge=1, le=10000)] = 80
    rows: Annotated[int, Meta(ge=1, le=10000)] = 24


class ExecControl(_Model, frozen=True, kw_only=True, omit_defaults=True):
    """A text message of the WebSocket, in either direction. Binary ones are data:
    their first byte is 0 (standard input), 1 (output) or 2 (errors).
    """

    columns: int | None = None
    rows: int | None = None
    close_stdin: bool = False
    started: bool = False
    exit_code: int | None = None
    problem: Problem | None = None


class Health(_Model, frozen=True, kw_only=True):
    """Who answers."""

    version: str
    containerd: str
    runtime: str


def request(**fields: object) -> RunRequest:
    """Make a request from values that are not checked yet.

    Raises:
        UserError: one of them cannot be.
    """
    given = {name.replace("_", "-"): msgspec.to_builtins(value) for name, value in fields.items()}
    name = given.get("name")
    if isinstance(name, str) and not is_name(name):
        raise UserError(
            f"a container cannot be named {name!r}",
            hint="up to 63 small letters, digits, dots, dashes and underscores, not one of these first or last",
        )
    limits = given.get("limits")
    memory = limits.get("memory") if isinstance(limits, dict) else None
    if isinstance(memory, int) and memory < _LEAST_MEMORY:
        raise UserError(
            f"a memory limit of {memory} bytes is too little",
            hint="give at least 6m, and the unit with it: 512m or 2g",
        )
    try:
        made = msgspec.convert(given, RunRequest)
        check_limits(made.limits)
        return made
    except msgspec.ValidationError as error:
        raise UserError(f"the container cannot be like that: {error}") from error


# --- the short forms that people write --------------------------------------

_SIZES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def parse_port(text: str) -> Port:
    """Read `[ADDRESS:]HOST:CONTAINER[/udp]`.

    Raises:
        UserError: it is not of that form.
    """
    body, _, protocol = text.partition("/")
    address, _, pair = body.rpartition(":")
    address, _, host = address.rpartition(":")
    fields = {
        "host": host,
        "container": pair,
        "protocol": protocol or "tcp",
        "address": None if address in ("", "0.0.0.0") else address,  # noqa: S104  # compared only
    }
    try:
        return msgspec.convert(fields, Port, strict=False)
    except msgspec.ValidationError as error:
        raise UserError(
            f"a port mapping cannot be {text!r}",
            hint="write HOST:CONTAINER with numbers up to 65535, as in 8080:80 or 53:53/udp",
        ) from error


def parse_volume(text: str) -> Volume:
    """Read `SOURCE:TARGET[:ro]`.

    Raises:
        UserError: it is not of that form.
    """
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts) or (len(parts) == 3 and parts[2] not in _MODES):
        raise UserError(
            f"a volume cannot be {text!r}", hint="write NAME:/path or /directory:/path, and :ro"
        )
    return Volume(source=parts[0], target=parts[1], read_only=parts[2:] == ["ro"])


_MODES = ("ro", "rw")


def parse_size(text: str) -> int:
    """Read bytes with a unit: `512m`, `2g`.

    Raises:
        UserError: it is not of that form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)i?b?", text.strip().lower())
    if match is None:
        raise UserError(f"a size cannot be {text!r}", hint="write it as 512m or 2g")
    number, unit = match[1], _SIZES[match[2]]
    # More digits than this are too many for a float, and no size of anything.
    if len(number.partition(".")[0].lstrip("0")) > 18:
        raise UserError(f"a size cannot be {text[:20]}…", hint="write it as 512m or 2g")
    return int(float(number) * unit)


def parse_restart(text: str) -> Restart:
    """Read `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`.

    Raises:
        UserError: it is none of them.
    """
    policy, colon, attempts = text.partition(":")
    try:
        if colon and policy != "on-failure":
            raise msgspec.ValidationError("only on-failure counts attempts")
        fields = {"policy": policy, "attempts": attempts or 0}
        return msgspec.convert(fields, Restart, strict=False)
    except msgspec.ValidationError as error:
        raise UserError(
            f"a restart policy cannot be {text!r}: {error}",
            hint="one of no, on-failure, on-failure:5, always, unless-stopped",
        ) from error
