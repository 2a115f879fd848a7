"""The settings of the translator: of a training, a search, an evaluation and an alignment.

Reading this needs neither torch nor pydantic; `check`, `check_search` and `check_align` hold what
ties one setting to another.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from dlcli.data.languages import languages_of
from dlcli.engine.config import STRICT, setting, setting_like
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig, Precision, Schedule
from dlcli.errors import ConfigError, UsageFault

Width = Annotated[int, Ge(1), Le(65_536)]
Share = Annotated[float, Ge(0), Lt(1)]
Ratio = Annotated[float, Ge(0), Le(1)]
PAPER = "Bahdanau, Cho & Bengio 2014"


@dataclass(frozen=True, kw_only=True)
class NmtModelConfig:
    """Which network, and how large; the defaults make about 10 million parameters."""

    __pydantic_config__ = STRICT

    arch: Literal["gru", "transformer"] = setting(
        "gru",
        flag="--arch",
        help="network: gru (recurrent, with one attention) or transformer (attention alone)",
    )
    embedding: Width = setting(
        384,
        flag="--embedding",
        help="size of a token's embedding; of a transformer the width of all its layers",
        signature="embedding",
    )
    encoder_hidden: Width = setting(
        320,
        flag="--encoder-hidden",
        help="gru: units of the encoder's GRU in each direction",
        signature="encoder",
    )
    encoder_layers: Annotated[int, Ge(1), Le(16)] = setting(
        1,
        flag="--encoder-layers",
        help="gru: bidirectional layers of the encoder",
        source=PAPER,
        signature="encoder",
    )
    hidden: Width = setting(
        640, flag="--hidden", help="gru: units of the decoder's GRU", signature="hidden"
    )
    attention: Literal["additive", "none"] = setting(
        "additive",
        flag="--attention",
        help="gru: additive, or none: one vector says the whole sentence",
        source="assignment, Questions 12, 13",
        signature="attention",
    )
    attention_query: Literal["updated", "previous"] = setting(
        "updated",
        flag="--attention-query",
        help="gru: state that asks: previous (the paper's s_{i-1}) or updated (has seen the last "
        "word)",
        signature="attention",
    )
    attention_size: Width = setting(
        384,
        flag="--attention-size",
        help="gru: units of the attention's hidden layer",
        signature="attention",
    )
    readout: Literal["maxout", "tanh"] = setting(
        "maxout",
        flag="--readout",
        help="gru: deep output: maxout over pairs, or tanh",
        source=f"{PAPER}, appendix A",
        signature="readout",
    )
    readout_size: Annotated[int, Ge(0), Le(65_536)] = setting(
        0,
        flag="--readout-size",
        help="gru: units of the deep output; 0 takes the size of an embedding",
        signature="readout",
    )
    tie_embeddings: bool = setting(
        True,
        flag="--tie-embeddings/--no-tie-embeddings",
        help="one matrix for source and target embeddings and for the softmax",
        signature="tied",
    )
    dropout_embedding: Share = setting(
        0.3,
        flag="--dropout-embedding",
        help="share of the embeddings' units dropped in training",
        signature="dropout",
    )
    dropout_context: Share = setting(
        0.3,
        flag="--dropout-context",
        help="gru: share of the encoder's outputs dropped in training",
        signature="dropout",
    )
    dropout_readout: Share = setting(
        0.3,
        flag="--dropout-readout",
        help="gru: share of the deep output dropped before the softmax",
        signature="dropout",
    )
    layers: tuple[Annotated[int, Ge(1), Le(1000)], ...] = setting(
        (4, 2),
        flag="--layers",
        help="transformer: layers of encoder and decoder, or one number for both",
        source="Kasai et al. 2021: deep and shallow",
        signature="layers",
    )
    heads: Annotated[int, Ge(1), Le(1024)] = setting(
        4, flag="--heads", help="transformer: heads of each attention", signature="heads"
    )
    feedforward: Width = setting(
        1024,
        flag="--feedforward",
        help="transformer: hidden units of the feed-forward sublayers",
        signature="feedforward",
    )
    norm: Literal["pre", "post"] = setting(
        "pre",
        flag="--norm",
        help="transformer: LayerNorm before each sublayer, or after its sum with the stream",
        source="Xiong et al. 2020; assignment, Questions 15, 16",
        signature="norm",
    )
    dropout_residual: Share = setting(
        0.1,
        flag="--dropout-residual",
        help="transformer: share of what each sublayer adds dropped in training",
        source="Vaswani et al. 2017",
        signature="dropout",
    )

    @property
    def depths(self) -> tuple[int, int]:
        """Layers of a Transformer's encoder and decoder."""
        return self.layers[0], self.layers[-1]


