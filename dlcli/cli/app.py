"""`dl`: the program, and the one boundary where exceptions become sentences and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from dlcli.cli.tree import GROUPS, MARKUP, TOP, LazyGroup, lazy
from dlcli.engine.stopping import ignore_signals
from dlcli.errors import DlError, Interrupted, RunFailed


class Root(LazyGroup):
    """The whole program; every failure ends in its `main`."""

    def invoke(self, ctx: Any) -> Any:
        """Run; a reader that has gone away (`dl … | head -1`) is no failure."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:  # Typer would leave without a word
            raise Interrupted("Interrupted.", hint="Nothing was left half-written.") from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        return result

    def main(self, *given: Any, **named: Any) -> Any:
        """Run a command line; in standalone mode, exit with one of the documented codes."""
        options = dict(zip(("args", "prog_name", "complete_var"), given, strict=False)) | named
        args: Sequence[str] | None = options.pop("args", None)
        words = list(sys.argv[1:] if args is None else args)
        standalone = options.pop("standalone_mode", True)
        run = partial(super().main, words, standalone_mode=False, **options)
        if not standalone:
            return run()
        try:
            code = run()
        except Exception as error:
            _part_from_others()
            if "--debug" in words:
                raise
            sys.exit(report_failure(error, as_json="--json" in words))
        sys.exit(code if isinstance(code, int) else 0)


def report_failure(error: Exception, *, as_json: bool) -> int:
    """Say what went wrong, on stderr and for `--json` on stdout too; return the exit code."""
    known = as_known(error)
    if not known.message and not as_json:  # a group without a command has shown its help
        return known.exit_code
    from dlcli.report import Consoles

    with contextlib.suppress(BrokenPipeError):
        Consoles(json=as_json and _has_the_last_word()).failure(known)
    return known.exit_code


def _part_from_others() -> None:
    """Under `torchrun`, let nothing and nobody delay the end of a command that has failed."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        ignore_signals()
        room = sys.modules.get("dlcli.engine.distributed")  # else there is nobody to part from
        if room is not None:
            room.abandon_processes()


def _has_the_last_word() -> bool:
    """Say whether no other process of `torchrun` will write to stdout, now or after a restart."""
    rank, restarts, most = (
        int(os.environ.get(name, "0"))
        for name in ("RANK", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
    )
    return rank == 0 and restarts >= most


def as_known(error: Exception) -> DlError:
    """Turn any exception into one with a sentence, a way out and an exit code."""
    if isinstance(error, DlError):
        return error
    if hasattr(error, "format_message"):  # Typer's usage errors
        return _usage(error)
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return RunFailed(
            "There is not enough memory for this.",
            hint="Lower --batch-size or the sizes asked for.",
        )
    if isinstance(error, OSError):
        return RunFailed(
            f"{error.filename or 'A file'} could not be used: {error.strerror or text}.",
            hint="Check the path, its permissions and the free space.",
        )
    first = next(iter(text.strip().splitlines()), "no message")
    return RunFailed(
        f"Something unforeseen happened ({type(error).__name__}: {first}).",
        hint="Run it again with --debug for a traceback, and please report it.",
    )


def _usage(error: Any) -> DlError:
    from dlcli.errors import UsageFault

    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "dl"
    message = str(error.format_message()).replace("Value error, ", "")  # pydantic's own prefix
    return UsageFault(message, hint=f"See `{path} --help`.")


def _version(wanted: bool) -> None:
    if wanted:
        from dlcli import __version__

        typer.echo(f"dl {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="dl",
    cls=lazy(TOP, base=Root),
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A deep-learning laboratory: classic results as numbers with error bars and pictures."""


for _name, (_help, _entries) in GROUPS.items():
    _group = typer.Typer(cls=lazy(_entries), no_args_is_help=True, rich_markup_mode=MARKUP)
    app.add_typer(_group, name=_name, help=_help)


def main() -> None:
    """Run the program: the `dl` script and `python -m dlcli`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by `2>&-`: a checkpoint must not get its number
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        app(prog_name="dl")
    except KeyboardInterrupt:
        print("error: Interrupted.", file=sys.stderr)
        sys.exit(130)
