"""Any words at all, as Hypothesis thinks them up: what goes wrong is shortened to its core."""

from __future__ import annotations

import contextlib
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
from dlcli.nmt.alignment import format_pharaoh, parse_gold, parse_pharaoh
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.text import detokenize
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from dlcli.vae.config import VaeTrainConfig
from tests.fuzz.mangling import WORDS
from tests.nmt.toy import tiny_trained

FEW, MANY = 15, 1500
LENGTHS = [FEW, pytest.param(MANY, marks=pytest.mark.slow)]
CHOSEN = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
TEXT = st.one_of(st.text(max_size=60), CHOSEN)
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


def often(examples: int) -> settings:
    """Return how a test is to be repeated."""
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return tiny_trained(tmp_path_factory.mktemp("words") / "run")


@pytest.mark.parametrize("examples", LENGTHS)
def test_settings(examples: int) -> None:
    @often(examples)
    @given(TREES)
    def holds(tree: dict[str, object]) -> None:
        with contextlib.suppress(DlError):
            resolve(VaeTrainConfig, [tree])

    holds()


@pytest.mark.parametrize("examples", LENGTHS)
def test_yaml_and_assignments(examples: int, tmp_path: Path) -> None:
    @often(examples)
    @given(st.binary(max_size=80) | TEXT.map(lambda text: text.encode("utf-8", "replace")))
    def file(data: bytes) -> None:
        (tmp_path / "a.yaml").write_bytes(data)
        with contextlib.suppress(DlError):
            load_yaml(tmp_path / "a.yaml")

    @often(examples)
    @given(TEXT)
    def words(text: str) -> None:
        for read in (parse_assignments, grid_of):
            with contextlib.suppress(DlError):
                read([f"model.hidden={text}"])

    file()
    words()


@pytest.mark.parametrize("examples", LENGTHS)
def test_lists(examples: int) -> None:
    @often(examples)
    @given(st.lists(st.sampled_from(["--dims", "--set", "--resume", "--", "--dims="]) | TEXT))
    def holds(words: list[str]) -> None:
        items = {"--dims": int, "--set": Assignment}
        found: list[str] = []
        with contextlib.suppress(typer.BadParameter):
            found = gather(words, lists=items, optional=frozenset({"--resume"}))
        options = found[: found.index("--")] if "--" in found else found
        assert len([word for word in options if word.startswith("--dims=")]) <= 1

    holds()


@pytest.mark.parametrize("examples", LENGTHS)
def test_alignments(examples: int) -> None:
    links = st.tuples(st.integers(0, 99), st.sampled_from("-p"), st.integers(0, 99))
    line = st.lists(links.map(lambda parts: "".join(map(str, parts)))).map(" ".join)

    @often(examples)
    @given(line | TEXT)
    def holds(text: str) -> None:
        try:
            gold = parse_gold(text)
        except DlError:
            return
        assert parse_pharaoh(format_pharaoh(gold.sure)) == gold.sure
        assert gold.sure <= gold.possible

    holds()


@pytest.mark.parametrize("examples", LENGTHS)
def test_lines_and_words(examples: int, tmp_path: Path) -> None:
    @often(examples)
    @given(st.binary(max_size=200) | TEXT.map(lambda text: text.encode("utf-8", "replace")))
    def lines(data: bytes) -> None:
        (tmp_path / "a.txt").write_bytes(data)
        with (tmp_path / "a.txt").open("rb") as file, contextlib.suppress(DlError):
            for line in read_lines(file, name="a.txt"):
                assert isinstance(line, Fault | str)

    @often(examples)
    @given(TEXT)
    def words(text: str) -> None:
        found = split_words(text)
        assert [text[word.start : word.end] for word in found] == [word.text for word in found]
        for language in ("en", "fr"):
            joined = detokenize(text.split(), language=language)
            assert len(joined.spans) == len(text.split())
            assert all(0 <= start < end <= len(joined.text) for start, end in joined.spans)

    lines()
    words()


@pytest.mark.parametrize("examples", [5, pytest.param(600, marks=pytest.mark.slow)])
def test_translations(examples: int, trained: Trained) -> None:
    config = SearchConfig(max_length=7, beam_size=2)
    translator = Translator(trained)

    @often(examples)
    @given(st.lists(TEXT, max_size=3))
    def holds(sentences: list[str]) -> None:
        found = translator.translate(sentences, config=config)
        assert [one.source for one in found] == sentences
        for text in sentences:
            with contextlib.suppress(DlError):
                looked = translator.attend(text, config=config)
                sums = looked.matrix.sum(axis=1)
                assert bool((abs(sums - 1) < 1e-4).all())

    holds()