@dataclass(frozen=True, kw_only=True)
class NmtDataConfig:
    """Which sentences, and into what they are cut."""

    __pydantic_config__ = STRICT

    name: str = setting(
        "auto",
        flag="--data",
        help="tatoeba, multi30k, europarl, grammar, agglutinative, other languages "
        "(tatoeba:deu-eng), several (europarl+tatoeba), a TSV, two files a.de,b.en, or auto "
        "(tatoeba where it can be had)",
        signature=None,
    )
    direction: str = setting(
        "en-fr",
        flag="--direction",
        help="from which language into which, such as fr-en or de-en; what --data says of itself "
        "goes before the default",
        signature="direction",
    )
    tokenizer: Literal["sentencepiece", "word"] = setting(
        "sentencepiece",
        flag="--tokenizer",
        help="sentencepiece (subwords), or word: a shortlist, all other words are unknown",
        signature="tokenizer",
    )
    vocabulary: Annotated[int, Ge(8), Le(1_000_000)] = setting(
        8000,
        flag="--vocabulary",
        help="tokens of both languages together; with --tokenizer word, of each",
        signature=None,
    )
    lowercase: bool = setting(
        False, flag="--lowercase/--no-lowercase", help="train on and write lower case only"
    )
    max_length: Annotated[int, Ge(1), Le(10_000)] = setting(
        100,
        flag="--max-length",
        help="tokens a side; longer pairs are left out of training",
        signature=None,
    )
    train_pairs: Annotated[int, Ge(0)] = setting(
        0,
        flag="--train-pairs",
        help="pairs to train on, from the first; of several corpora all of one before the next; "
        "0 takes all",
        signature=None,
    )
    validation: Annotated[int, Ge(0)] = setting(
        0,
        flag="--validation",
        help="validation pairs to use, from the first; 0 takes all",
        signature=None,
    )
    offline: bool = setting(
        False, flag="--offline/--no-offline", help="never ask the network for data", signature=None
    )


@dataclass(frozen=True, kw_only=True)
class NmtObjectiveConfig:
    """What is minimised, and what the decoder is fed while it is trained."""

    __pydantic_config__ = STRICT

    label_smoothing: Share = setting(
        0.1,
        flag="--label-smoothing",
        help="share of the target given to all tokens alike",
        signature="smoothing",
    )
    teacher_forcing: Ratio = setting(
        1.0,
        flag="--teacher-forcing",
        help="how often the decoder is fed the true last token instead of its own",
        source="assignment, Question 14",
        signature="forcing",
    )
    teacher_forcing_end: Ratio | None = setting(
        None,
        flag="--teacher-forcing-end",
        help="ratio at the end of the training, reached linearly; none keeps it as it begins",
        signature="forcing",
    )
    teacher_forcing_unit: Literal["token", "sentence"] = setting(
        "token",
        flag="--teacher-forcing-unit",
        help="what the ratio is drawn for: each token, or a whole sentence",
        signature="forcing",
    )


@dataclass(frozen=True, kw_only=True)
class NmtOptimConfig(OptimConfig):
    """The optimiser, with the translator's own defaults."""

    lr: Annotated[float, Gt(0), Le(1e6)] = setting_like(OptimConfig, "lr", source="")
    schedule: Schedule = setting_like(OptimConfig, "schedule", default="cosine")
    final_lr: Ratio = setting_like(OptimConfig, "final_lr", default=0.05)
    clip_norm: Annotated[float, Ge(0)] = setting_like(
        OptimConfig, "clip_norm", default=1.0, source=PAPER
    )


@dataclass(frozen=True, kw_only=True)
class NmtLoopConfig(LoopConfig):
    """The length of a training, with the translator's own defaults and its batches by tokens."""

    epochs: Annotated[int, Ge(0)] = setting(
        20, flag="--epochs", help="passes over the pairs", signature=None
    )
    batch_size: Annotated[int, Ge(1)] = setting(
        2048,
        flag="--batch-size",
        help="an update's size (the global batch): tokens of its longer side with padding, "
        "or sentences, see --batch-unit",
        signature="batch",
    )
    batch_unit: Literal["tokens", "sentences"] = setting(
        "tokens", flag="--batch-unit", help="what --batch-size counts", signature="batch"
    )
    select_by: Literal["bleu", "loss"] = setting(
        "bleu",
        flag="--select-by",
        help="what of the validation pairs chooses the best checkpoint",
        signature=None,
    )
    average: Annotated[int, Ge(0), Le(1000)] = setting(
        0,
        flag="--average",
        help="average the weights of so many last epochs into the result; 0 does not",
    )


