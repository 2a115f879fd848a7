"""Parallel corpora by name: the one door to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dlcli.data.catalogue import EUROPARL, EUROPARL_DEV, TATOEBA, DataSet, named
from dlcli.data.checks import find
from dlcli.data.europarl import read_europarl, read_europarl_dev
from dlcli.data.joining import HELD_OUT, is_joined, join, parts_of
from dlcli.data.multi30k import read_multi30k
from dlcli.data.obtain import fetch
from dlcli.data.pairs import DIRECTIONS, Corpus
from dlcli.data.storage import Notice, tell
from dlcli.data.tatoeba import read_tatoeba
from dlcli.data.text_files import is_path, read_text_files
from dlcli.errors import ConfigError, DataError

_READERS: dict[str, Callable[[Path], Corpus]] = {
    "tatoeba": read_tatoeba,
    "multi30k": read_multi30k,
    "europarl": read_europarl,
    "europarl-dev500k": read_europarl_dev,
}


def load_corpus(
    name: str = "auto",
    *,
    direction: str = "en-fr",
    offline: bool = False,
    notice: Notice = tell,
    seed: int = 0,
    train_pairs: int | None = None,
) -> Corpus:
    """Load a parallel corpus by name.

    Args:
        name: "tatoeba", "multi30k", "europarl", "europarl-dev500k", "grammar"; several of these
            with `+` between ("europarl+tatoeba", see `dlcli.data.joining.join`); a path of
            tab-separated pairs ("pairs.tsv") or two paths ("a.en,b.fr"); "auto" is tatoeba where it
            can be had, else grammar with a notice.
        direction: "en-fr", or "fr-en" with the sides changed.
        offline: never ask the network.
        notice: called with one sentence where the user should know something.
        seed: which sentences `grammar` makes.
        train_pairs: where the corpus is made and not read, make at most so many training pairs.

    Raises:
        ConfigError: there is no corpus of that name, or no such direction.
        DataError: it cannot be had, or a file of it is wrong.
    """
    if direction not in DIRECTIONS:
        raise ConfigError(
            f"There is no direction '{direction}'.", hint=f"Use {' or '.join(DIRECTIONS)}."
        )
    if is_path(name):
        corpus = read_text_files(name, notice=notice)
    elif is_joined(name):
        corpus = _joined(parts_of(name), offline=offline, notice=notice, seed=seed)
    else:
        corpus = _named(name, offline=offline, notice=notice, seed=seed, most=train_pairs)
    return corpus if direction == "en-fr" else corpus.swapped()


def _joined(names: list[str], *, offline: bool, notice: Notice, seed: int) -> Corpus:
    corpora = [_named(name, offline=offline, notice=notice, seed=seed) for name in names]
    if "auto" in names or len({corpus.name for corpus in corpora}) < len(corpora):
        raise ConfigError(
            f"'{'+'.join(names)}' does not name different corpora.",
            hint="Name each of them once, such as europarl+tatoeba.",
        )
    corpus = join(corpora)
    if count := corpus.dropped.get(HELD_OUT):
        notice(f"{corpus.name}: {count:,} training pairs left out: {HELD_OUT}.")
    return corpus


def _named(
    name: str, *, offline: bool, notice: Notice, seed: int, most: int | None = None
) -> Corpus:
    data_set = named(TATOEBA.name if name == "auto" else name)
    if data_set.kind != "pairs" or name not in (data_set.name, "auto"):
        raise ConfigError(
            f"The data set '{name}' is no parallel corpus.",
            hint=f"Use {', '.join(_READERS)}, grammar, several of these (europarl+tatoeba), "
            "a TSV or two files (a.en,b.fr).",
        )
    if data_set.embedded:
        return _grammar(seed, most)
    data_set, place = _here(data_set, notice=notice)
    if place is None:
        try:
            place = fetch(data_set, offline=offline, notice=notice).folder
        except DataError as error:
            if name != "auto":
                raise
            notice(f"{error.message} Taking 'grammar' in its place.")
            return _grammar(seed, most)
    corpus = _READERS[data_set.name](place)
    if corpus.dropped:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in corpus.dropped.items())
        notice(f"{corpus.name}: pairs left out: {counts}.")
    return corpus


def _here(data_set: DataSet, *, notice: Notice) -> tuple[DataSet, Path | None]:
    """Find a corpus on this machine; `europarl` may be there as its development cut."""
    place = find(data_set)
    if place is None and data_set.name == EUROPARL.name:
        cut = find(EUROPARL_DEV)
        if cut is not None:
            notice(
                f"'{EUROPARL.name}' is not here: taking '{EUROPARL_DEV.name}', another cut of it. "
                f"`dl data fetch {EUROPARL.name}` gets the published one."
            )
            return EUROPARL_DEV, cut.folder
    return data_set, None if place is None else place.folder


def _grammar(seed: int, most: int | None) -> Corpus:
    from dlcli.data.grammar import TRAIN_PAIRS, load_grammar

    return load_grammar(seed=seed, train=TRAIN_PAIRS if most is None else min(most, TRAIN_PAIRS))
