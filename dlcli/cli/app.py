"""`dl`: the tree of commands, and the one place where exceptions become sentences and exit codes.

A command's file is imported when the command is used, so that `dl --help` costs no more than a bare
Typer program. To add a command: write it in a file of this folder and name it in the table here.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import typer

from dlcli.engine.files import replace_unencodable
from dlcli.engine.launcher import number, process_count, rank, restarts
from dlcli.engine.stopping import StopFlag, ignore_signals
from dlcli.errors import DlError, Interrupted, RunFailed, UsageFault, in_words, nearest

MARKUP: Literal["rich"] | None = None if os.environ.get("TERM") == "dumb" else "rich"
"""How help is set: Rich's panels, and plain lines on a dumb terminal."""


@dataclass(frozen=True)
class Entry:
    """A command: `file:name` of its `Command` in `dlcli.cli`, and its one-line help."""

    place: str
    help: str


TOP: Mapping[str, Entry] = {
    "sample": Entry("vae:sample", "Ancestral sampling: z from the prior, x given z (Question 1)."),
    "mc-estimate": Entry(
        "evidence:mc_estimate", "Estimate log p(x), and why the prior fails (Question 2)."
    ),
    "kl": Entry("evidence:kl", "KL divergences between Gaussians (Questions 3, 7)."),
    "ln-gradients": Entry(
        "layernorm:ln_gradients", "Gradients of deep post- and pre-norm stacks (Questions 15-16)."
    ),
    "report": Entry("report:report", "One HTML page that answers Questions 1-16, with figures."),
    "models": Entry("runs:models", "List the models that ship: purpose, size, score."),
    "env": Entry("env:env", "Show versions, devices and precision support."),
}
"""Commands directly under `dl`."""

GROUPS: Mapping[str, tuple[str, Mapping[str, Entry]]] = {
    "vae": (
        "Variational auto-encoders (Questions 7-11).",
        {
            "train": Entry("vae:train", "Train a VAE and write a run folder."),
            "eval": Entry(
                "vae:evaluate", "NLL with error bars, ELBO, gap, active units, ambiguity."
            ),
            "generate": Entry("vae:generate", "Draw pictures from the prior."),
            "reconstruct": Entry("vae:reconstruct", "Test images above their reconstructions."),
            "interpolate": Entry("vae:interpolate", "Walk between two images or two draws."),
            "traverse": Entry("vae:traverse", "Vary one latent at a time."),
            "explore": Entry("vae:explore", "A page in which the network runs, to play with."),
            "gradients": Entry("vae:gradients", "Two gradient estimators: Question 8 in numbers."),
            "compare": Entry("vae:compare", "Train a grid of settings into one table and figure."),
        },
    ),
    "nmt": (
        "Translation with attention (Questions 12-14).",
        {
            "train": Entry("nmt:train", "Train a translator and write a run folder."),
            "translate": Entry(
                "nmt:translate", "Translate text, a file or a pipe, by beam search."
            ),
            "attend": Entry("nmt:attend", "Show the attention matrix, words on both axes."),
            "eval": Entry("nmt:evaluate", "BLEU, chrF, intervals, BLEU by length, sentences/s."),
            "compare-forcing": Entry(
                "nmt:compare_forcing", "Train with and without the teacher (Question 14)."
            ),
            "align": Entry("nmt:align", "Align words by attention: Pharaoh links, error rate."),
        },
    ),
    "data": (
        "Data sets: where they are, and whether they are what they should be.",
        {
            "list": Entry("data:list_", "List the data sets and where each of them is."),
            "fetch": Entry("data:fetch", "Fetch data sets into the cache."),
            "verify": Entry("data:verify", "Check every file of the data sets that are here."),
            "path": Entry("data:path", "Print the folder that holds a data set."),
            "show": Entry("data:show_", "Show the first images of a data set in the terminal."),
        },
    ),
    "runs": (
        "Run folders.",
        {
            "list": Entry("runs:list_", "List runs with their key metrics."),
            "show": Entry("runs:show_", "Show one run."),
            "compare": Entry("runs:compare", "Compare runs in one table and one figure."),
            "page": Entry("runs:page", "Write runs as an HTML page: curves, snapshots, settings."),
            "export": Entry("runs:export", "Write a run's weights and model card to hand on."),
            "prune": Entry(
                "runs:prune", "Remove checkpoints or whole runs that are no longer needed."
            ),
        },
    ),
}
"""Group → its help and its commands."""


