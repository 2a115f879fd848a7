"""What the tests of the translator share: toy sentences, tiny networks, trainings of a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dlcli.data.sentences import Corpus, Pairs
from dlcli.engine.checkpoint import save_checkpoint
from dlcli.engine.config import dump_yaml, merge, resolve, to_dict
from dlcli.engine.events import Event
from dlcli.engine.runs import RunFolder
from dlcli.engine.session import RunLocation
from dlcli.nmt.batching import NmtData
from dlcli.nmt.config import NmtModelConfig, NmtTrainConfig
from dlcli.nmt.model import NmtNetwork
from dlcli.nmt.networks import AttentionGru, build_model
from dlcli.nmt.tokenizer import BOS, EOS, PAD, Subwords
from dlcli.nmt.trained import KIND, NmtResult, Trained, ValidResult, load_trained
from dlcli.nmt.training import NmtLearner, NmtTask, train
from dlcli.nmt.transformer import Transformer
from tests.nmt.self_attention import SelfAttention

# Sentences

NOUNS = {"cat": "chat", "dog": "chien", "bird": "oiseau vert", "king": "roi", "man": "vieil homme"}
VERBS = {"sees": "voit", "likes": "aime bien", "hears": "entend"}
ENDS = {"here": "ici", "today": "aujourd'hui", "again": "à nouveau", "": ""}


def _sentence(subject: str, verb: str, thing: str, end: str) -> tuple[str, str]:
    source = f"The {subject} {verb} the {thing} {end}".strip() + "."
    target = f"Le {NOUNS[subject]} {VERBS[verb]} le {NOUNS[thing]} {ENDS[end]}".strip() + "."
    return source, target


def _mixing(text: str) -> int:
    """Return a number that mixes sentences and is the same in every process."""
    return sum((i * 31 + 7) ** 3 * ord(c) for i, c in enumerate(text)) % 10_007


ALL = sorted(
    [_sentence(s, v, t, e) for s in NOUNS for v in VERBS for t in NOUNS if s != t for e in ENDS],
    key=lambda pair: _mixing(pair[0]),
)


def pairs(start: int, stop: int) -> Pairs:
    """Return some of the 240 sentences and their translations, well mixed."""
    return Pairs.of(ALL[start:stop])


def corpus(train: int = 100) -> Corpus:
    """Return a corpus of `train` pairs and a few others."""
    return Corpus(
        name=f"toy:{train}",
        languages=("en", "fr"),
        train=pairs(0, train),
        valid=pairs(200, 212),
        tests={"test": pairs(212, 224)},
    )


def write_tsv(path: Path, *, count: int = 100) -> None:
    """Write `count` pairs as a TSV."""
    path.write_text("".join(f"{s}\t{t}\n" for s, t in ALL[:count]), encoding="utf-8")


def toy_file(folder: Path, *, count: int = 60) -> str:
    """Write a few toy pairs and return what `--data` calls them."""
    write_tsv(folder / "toy.tsv", count=count)
    return str(folder / "toy.tsv")


# Networks of odd tiny sizes whose attention and softmax are far from uniform

SIZES: dict[str, Any] = {"embedding": 6, "encoder_hidden": 5, "hidden": 7, "attention_size": 3}
TINY = NmtModelConfig(**SIZES)
TRANSFORMER: dict[str, Any] = {
    "arch": "transformer",
    "embedding": 6,
    "layers": (2, 2),
    "heads": 2,
    "feedforward": 5,
}
SENTENCES = [[4, 5, 6], [7], [8, 9, 4, 10, 5], [5, 5], [6, 4, 9, 9]]
Network = TypeVar("Network", bound=nn.Module)


def tiny_model(*, vocabulary: int = 11, seed: int = 0, **sizes: Any) -> AttentionGru:
    """Build a random network in evaluation mode and in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _drawn(AttentionGru(replace(TINY, **sizes), vocabulary=vocabulary).double())