@dataclass(frozen=True, kw_only=True)
class NmtTrainConfig:
    """Everything that `dl nmt train` can be told."""

    __pydantic_config__ = STRICT

    data: NmtDataConfig = setting(NmtDataConfig(), help="sentences")
    model: NmtModelConfig = setting(NmtModelConfig(), help="network")
    objective: NmtObjectiveConfig = setting(NmtObjectiveConfig(), help="what is minimised")
    optim: NmtOptimConfig = setting(NmtOptimConfig(), help="optimiser")
    loop: NmtLoopConfig = setting(NmtLoopConfig(), help="length of the training")
    compute: ComputeConfig = setting(ComputeConfig(), help="device, precision, seed")


def check(config: NmtTrainConfig) -> None:
    """Hold settings against one another.

    Raises:
        ConfigError: two of them contradict each other, one has no effect beside the other, or the
            direction does not name two languages.
    """
    languages_of(config.data.direction)
    model = config.model
    _check_arch(model)
    if model.tie_embeddings and model.readout_size not in (0, model.embedding):
        raise ConfigError(
            f"--readout-size {model.readout_size} cannot share its matrix with embeddings of size "
            f"{model.embedding}.",
            hint=f"Use --readout-size {model.embedding}, or --no-tie-embeddings.",
        )
    if model.attention == "none" and model.attention_query != "updated":
        raise ConfigError(
            f"--attention-query {model.attention_query} has no meaning for --attention none.",
            hint="Leave out one of the two.",
        )
    if config.loop.average == 1:
        raise ConfigError(
            "--average 1 averages nothing.", hint="Use --average 5 or so, or 0 for none."
        )


KINDS = {
    "gru": ("encoder_layers", "attention", "attention_query", "readout", "readout_size"),
    "transformer": ("layers", "heads", "feedforward", "norm", "dropout_residual"),
}
"""What one network alone has, but for the GRU's sizes, which data sets recommend."""