class LazyGroup(typer.core.TyperGroup):
    """A group whose commands are listed from a table and imported when used."""

    entries: ClassVar[Mapping[str, Entry]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table, groups last."""
        return [*self.entries, *(name for name in self.commands if name not in self.entries)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command if it has been used, else a stand-in that only knows its help."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in self.entries:
            return typer.core.TyperCommand(name=cmd_name, help=self.entries[cmd_name].help)
        return found

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Pass a command's words on without converting options of the group that are not there.

        Typer converts every option through pydantic, whose import takes half as long as `--help`.
        """
        if not args or args[0].startswith("-"):
            return super().parse_args(ctx, args)
        before = self.params, self.add_help_option
        self.params, self.add_help_option = [], False
        try:
            return super().parse_args(ctx, args)
        finally:
            self.params, self.add_help_option = before

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is about to run, or name the one that may have been meant."""
        name, known = args[0], self.list_commands(ctx)
        if name in self.entries and name not in self.commands:
            self.commands[name] = load(name, self.entries[name])
        elif name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            near = _in_groups(name) if self.entries is TOP else ""
            near = near or nearest(name, known)
            ctx.fail(f"There is no command '{name}'{f'; {near}' if near else '.'}")
        return super().resolve_command(ctx, args)


def _in_groups(name: str) -> str:
    """Name the commands of groups that someone may mean by a word directly behind `dl`."""
    found = [f"`dl {group} {name}`" for group, (_, entries) in GROUPS.items() if name in entries]
    return f"did you mean {' or '.join(found)}?" if found else ""


def load(name: str, entry: Entry) -> Any:
    """Import a command's file and build the command."""
    file, _, variable = entry.place.partition(":")
    app = typer.Typer(add_completion=False, rich_markup_mode=MARKUP)
    getattr(importlib.import_module(f"dlcli.cli.{file}"), variable).add_to(app, name)
    return typer.main.get_group(app).commands[name]


def lazy(entries: Mapping[str, Entry], *, base: type[LazyGroup] = LazyGroup) -> type[LazyGroup]:
    """Return a group class with the given commands."""
    return type(base.__name__, (base,), {"entries": entries})


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
            _drop_output()
            return None
        return result

    def main(self, *given: Any, **named: Any) -> Any:
        """Run a command line; in standalone mode, exit with one of the documented codes."""
        for stream in (sys.stdout, sys.stderr):  # help pages too
            replace_unencodable(stream)
        options = dict(zip(("args", "prog_name", "complete_var"), given, strict=False)) | named
        args: Sequence[str] | None = options.pop("args", None)
        words = list(sys.argv[1:] if args is None else args)
        standalone = options.pop("standalone_mode", True)
        run = partial(super().main, words, standalone_mode=False, **options)
        if not standalone:
            return run()
        try:
            _require_folder()
            code = run()
        except Exception as error:
            _leave_the_other_processes()
            if "--debug" in words:
                raise
            sys.exit(report_failure(error, as_json="--json" in words))
        sys.exit(code if isinstance(code, int) else 0)


def _require_folder() -> None:
    """Refuse to start where the working folder is gone; libraries would abort.

    Raises:
        RunFailed: it is.
    """
    try:
        Path.cwd()
    except OSError:
        raise RunFailed(
            "The working folder no longer exists.", hint="Change to another with `cd`."
        ) from None


def _drop_output() -> None:
    """Let what stdout still holds go nowhere, so that no error follows at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report_failure(error: Exception, *, as_json: bool) -> int:
    """Say what went wrong, on stderr and for `--json` on stdout too; return the exit code."""
    known = as_known(error)
    if not known.message and not as_json:  # a group without a command has shown its help
        return known.exit_code
    from dlcli.display.console import Consoles

    with contextlib.suppress(OSError):
        Consoles(json=as_json and _is_last_to_write()).failure(known)
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
    return known.exit_code


def _leave_the_other_processes() -> None:
    """Under `torchrun`, let neither signals nor other processes delay the end of a failure."""
    if process_count() > 1:
        ignore_signals()
        distributed = sys.modules.get("dlcli.engine.distributed")  # imported if processes met
        if distributed is not None:
            distributed.abandon_processes()


def _is_last_to_write() -> bool:
    """Say whether no other process of `torchrun` will write to stdout, now or after a restart."""
    return rank() == 0 and restarts() >= number("TORCHELASTIC_MAX_RESTARTS")


def as_known(error: Exception) -> DlError:
    """Turn any exception into one with a sentence, a way out and an exit code."""
    if isinstance(error, DlError):
        return error
    if hasattr(error, "format_message"):  # Typer's usage errors
        ctx = getattr(error, "ctx", None)
        path = ctx.command_path if ctx is not None else "dl"
        message = str(error.format_message()).replace("Value error, ", "")  # pydantic's own prefix
        takes_text = ctx is not None and any(one.name == "text" for one in ctx.command.params)
        quotes = takes_text and "extra argument" in message
        hint = "Put text that has spaces into quotes; see" if quotes else "See"
        return UsageFault(in_words(message), hint=f"{hint} `{path} --help`.")
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
    ignore_inherited()
    try:
        with StopFlag().watching():  # also as the first process of a container
            app(prog_name="dl")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(Interrupted.exit_code)


def ignore_inherited() -> None:
    """Leave aside what the environment says to other programs and would end this one.

    A notebook's MPLBACKEND names a module that may be missing here, a developer's PYTHONWARNINGS
    may turn any warning of a library into an error, and some schedulers set COLUMNS to 0.
    """
    os.environ.pop("MPLBACKEND", None)
    if sys.warnoptions:
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
    if number("COLUMNS", 1) < 1:
        os.environ.pop("COLUMNS")
