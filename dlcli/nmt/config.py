"""The settings of the translator: network, sentences, objective, and all of a training.

Reading this needs neither torch nor pydantic; `check` holds what ties one setting to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from dlcli.engine.config import STRICT, setting
from dlcli.engine.settings import ComputeConfig, LoopConfig, OptimConfig, Schedule
from dlcli.errors import ConfigError

Width = Annotated[int, Ge(1), Le(65_536)]
Share = Annotated[float, Ge(0), Lt(1)]
Ratio = Annotated[float, Ge(0), Le(1)]
PAPER = "Bahdanau, Cho & Bengio 2014"


@dataclass(frozen=True, kw_only=True)
class NmtModelConfig:
    """Which network, and how large; the defaults make about 10 million parameters."""

    __pydantic_config__ = STRICT

    embedding: Width = setting(384, flag="--embedding", help="size of a token's embedding")
    encoder_hidden: Width = setting(
        320, flag="--encoder-hidden", help="units of the encoder's GRU in each direction"
    )
    encoder_layers: Annotated[int, Ge(1), Le(16)] = setting(
        1, flag="--encoder-layers", help="bidirectional layers of the encoder", source=PAPER
    )
    hidden: Width = setting(640, flag="--hidden", help="units of the decoder's GRU")
    attention: Literal["additive", "none"] = setting(
        "additive",
        flag="--attention",
        help="additive, or none: one vector says the whole sentence",
        source="seed, Questions 12, 13",
    )
    attention_query: Literal["updated", "previous"] = setting(
        "updated",
        flag="--attention-query",
        help="state that asks: previous (the paper's s_{i-1}) or updated (has seen the last word)",
    )
    attention_size: Width = setting(
        384, flag="--attention-size", help="units of the attention's hidden layer"
    )
    readout: Literal["maxout", "tanh"] = setting(
        "maxout",
        flag="--readout",
        help="deep output: maxout over pairs, or tanh",
        source=f"{PAPER}, appendix A",
    )
    readout_size: Annotated[int, Ge(0), Le(65_536)] = setting(
        0, flag="--readout-size", help="units of the deep output; 0 takes the size of an embedding"
    )
    tie_embeddings: bool = setting(
        True,
        flag="--tie-embeddings/--no-tie-embeddings",
        help="one matrix for source and target embeddings and for the softmax",
    )
    dropout_embedding: Share = setting(
        0.3, flag="--dropout-embedding", help="share of the embeddings' units dropped in training"
    )
    dropout_context: Share = setting(
        0.3, flag="--dropout-context", help="share of the encoder's outputs dropped in training"
    )
    dropout_readout: Share = setting(
        0.3, flag="--dropout-readout", help="share of the deep output dropped before the softmax"
    )


@dataclass(frozen=True, kw_only=True)
class NmtDataConfig:
    """Which sentences, and into what they are cut."""

    __pydantic_config__ = STRICT

    name: str = setting(
        "auto",
        flag="--data",
        help="tatoeba, multi30k, europarl, grammar, several (europarl+tatoeba), a TSV, two text "
        "files a.en,b.fr, or auto (tatoeba where it can be had)",
    )
    direction: Literal["en-fr", "fr-en"] = setting(
        "en-fr", flag="--direction", help="from which language into which"
    )
    tokenizer: Literal["sentencepiece", "word"] = setting(
        "sentencepiece",
        flag="--tokenizer",
        help="sentencepiece (subwords), or word: a shortlist, all other words are unknown",
    )
    vocabulary: Annotated[int, Ge(8), Le(1_000_000)] = setting(
        8000,
        flag="--vocabulary",
        help="tokens of both languages together; with --tokenizer word, of each",
    )
    lowercase: bool = setting(
        False, flag="--lowercase/--no-lowercase", help="train on and write lower case only"
    )
    max_length: Annotated[int, Ge(1), Le(10_000)] = setting(
        100, flag="--max-length", help="tokens a side; longer pairs are left out of training"
    )
    train_pairs: Annotated[int, Ge(0)] = setting(
        0,
        flag="--train-pairs",
        help="pairs to train on, from the first; of several corpora all of one before the next; "
        "0 takes all",
    )
    validation: Annotated[int, Ge(0)] = setting(
        0, flag="--validation", help="validation pairs to use, from the first; 0 takes all"
    )
    offline: bool = setting(
        False, flag="--offline/--no-offline", help="never ask the network for data"
    )


@dataclass(frozen=True, kw_only=True)
class NmtObjectiveConfig:
    """What is minimised, and what the decoder is fed while it is trained."""

    __pydantic_config__ = STRICT

    label_smoothing: Share = setting(
        0.1, flag="--label-smoothing", help="share of the target given to all tokens alike"
    )
    teacher_forcing: Ratio = setting(
        1.0,
        flag="--teacher-forcing",
        help="how often the decoder is fed the true last token instead of its own",
        source="seed, Question 14",
    )
    teacher_forcing_end: Ratio | None = setting(
        None,
        flag="--teacher-forcing-end",
        help="ratio at the end of the training, reached linearly; none keeps it as it begins",
    )
    teacher_forcing_unit: Literal["token", "sentence"] = setting(
        "token",
        flag="--teacher-forcing-unit",
        help="what the ratio is drawn for: each token, or a whole sentence",
    )


@dataclass(frozen=True, kw_only=True)
class NmtOptimConfig(OptimConfig):
    """The optimiser, with the translator's own defaults."""

    lr: Annotated[float, Gt(0), Le(1e6)] = setting(1e-3, flag="--lr", help="peak learning rate")
    schedule: Schedule = setting(
        "cosine",
        flag="--schedule",
        help="learning rate after warm-up: constant, cosine or linear decay",
    )
    final_lr: Ratio = setting(
        0.05, flag="--final-lr", help="where a decay ends, as a fraction of --lr"
    )
    clip_norm: Annotated[float, Ge(0)] = setting(
        1.0,
        flag="--clip-norm",
        help="largest gradient norm; 0 switches clipping off",
        source=PAPER,
    )


@dataclass(frozen=True, kw_only=True)
class NmtLoopConfig(LoopConfig):
    """The length of a training, with the translator's own defaults and its batches by tokens."""

    epochs: Annotated[int, Ge(0)] = setting(20, flag="--epochs", help="passes over the pairs")
    batch_size: Annotated[int, Ge(1)] = setting(
        2048,
        flag="--batch-size",
        help="an update's size (the global batch): tokens of its longer side with padding, "
        "or sentences, see --batch-unit",
    )
    batch_unit: Literal["tokens", "sentences"] = setting(
        "tokens", flag="--batch-unit", help="what --batch-size counts"
    )
    select_by: Literal["bleu", "loss"] = setting(
        "bleu",
        flag="--select-by",
        help="what of the validation pairs chooses the best checkpoint",
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
        ConfigError: two of them contradict each other, or one has no effect beside the other.
    """
    model = config.model
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
