"""Any words at all, as Hypothesis thinks them up: what goes wrong is shortened to its core."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlcli.cli.options import Assignment, gather, grid_of, parse_assignments
from dlcli.data.sentences import split_words
from dlcli.data.text import Fault, read_lines
from dlcli.engine.config import load_yaml, resolve
from dlcli.errors import DlError
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.links import format_pharaoh, parse_gold, parse_pharaoh
from dlcli.nmt.text import detokenize
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from dlcli.vae.config import VaeTrainConfig
from tests.fuzz.cases import WORDS
from tests.nmt.toy import tiny_trained

FEW, MANY = 15, 1500
LENGTHS = [FEW, pytest.param(MANY, marks=pytest.mark.slow)]
often = pytest.mark.parametrize("examples", LENGTHS)
TEXT = st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
DATA = st.binary(max_size=200) | TEXT.map(lambda text: text.encode("utf-8", "replace"))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
NAMES = st.sampled_from(["model", "optim", "lr", "hidden", "data", "loop", "epochs"]) | TEXT
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


def for_all(values: st.SearchStrategy, holds: Callable[..., None], *, examples: int) -> None:
    """Check that `holds` raises nothing for `examples` values; a `DlError` is an answer."""

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(values)
    def check(value: object) -> None:
        with contextlib.suppress(DlError):
            holds(value)

    check()


@often
def test_settings(examples: int) -> None:
    for_all(TREES, lambda tree: resolve(VaeTrainConfig, [tree]), examples=examples)


@often
def test_yaml_and_assignments(examples: int, tmp_path: Path) -> None:
    def read(data: bytes) -> None:
        (tmp_path / "a.yaml").write_bytes(data)
        load_yaml(tmp_path / "a.yaml")

    for_all(DATA, read, examples=examples)
    for parse in (parse_assignments, grid_of):
        for_all(TEXT.map("model.hidden={}".format).map(lambda x: [x]), parse, examples=examples)


@often
def test_lists(examples: int) -> None:
    words = st.sampled_from(["--dims", "--set", "--resume", "--", "--dims="]) | TEXT
    items = {"--dims": int, "--set": Assignment}

    def holds(given: list[str]) -> None:
        found: list[str] = []
        with contextlib.suppress(typer.BadParameter):
            found = gather(given, lists=items, optional=frozenset({"--resume"}))
        options = found[: found.index("--")] if "--" in found else found
        assert len([word for word in options if word.startswith("--dims=")]) <= 1

    for_all(st.lists(words), holds, examples=examples)


@often
def test_alignments(examples: int) -> None:
    links = st.from_regex(r"[0-9]{1,2}[-p][0-9]{1,2}", fullmatch=True)

    def holds(text: str) -> None:
        gold = parse_gold(text)
        assert parse_pharaoh(format_pharaoh(gold.sure)) == gold.sure
        assert gold.sure <= gold.possible

    for_all(st.lists(links).map(" ".join) | TEXT, holds, examples=examples)


@often
def test_lines_and_words(examples: int, tmp_path: Path) -> None:
    def lines(data: bytes) -> None:
        (tmp_path / "a.txt").write_bytes(data)
        with (tmp_path / "a.txt").open("rb") as file:
            for line in read_lines(file, name="a.txt"):
                assert isinstance(line, Fault | str)

    def words(text: str) -> None:
        for language in ("en", "fr", "it", "ja", "qaa"):
            found = split_words(text, language)
            assert [text[word.start : word.end] for word in found] == [word.text for word in found]
            joined = detokenize(text.split(), language=language)
            assert len(joined.spans) == len(text.split())
            assert all(0 <= start < end <= len(joined.text) for start, end in joined.spans)

    for_all(DATA, lines, examples=examples)
    for_all(TEXT, words, examples=examples)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return tiny_trained(tmp_path_factory.mktemp("words") / "run")


@pytest.mark.parametrize("examples", [5, pytest.param(600, marks=pytest.mark.slow)])
def test_translations(examples: int, trained: Trained) -> None:
    config = SearchConfig(max_length=7, beam_size=2)
    translator = Translator(trained)

    def holds(sentences: list[str]) -> None:
        found = translator.translate(sentences, config=config)
        assert [one.source for one in found] == sentences
        for text in sentences:
            with contextlib.suppress(DlError):
                sums = translator.attend(text, config=config).matrix.sum(axis=1)
                assert bool((abs(sums - 1) < 1e-4).all())

    for_all(st.lists(TEXT, max_size=3), holds, examples=examples)