def _check_arch(model: NmtModelConfig) -> None:
    """Refuse settings of the other network, and sizes that a Transformer cannot have."""
    fields = dataclasses.fields(NmtModelConfig)
    for arch, names in KINDS.items():
        for field in fields:
            changed = getattr(model, field.name) != field.default
            if arch != model.arch and field.name in names and changed:
                raise ConfigError(
                    f"{field.metadata['flag']} has no meaning for --arch {model.arch}.",
                    hint=f"Leave it out, or use --arch {arch}.",
                )
    if model.arch == "transformer" and not 1 <= len(model.layers) <= 2:
        raise ConfigError(
            f"--layers has {len(model.layers)} numbers, and there are an encoder and a decoder.",
            hint="Write --layers 6 2, or one number for both.",
        )
    if model.arch == "transformer" and model.embedding % model.heads:
        raise ConfigError(
            f"An embedding of {model.embedding} cannot be shared among {model.heads} heads.",
            hint="Make --embedding a multiple of --heads.",
        )


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How translations are looked for, and where that is computed."""

    __pydantic_config__ = STRICT

    beam_size: int = setting(
        5, flag="--beam", help="hypotheses kept a sentence; 1 is greedy search"
    )
    length_penalty: float = setting(
        1.0,
        flag="--length-penalty",
        help="exponent of the length that log-probabilities are divided by; 0 does not divide",
    )
    max_length: Annotated[int, Ge(0)] = setting(
        0,
        flag="--max-length",
        help="tokens a translation may have; 0 is 10 more than twice the source's",
    )
    batch_size: Annotated[int, Ge(1), Le(100_000)] = setting(
        64, flag="--batch-size", help="sentences translated at a time"
    )
    device: str = setting_like(ComputeConfig, "device")
    precision: Precision = setting_like(ComputeConfig, "precision")
    threads: Annotated[int, Ge(0), Le(1024)] = setting_like(ComputeConfig, "threads")


WIDEST = 1000
"""Hypotheses a sentence may have: the extensions of all of them are compared, k² a sentence."""


def check_search(config: SearchConfig, *, n_best: int = 1) -> None:
    """Refuse settings of a search that have no meaning.

    Raises:
        UsageFault: it names the flag.
    """
    if config.beam_size < 1:
        raise UsageFault(
            f"A beam of {config.beam_size} holds no translation.",
            hint="Use --beam 1 (greedy) or more; 5 is usual.",
        )
    if config.beam_size > WIDEST:
        raise UsageFault(
            f"A beam of {config.beam_size:,} is wider than the {WIDEST:,} that a search can "
            "compare.",
            hint="Use --beam 5; beyond some tens translations get worse, not better.",
        )
    if not 1 <= n_best <= config.beam_size:
        raise UsageFault(
            f"A beam of {config.beam_size} cannot give the {n_best} best translations.",
            hint=f"Use --n-best 1 to {config.beam_size}, or a larger --beam.",
        )
    if not 0 <= config.length_penalty < math.inf:
        raise UsageFault(
            f"A length penalty of {config.length_penalty} has no meaning.",
            hint="Use --length-penalty 0 (none) or more; 1 is the mean over tokens.",
        )


@dataclass(frozen=True, kw_only=True)
class NmtEvalConfig:
    """Everything that `dl nmt eval` can be told beside files and runs."""

    __pydantic_config__ = STRICT

    data: str | None = setting(
        None, flag="--data", help="corpus to translate; none is the one the run was trained on"
    )
    split: str = setting(
        "test",
        flag="--split",
        help="test, valid, or a test set's own name, such as test_2017_flickr",
    )
    lowercase: bool = setting(
        False,
        flag="--lowercase/--no-lowercase",
        help="score without regard to case; always so for a run trained on lower case",
    )
    bins: tuple[Annotated[int, Ge(1)], ...] = setting(
        (5, 10, 15, 20, 30, 40),
        flag="--bins",
        help="BLEU by sentence length: the longest source, in words, of each bin",
        source="assignment, Question 13",
    )
    resamples: Annotated[int, Ge(1), Le(1_000_000)] = setting(
        1000, flag="--resamples", help="bootstrap resamples behind the intervals"
    )
    offline: bool = setting(
        False, flag="--offline/--no-offline", help="never ask the network for data"
    )
    search: SearchConfig = setting(SearchConfig(), help="how translations are looked for")


LinkKind = Literal["attention", "posterior"]
Heuristic = Literal[
    "intersection", "union", "grow-diag", "grow-diag-final-and", "forward", "backward"
]
Combination = Literal["none", "average", "product"]


@dataclass(frozen=True, kw_only=True)
class NmtAlignConfig:
    """Everything that `dl nmt align` can be told beside files and runs."""

    __pydantic_config__ = STRICT

    links_from: Literal["auto", "posterior", "attention"] = setting(
        "auto",
        flag="--links-from",
        help="what links are taken from: attention, or the posterior, which weighs attention by "
        "how likely each source word alone makes the target word; auto is the posterior, with "
        "--shift attention",
        source="Brown et al. 1993; Shankar & Sarawagi 2019",
    )
    threshold: Annotated[float, Ge(0), Lt(1)] = setting(
        0.0,
        flag="--threshold",
        help="leave out links of no more than this share of a word",
    )
    shift: bool = setting(
        False,
        flag="--shift/--no-shift",
        help="link a word by the row one step later, when it is the decoder's input",
        source="Chen et al. 2020",
    )
    layer: Annotated[int, Ge(1)] | None = setting(
        None,
        flag="--layer",
        help="transformer: layer of the decoder whose attention is taken, from 1; none is the last "
        "but one",
        source="Garg et al. 2019",
    )
    head: Annotated[int, Ge(1)] | None = setting(
        None, flag="--head", help="transformer: head of that layer, from 1; none is their mean"
    )
    heuristic: Heuristic = setting(
        "intersection",
        flag="--heuristic",
        help="how --symmetrize joins the links of the two directions; grow-diag-final-and is usual "
        "without --combine",
        source="Koehn, Och & Marcu 2003",
    )
    combine: Combination = setting(
        "average",
        flag="--combine",
        help="with --symmetrize: mix the matrices of the two directions before links are taken; "
        "average with intersection was measured best on Hansards",
    )
    text: Literal["tokens", "running"] = setting(
        "tokens",
        flag="--text",
        help="what the lines are: tokens between spaces, put together before they are read "
        "(in French elided and contracted), or running text as it is",
    )
    gold_index: Annotated[int, Ge(0), Le(1)] = setting(
        0, flag="--gold-index", help="the number of the first word in the gold file: 0 or 1"
    )
    device: str = setting_like(ComputeConfig, "device")
    threads: Annotated[int, Ge(0), Le(1024)] = setting_like(ComputeConfig, "threads")

    @property
    def kind(self) -> LinkKind:
        """What links are taken from."""
        if self.links_from == "auto":
            return "attention" if self.shift else "posterior"
        return self.links_from


def check_align(config: NmtAlignConfig, *, symmetrized: bool) -> None:
    """Refuse settings that contradict one another, or have no effect beside the others.

    Args:
        config: to look at.
        symmetrized: whether there is a model of the other direction.

    Raises:
        ConfigError: it names the flag.
    """
    if config.shift and config.kind == "posterior":
        raise ConfigError(
            "--shift has no meaning for --links-from posterior, which knows the word it links.",
            hint="Use --links-from attention, or leave --shift out.",
        )
    usual = NmtAlignConfig()
    for flag, given, default in (
        ("--heuristic", config.heuristic, usual.heuristic),
        ("--combine", config.combine, usual.combine),
    ):
        if given != default and not symmetrized:
            raise ConfigError(
                f"{flag} {given} joins two directions, and there is one.",
                hint=f"Add --symmetrize RUN, or leave {flag} out.",
            )
