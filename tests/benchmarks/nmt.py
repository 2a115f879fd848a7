"""Speed of the translator against JoeyNMT 2.3, training and translating.

Both sides learn Multi30k en-fr with the same 8,000 joint subwords: GRU 256×2 encoder and 512
decoder, embeddings 256, batches of 64 sentences, full softmax.

`nmt-train` counts target tokens, padding aside; JoeyNMT's start and first updates do not count.
`nmt-translate` counts sentences, beam 5, from lines of text to lines of text, without starting and
loading. Both sides are trained first, or taken from `--folder` if that was done; BLEU and lengths
on stderr say whether they do the same work.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import sacrebleu
import sentencepiece
import torch
import yaml

from dlcli.data.corpora import load_corpus
from dlcli.engine.config import resolve
from dlcli.engine.device import prepare
from dlcli.engine.events import Finished
from dlcli.engine.loop import Plan, Training
from dlcli.engine.runs import RunFolder
from dlcli.engine.settings import ComputeConfig
from dlcli.nmt.batching import Bitext
from dlcli.nmt.config import NmtTrainConfig, SearchConfig
from dlcli.nmt.fast.compiling import find_library
from dlcli.nmt.model import NmtNetwork
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.tokenizer import Subwords
from dlcli.nmt.trained import Trained
from dlcli.nmt.training import NmtLearner
from dlcli.nmt.translator import Translator
from tests.benchmarks.table import (
    Comparison,
    Options,
    Side,
    forms,
    precisions,
    run_program,
)
from tests.cli.tiny import dl_json
from tests.nmt.toy import corpus as toy_corpus

BATCH, BEAM, WARM_UP = 64, 5, 3
PEER = Path(__file__).with_name("joeynmt_peer.py")
PEER_CONFIG = Path(__file__).with_name("joeynmt_multi30k.yaml")
MISSING = (
    "{} is not the Python of an environment with JoeyNMT 2.3. Make one with `python3 -m venv joey` "
    "and `joey/bin/pip install torch==2.13.0 joeynmt==2.3.0 importlib_metadata setuptools`, and "
    "name it with `--joeynmt joey/bin/python`."
)
SIZES: dict[str, float] = {
    "embedding": 256,
    "encoder_hidden": 256,
    "hidden": 512,
    "attention_size": 512,
    "dropout_embedding": 0.2,
    "dropout_context": 0.0,
    "dropout_readout": 0.2,
}
SETTINGS: dict[str, Any] = {
    "objective": {"label_smoothing": 0.0},
    "optim": {"schedule": "constant", "lr": 1e-3, "clip_norm": 1.0},
    "loop": {"batch_size": BATCH, "batch_unit": "sentences", "epochs": 1},
}


def train(options: Options) -> Iterator[Comparison]:
    """Train the translator on Multi30k, against JoeyNMT."""
    sentences, peer = Sentences(options), JoeyNmt(options)
    updates = WARM_UP + 1 if options.quick else 10
    kinds = {", plain layers": Ours(sentences, precision="fp32", fused=False)}
    kinds |= {f" --precision {one}": Ours(sentences, precision=one) for one in precisions()}
    yield Comparison(
        work="translator training",
        unit="target tokens/s",
        peer=peer.side(partial(peer.run, sentences, updates=updates)),
        missing=peer.missing,
        sides=[
            Side(name=f"dl nmt train{words}", run=partial(ours.run, updates=updates))
            for words, ours in kinds.items()
        ],
    )


def translate(options: Options) -> Iterator[Comparison]:
    """Translate captions after 200 updates each, beam 5, in each form, against JoeyNMT."""
    sentences, peer = Sentences(options), JoeyNmt(options)
    ours = Ours(sentences, precision=precisions()[-1])
    updates = 1 if options.quick else 200
    ours.learn(options.folder / "ours.pt", updates=updates)
    peer.learn(sentences, updates=updates)
    test = sentences.corpus.split("test").first(4 if options.quick else 150)
    made: dict[str, list[str]] = {}

    def run(name: str, translator: Translator, form: str) -> float:
        began = time.perf_counter()
        with in_form(form):
            lines = translator.translate(list(test.source), config=SearchConfig(beam_size=BEAM))
        spent = time.perf_counter() - began
        made[name] = [line.translation for line in lines]
        return len(test) / spent

    def run_peer() -> float:
        spent, made["JoeyNMT"] = peer.translate(list(test.source))
        return len(test) / spent

    sides: list[Side] = []
    for form in dict.fromkeys([*forms(), "none"]):
        kind = "PyTorch alone" if form == "none" else form
        for translator in ours.translators(options.folder, form=form):
            name = f"DL_SIMD={form} dl nmt translate --precision {translator.precision}"
            sides.append(Side(name=name, run=partial(run, name, translator, form), features=kind))
    yield Comparison(
        work="translating, beam 5",
        unit="sentences/s",
        peer=peer.side(run_peer),
        missing=peer.missing,
        sides=sides,
    )
    for name, lines in made.items():
        bleu = sacrebleu.corpus_bleu(lines, [list(test.target)])
        length = sum(map(len, lines)) / len(lines)
        print(f"{name}: BLEU {bleu.score:.1f}, {length:.0f} characters", file=sys.stderr)


def parliament(options: Options) -> Iterator[Comparison]:
    """Translate 300 sentences of the European Parliament with the packaged translator."""
    pairs = load_corpus("europarl", offline=True).split("test").first(3 if options.quick else 300)
    source, target = options.folder / "parliament.en", options.folder / "parliament.fr"
    source.write_text("\n".join(pairs.source) + "\n", encoding="utf-8")
    target.write_text("\n".join(pairs.target) + "\n", encoding="utf-8")
    threads = str(torch.get_num_threads())

    def run(precision: str) -> float:
        files = ["--input", str(source), "--reference", str(target), "--resamples", "1"]
        where = ["--precision", precision, "--threads", threads]
        found = dl_json("nmt", "eval", "pretrained:nmt-en-fr", *files, *where)
        speed: float = found["sentences_per_s"]
        return speed

    yield Comparison(
        work=f"translating {len(pairs)} Parliament sentences, beam 5",
        unit="sentences/s",
        sides=[
            Side(name=f"dl nmt eval pretrained:nmt-en-fr --precision {one}", run=partial(run, one))
            for one in precisions()
        ],
    )


class Sentences:
    """The pairs, encoded, and their vocabulary."""

    def __init__(self, options: Options) -> None:
        quick = options.quick
        self.sizes = SIZES | {name: 8 for name in SIZES if quick and "dropout" not in name}
        self.corpus = toy_corpus() if quick else load_corpus("multi30k", offline=True)
        texts = [*self.corpus.train.source, *self.corpus.train.target]
        self.vocabulary = Subwords.learn(texts, size=330 if quick else 8000)

    @cached_property
    def bitext(self) -> Bitext:
        """The training pairs."""
        pairs, encode = self.corpus.train, self.vocabulary.encode_all
        source, target = encode(list(pairs.source)), encode(list(pairs.target))
        return Bitext(source, target, device=torch.device("cpu"))


class Ours:
    """One translator and its trainings through the engine's loop."""

    def __init__(self, sentences: Sentences, *, precision: str, fused: bool = True) -> None:
        self.sentences = sentences
        compute = {"precision": precision, "device": "cpu"}
        self.config = resolve(
            NmtTrainConfig, [SETTINGS, {"model": sentences.sizes, "compute": compute}]
        )
        torch.manual_seed(0)
        model = AttentionGru(self.config.model, vocabulary=sentences.vocabulary.size)
        model.fused = fused
        self.network = NmtNetwork(model, label_smoothing=0.0)

    def run(self, *, updates: int) -> float:
        """Train on batches of all lengths, with a new optimiser; return target tokens/s."""
        config, train = self.config, self.sentences.bitext
        learner = NmtLearner(self.network, train=train, validation=None, config=config)
        every = max(1, len(learner.plan) // updates)
        learner.plan = learner.plan[every // 2 :: every][:updates]
        plan = Plan(optim=config.optim, loop=config.loop, compute=prepare(config.compute), seed=0)
        *_, end = Training(learner, plan=plan).events()
        assert isinstance(end, Finished)
        return end.rate

    def learn(self, weights: Path, *, updates: int) -> None:
        """Train, or load what was trained before."""
        if weights.exists():
            self.network.load_state_dict(torch.load(weights, weights_only=True))
        else:
            self.run(updates=updates)
            torch.save(self.network.state_dict(), weights)

    def translators(self, folder: Path, *, form: str) -> list[Translator]:
        """Return a translator in each precision that this form of the compiled code has."""
        trained = Trained(
            model=self.network.model.eval(),
            tokenizer=self.sentences.vocabulary,
            config=self.config,
            run=RunFolder(folder),
            checkpoint="last",
        )
        kinds = precisions() if form.endswith("bf16") else ["fp32"]
        places = [ComputeConfig(device="cpu", precision=kind) for kind in kinds]
        with in_form(form):
            return [Translator(trained, compute=prepare(place)) for place in places]


@contextmanager
def in_form(form: str) -> Iterator[None]:
    """Use one form of the compiled code, or PyTorch alone (`none`)."""
    before = {"DL_SIMD": os.environ["DL_SIMD"]} if "DL_SIMD" in os.environ else {}
    os.environ["DL_SIMD"] = form
    find_library.cache_clear()
    yield
    del os.environ["DL_SIMD"]
    os.environ.update(before)
    find_library.cache_clear()


class JoeyNmt:
    """The other side, in processes and an environment of its own: see `joeynmt_peer`."""

    def __init__(self, options: Options) -> None:
        self.python, self.folder = options.joeynmt, options.folder / "joeynmt"
        self.folder.mkdir(exist_ok=True)
        self.missing = "" if self.python.exists() else MISSING.format(self.python)

    def side(self, run: Callable[[], float]) -> Side | None:
        """Return a side of a comparison; None where there is no JoeyNMT."""
        return None if self.missing else Side(name="JoeyNMT", run=run)

    def run(self, sentences: Sentences, *, updates: int) -> float:
        """Train anew; return target tokens/s without the first updates."""
        found = self._call("train", self._settings(sentences, updates=updates, model="timed"))
        return float(sum(found["tokens"][WARM_UP:]) / sum(found["seconds"][WARM_UP:]))

    def learn(self, sentences: Sentences, *, updates: int) -> None:
        """Train, unless that was done before."""
        self.trained = self._settings(sentences, updates=updates, model="trained")
        if not self.missing and not (self.folder / "trained" / "trained.ckpt").exists():
            self._call("train", self.trained)

    def translate(self, lines: Sequence[str]) -> tuple[float, list[str]]:
        """Translate with what was learnt; return seconds, loading aside, and the lines."""
        self.trained["data"]["test"] = self._write("lines", lines, lines)
        found = self._call("translate", self.trained)
        return found["seconds"], found["translations"]

    def _settings(self, sentences: Sentences, *, updates: int, model: str) -> dict[str, Any]:
        settings: dict[str, Any] = yaml.safe_load(PEER_CONFIG.read_text(encoding="utf-8"))
        sentences.vocabulary.save(self.folder)
        (subwords,) = self.folder.glob("*.model")
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(subwords))
        names = (pieces.id_to_piece(i) for i in range(len(pieces)))
        (self.folder / "voc.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        data = settings["data"]
        for part, name in (("train", "train"), ("dev", "valid"), ("test", "valid")):
            pairs = sentences.corpus.split(name)
            data[part] = self._write(name, pairs.source, pairs.target)
        for side in (data["src"], data["trg"]):
            side["voc_file"] = str(self.folder / "voc.txt")
            side["tokenizer_cfg"]["model_file"] = str(subwords)
        settings["model_dir"] = str(self.folder / model)
        settings["training"]["updates"] = updates
        settings["testing"]["beam_size"] = BEAM
        return settings

    def _write(self, name: str, *sides: Sequence[str]) -> str:
        for language, lines in zip(("en", "fr"), sides, strict=True):
            text = "\n".join(lines) + "\n"
            (self.folder / f"{name}.{language}").write_text(text, encoding="utf-8")
        return str(self.folder / name)

    def _call(self, task: str, settings: dict[str, Any]) -> dict[str, Any]:
        config, result = self.folder / "config.yaml", self.folder / "result.json"
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        run_program(
            [str(self.python), str(PEER), task, str(config), str(result)],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONPATH": ""},
            hint=MISSING.format(self.python),
        )
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


BENCHMARKS = {"nmt-train": train, "nmt-translate": translate, "nmt-parliament": parliament}
