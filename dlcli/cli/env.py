"""`dl env`: versions, devices, precision support, whether translating is compiled."""

from __future__ import annotations

from dlcli.cli.options import plain
from dlcli.display.console import Consoles
from dlcli.display.tables import facts


@plain
def env(consoles: Consoles) -> None:
    """Show versions, devices and precisions, and whether translating is compiled here.

    Examples:
        dl env
        dl env --json
    """
    from dlcli.engine.device import describe_machine, threads_worth_using
    from dlcli.nmt.fast.decoding import describe_library

    found = describe_machine()
    found |= {"training_threads": threads_worth_using()} | describe_library()
    consoles.result(found, facts({name: _text(value) for name, value in found.items()}))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {'yes' if v else 'no'}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "none"
