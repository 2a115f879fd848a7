"""`dl env`: versions, devices, precision support."""

from __future__ import annotations

import typer

from dlcli.cli.options import Show, add_command, plain


def register(app: typer.Typer) -> None:
    """Add `env`."""
    add_command(app, "env", env)


@plain
def env(show: Show) -> None:
    """Show the versions, devices and precisions that this machine offers."""
    from dlcli.engine.device import describe_machine
    from dlcli.report import facts

    found = describe_machine()
    show.consoles.result(found, facts({name: _text(value) for name, value in found.items()}))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {'yes' if v else 'no'}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