def tiny_transformer(*, vocabulary: int = 11, seed: int = 1, **sizes: Any) -> Transformer:
    """Build a random Transformer likewise."""
    config = NmtModelConfig(**{**TRANSFORMER, **sizes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _drawn(Transformer(config, vocabulary=vocabulary).double())


def other_model(*, vocabulary: int = 11, seed: int = 2) -> SelfAttention:
    """Build a random network that the program does not know, likewise."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _drawn(SelfAttention(vocabulary=vocabulary).double())


def _drawn(model: Network) -> Network:
    for parameter in model.eval().parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return model


def padded(*sentences: list[int], width: int = 0) -> tuple[Tensor, Tensor]:
    """Lay out sentences as a batch, `</s>` added: ids (B, S) and mask (B, S)."""
    S = max(width, 1 + max(map(len, sentences)))
    rows = [[*ids, EOS, *[PAD] * (S - 1 - len(ids))] for ids in sentences]
    source = torch.tensor(rows)
    return source, source != PAD


def pair() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lay out three sentences and translations: source, mask, BOS y1 …, and y1 … EOS."""
    target, _ = padded([5, 4], [6, 7, 8, 9, 10], [4])
    first = torch.full((len(target), 1), BOS)
    shifted = torch.cat([first, target[:, :-1]], dim=1)
    return *padded([4, 5, 6, 7], [8], [9, 10, 4]), shifted, target


# Run folders of translators that were never trained: for what does not depend on their quality


def write_run(
    folder: Path, *, data: str = "toy", direction: str = "en-fr", seed: int = 0, **model: Any
) -> Path:
    """Write a run folder with random weights, large enough for attention to be far from even."""
    given: dict[str, Any] = {
        "data": {"name": data, "direction": direction},
        "model": {**SIZES, **model},
        "compute": {"device": "cpu", "precision": "fp32"},
    }
    config = resolve(NmtTrainConfig, [given])
    found = pairs(0, 60)
    tokenizer = Subwords.learn([*found.source, *found.target], size=330)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = build_model(config.model, vocabulary=tokenizer.size)
        network = _drawn(NmtNetwork(built, label_smoothing=0.1))
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True)
    run.figures.mkdir()
    run.config_file.write_text(dump_yaml(config))
    run.update_record(kind=KIND, status="done")
    tokenizer.save(folder)
    state = {"config": to_dict(config), "model": network.state_dict()}
    save_checkpoint(run.checkpoint(), state, kind=KIND)
    return folder


def tiny_trained(folder: Path, **settings: Any) -> Trained:
    """Write such a run and read it back."""
    return load_trained(RunFolder(write_run(folder, **settings)))


# Trainings of a second, and what one could have found

SETTINGS: dict[str, Any] = {
    "data": {"vocabulary": 330},
    "model": {
        "embedding": 7,
        "encoder_hidden": 5,
        "hidden": 9,
        "attention_size": 3,
        "dropout_embedding": 0.1,
    },
    "optim": {"lr": 0.01},
    "loop": {"epochs": 2, "batch_size": 12, "batch_unit": "sentences"},
    "compute": {"device": "cpu", "precision": "fp32", "threads": 1},
}
VALID = ValidResult(nll_per_token=1.5, free_nll_per_token=2.5, bleu=30.0, chrf=50.0, sentences=12)
RESULT = NmtResult(
    run="/runs/x",
    data="toy",
    direction="en-fr",
    vocabulary=330,
    parameters=1000,
    epochs=2,
    updates=8,
    tokens_per_s=1000.0,
    train_s=1.0,
    checkpoint="best",
    valid=VALID,
    reason="done",
    signature="data:toy|seed:0|version:x",
)


def make_config(**settings: Any) -> NmtTrainConfig:
    """Return tiny settings, with some changed: `loop={"epochs": 3}`."""
    return resolve(NmtTrainConfig, [merge(SETTINGS, settings)])


def make_data(*, train: int = 40) -> NmtData:
    """Encode a few toy sentences."""
    found = corpus(train)
    source, target = list(found.train.source), list(found.train.target)
    tokenizer = Subwords.learn([*source, *target], size=330)
    return NmtData(
        name=found.name,
        tokenizer=tokenizer,
        source=tokenizer.encode_all(source),
        target=tokenizer.encode_all(target),
        valid=found.valid,
    )


def make_learner(*, train: int = 40, **settings: Any) -> NmtLearner:
    """Build a learner on toy sentences, always with the same weights."""
    torch.manual_seed(0)
    cpu, data = torch.device("cpu"), make_data(train=train)
    return NmtTask().build_learner(make_config(**settings), data, device=cpu)


def run_training(
    config: NmtTrainConfig, *, out: Path, init_from: str | None = None
) -> tuple[NmtResult | None, list[Event]]:
    """Train to the end; return the result and what happened."""
    events, heard = train(config, location=RunLocation(out=out), init_from=init_from), []
    while True:
        try:
            heard.append(next(events))
        except StopIteration as end:
            return end.value, heard
