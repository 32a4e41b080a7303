"""The API of a booted machine, asked as a workstation asks it."""

from __future__ import annotations

from bulkhead.client.api import Api
from bulkhead.model import boot
from bulkhead.model.apply import ServiceResult
from bulkhead.model.channel import Channel
from bulkhead.testing.vm import VM

PORT = 7434
"""Where the machine's API is on the channel; to be forwarded."""
TOKEN = "0123456789abcdef" * 4
CREDENTIALS = {"bulkhead.channel-token": TOKEN.encode()}
TX = "test"

_IMPOSSIBLE = "boot parameters cannot take effect: "
_HINT = "\n  hint: Give them in the variant, kernel.command-line, or unset settings.boot."


def reach(vm: VM) -> Api:
    """Return the machine's API."""
    return Api(Channel(host="127.0.0.1", port=vm.port(PORT), token=TOKEN))


def commit(api: Api) -> dict[str, ServiceResult]:
    """Commit and apply what is staged in `TX`; return how the services went."""
    applied = api.commit(TX).apply
    assert applied is not None
    return {service.name: service for service in applied.services}


def conditions(api: Api) -> list[str]:
    """Return the codes of what the node says is wrong."""
    return [condition.code for condition in api.health().conditions]


def why_no_boot_parameters(vm: VM) -> str:
    """Set a parameter where none can be set; return the reason that is given."""
    api = reach(vm)
    api.set(TX, {"boot": {"kernel-parameters": {"log_buf_len": ["1M"]}}})
    result = commit(api)["boot"]

    assert result.status == "failed"
    assert conditions(api) == [boot.IMPOSSIBLE]
    assert (result.error or "").startswith(_IMPOSSIBLE)
    assert (result.error or "").endswith(_HINT)
    return (result.error or "").removeprefix(_IMPOSSIBLE).removesuffix(_HINT)
