"""The two sides of the translator's benchmarks: ours through the engine's loop, and JoeyNMT.

Both learn Multi30k en-fr with the same 8,000 joint subwords: GRU 256×2 encoder and 512 decoder,
embeddings 256, batches of 64 sentences, full softmax. JoeyNMT runs in processes and an environment
of its own, see `joeynmt_peer`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from dlcli.data.sentences import Corpus
from dlcli.engine.config import resolve
from dlcli.engine.device import prepare
from dlcli.engine.events import Finished
from dlcli.engine.loop import Plan, Training
from dlcli.nmt.batching import Bitext
from dlcli.nmt.config import NmtTrainConfig
from dlcli.nmt.model import NmtNetwork
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.tokenizer import Subwords
from dlcli.nmt.training import NmtLearner

BATCH, WARM_UP = 64, 3
SETTINGS: dict[str, Any] = {
    "model": {
        "embedding": 256,
        "encoder_hidden": 256,
        "hidden": 512,
        "attention_size": 512,
        "dropout_embedding": 0.2,
        "dropout_context": 0.0,
        "dropout_readout": 0.2,
    },
    "objective": {"label_smoothing": 0.0},
    "optim": {"schedule": "constant", "lr": 1e-3, "clip_norm": 1.0},
    "loop": {"batch_size": BATCH, "batch_unit": "sentences"},
}


class Sentences:
    """The pairs, encoded, and their vocabulary."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        texts = [*corpus.train.source, *corpus.train.target]
        self.vocabulary = Subwords.learn(texts, size=8000)

    def bitext(self, *, updates: int, part: str = "train") -> Bitext:
        """Return the first pairs of a part, as many as fill `updates` batches."""
        pairs = self.corpus.split(part).first(updates * BATCH)
        encode = self.vocabulary.encode_all
        return Bitext(
            encode(list(pairs.source)), encode(list(pairs.target)), device=torch.device("cpu")
        )


class Ours:
    """One translator and its trainings through the engine's loop."""

    def __init__(self, sentences: Sentences, *, precision: str, fused: bool = True) -> None:
        self.sentences = sentences
        settings = {**SETTINGS, "compute": {"precision": precision, "device": "cpu"}}
        self.settings = settings
        torch.manual_seed(0)
        model = AttentionGru(self.config().model, vocabulary=sentences.vocabulary.size)
        model.fused = fused
        self.network = NmtNetwork(model, label_smoothing=0.0)

    def config(self, *, epochs: int = 1) -> NmtTrainConfig:
        return resolve(NmtTrainConfig, [self.settings, {"loop": {"epochs": epochs}}])

    def run(self, *, updates: int, threads: int) -> float:
        """Train with a new optimiser; return target tokens/s as a run reports it."""
        config = self.config()
        learner = NmtLearner(
            self.network,
            train=self.sentences.bitext(updates=updates),
            validation=None,
            config=config,
        )
        plan = Plan(optim=config.optim, loop=config.loop, compute=prepare(config.compute), seed=0)
        torch.set_num_threads(threads)
        for event in Training(learner, plan=plan).events():
            if isinstance(event, Finished):
                return event.rate
        raise AssertionError("a training ends with Finished")

    def train(self, *, updates: int, threads: int) -> None:
        """Train on, with a new optimiser at each pass."""
        epoch = len(self.sentences.corpus.train) // BATCH
        for done in range(0, updates, epoch):
            self.run(updates=min(epoch, updates - done), threads=threads)

    def valid_nll_per_token(self) -> float:
        """Return the loss per target token on the validation sentences."""
        found = self.sentences.bitext(updates=10**6, part="valid")
        self.network.eval()
        total, tokens = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(found), BATCH):
                rows = torch.arange(start, min(start + BATCH, len(found))).numpy()
                batch = found.batch(rows)
                total += float(self.network(batch)["nll"])
                tokens += batch.tokens
        return total / tokens


class JoeyNmt:
    """The other side, in a process of its own."""

    def __init__(
        self, sentences: Sentences, *, python: str, config: Path, folder: Path, threads: int
    ) -> None:
        self.python, self.folder, self.threads = python, folder, threads
        self.settings = yaml.safe_load(config.read_text(encoding="utf-8"))
        self.sentences = sentences
        vocabulary, corpus = sentences.vocabulary, sentences.corpus
        vocabulary.save(folder)
        (model,) = folder.glob("*.model")
        (folder / "voc.txt").write_text(_names(model), encoding="utf-8")
        data = self.settings["data"]
        data.pop("sample_dev_subset", None)
        for part, name in (("train", "train"), ("dev", "valid"), ("test", "valid")):
            data[part] = str(folder / name)
            _write(corpus, name, folder=folder)
        for side in (data["src"], data["trg"]):
            side["voc_file"] = str(folder / "voc.txt")
            side["tokenizer_cfg"]["model_file"] = str(model)
        self.settings["model_dir"] = str(folder / "joeynmt")

    def run(self, *, updates: int) -> float:
        """Train anew; return target tokens/s without the first updates."""
        found = self.train(updates=updates)
        return sum(found["tokens"][WARM_UP:]) / sum(found["seconds"][WARM_UP:])

    def train(self, *, updates: int) -> dict[str, Any]:
        """Train anew; return what `joeynmt_peer` writes, and leave the weights in the folder."""
        self.settings["training"].update(
            updates=updates, epochs=1000, validation_freq=10**9, logging_freq=10**9
        )
        return self._call("train")

    def translate(self, lines: Sequence[str], *, beam_size: int) -> tuple[float, list[str]]:
        """Translate with the weights last trained; return seconds, loading aside, and the lines."""
        for language in self.sentences.corpus.languages:
            (self.folder / f"lines.{language}").write_text("\n".join(lines) + "\n", "utf-8")
        self.settings["data"]["test"] = str(self.folder / "lines")
        self.settings["testing"]["beam_size"] = beam_size
        found = self._call("translate")
        return found["seconds"], found["translations"]

    def _call(self, task: str) -> dict[str, Any]:
        config, result = self.folder / "config.yaml", self.folder / "result.json"
        config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        peer = Path(__file__).with_name("joeynmt_peer.py")
        subprocess.run(
            [self.python, str(peer), task, str(config), str(result)],
            check=True,
            cwd=self.folder,
            env={"OMP_NUM_THREADS": str(self.threads), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def _names(model: Path) -> str:
    """List the subwords, one a line, in the order of their ids."""
    import sentencepiece

    read = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return "\n".join(read.id_to_piece(i) for i in range(len(read))) + "\n"


def _write(corpus: Corpus, part: str, *, folder: Path) -> None:
    pairs = corpus.split(part)
    for language, lines in zip(corpus.languages, (pairs.source, pairs.target), strict=True):
        text = "\n".join(lines) + "\n"
        (folder / f"{part}.{language}").write_text(text, encoding="utf-8")
