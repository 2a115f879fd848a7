"""The tree of commands: names and one-line helps, and where each command lives.

A command's module is imported when the command is used, so that `dl --help` costs no more than a
bare Typer program. To add a command: write `cli/<module>.py` with a `register(app)`, and name it
here.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import typer
import typer.core
import typer.main

from dlcli.errors import nearest

MARKUP: Literal["rich"] | None = None if os.environ.get("TERM") == "dumb" else "rich"
"""How help is set: Rich's panels, and plain lines on a dumb terminal."""


@dataclass(frozen=True)
class Entry:
    """A command: the module in `dlcli.cli` whose `register(app)` adds it, and its one-line help."""

    module: str
    help: str


TOP: Mapping[str, Entry] = {
    "sample": Entry("sample", "Ancestral sampling: z from the prior, x given z (Question 1)."),
    "mc-estimate": Entry("mc_estimate", "Estimate log p(x), and why the prior fails (Question 2)."),
    "kl": Entry("kl", "KL divergences between Gaussians (Questions 3, 7)."),
    "ln-gradients": Entry(
        "ln_gradients", "Gradients of deep post- and pre-norm stacks (Questions 15-16)."
    ),
    "report": Entry("report", "One HTML page that answers Questions 1-16, with figures."),
    "env": Entry("env", "Show versions, devices and precision support."),
}
"""Commands directly under `dl`."""

GROUPS: Mapping[str, tuple[str, Mapping[str, Entry]]] = {
    "vae": (
        "Variational auto-encoders (Questions 7-11).",
        {
            "train": Entry("vae_train", "Train a VAE and write a run folder."),
            "eval": Entry("vae_eval", "NLL with error bars, ELBO, gap, active units, ambiguity."),
            "generate": Entry("vae_generate", "Draw pictures from the prior."),
            "reconstruct": Entry("vae_reconstruct", "Test images above their reconstructions."),
            "interpolate": Entry("vae_interpolate", "Walk between two images or two draws."),
            "traverse": Entry("vae_traverse", "Vary one latent at a time."),
            "gradients": Entry("vae_gradients", "Two gradient estimators: Question 8 in numbers."),
            "compare": Entry("vae_compare", "Train a grid of settings into one table and figure."),
        },
    ),
    "nmt": (
        "Translation with attention (Questions 12-14).",
        {
            "train": Entry("nmt_train", "Train a translator and write a run folder."),
            "translate": Entry(
                "nmt_translate", "Translate text, a file or a pipe, by beam search."
            ),
            "attend": Entry("nmt_attend", "Show the attention matrix, words on both axes."),
            "eval": Entry("nmt_eval", "BLEU, chrF, intervals, BLEU by length, sentences/s."),
            "compare-forcing": Entry(
                "nmt_compare_forcing", "Train with and without the teacher (Question 14)."
            ),
            "align": Entry("nmt_align", "Align words by attention: Pharaoh links, error rate."),
        },
    ),
    "data": (
        "Data sets: where they are, and whether they are what they should be.",
        {
            "list": Entry("data", "List the data sets and where each of them is."),
            "fetch": Entry("data", "Fetch data sets into the cache."),
            "verify": Entry("data", "Check every file of the data sets that are here."),
            "path": Entry("data", "Print the folder that holds a data set."),
            "show": Entry("data", "Show the first images of a data set in the terminal."),
        },
    ),
    "runs": (
        "Run folders.",
        {
            "list": Entry("runs", "List runs with their key metrics."),
            "show": Entry("runs", "Show one run."),
            "compare": Entry("runs", "Compare runs in one table and one figure."),
            "export": Entry("runs", "Write a run's weights and model card to hand on."),
            "prune": Entry("runs", "Remove checkpoints or whole runs that are no longer needed."),
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
            near = nearest(name, known)
            ctx.fail(f"There is no command '{name}'{f'; {near}' if near else '.'}")
        return super().resolve_command(ctx, args)


def load(name: str, entry: Entry) -> Any:
    """Import a command's module and build the command."""
    module = importlib.import_module(f"dlcli.cli.{entry.module}")
    app = typer.Typer(add_completion=False, rich_markup_mode=MARKUP)
    module.register(app)
    return typer.main.get_group(app).commands[name]


def lazy(entries: Mapping[str, Entry], *, base: type[LazyGroup] = LazyGroup) -> type[LazyGroup]:
    """Return a group class with the given commands."""
    return type(base.__name__, (base,), {"entries": entries})
