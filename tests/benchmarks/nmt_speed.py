"""Speed of the translator against JoeyNMT, training or translating, and what it costs in quality.

    DL_DATA_DIR=… python -m tests.benchmarks.nmt_speed train [--joeynmt PYTHON]
    DL_DATA_DIR=… python -m tests.benchmarks.nmt_speed translate --joeynmt PYTHON --folder trained

PYTHON is that of an environment with JoeyNMT 2.3. All sides learn Multi30k en-fr with the same
8,000 joint subwords: GRU 256×2 encoder and 512 decoder, embeddings 256, batches of 64 sentences,
full softmax.

`train` prints target tokens a second, padding not counted; JoeyNMT's start and first updates are in
nobody's time, and `plain` is our network in PyTorch's own operations. With --loss-updates N every
side then trains N updates, and the loss per token on the validation sentences is compared.
`translate` prints sentences a second, beam 5, from lines of text to lines of text, without starting
and loading: in each form that this processor can run, and in PyTorch alone (`none`). Both sides are
trained first, or taken from --folder if that was done, and BLEU says whether they do the same work.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sacrebleu
import sentencepiece
import torch
import yaml

from dlcli.data.corpora import load_corpus
from dlcli.data.sentences import Corpus
from dlcli.engine.config import resolve
from dlcli.engine.device import prepare
from dlcli.engine.events import Finished
from dlcli.engine.loop import Plan, Training
from dlcli.engine.runs import RunFolder
from dlcli.engine.settings import ComputeConfig
from dlcli.nmt.batching import Bitext
from dlcli.nmt.config import NmtTrainConfig, SearchConfig
from dlcli.nmt.fast.compiling import available_forms, find_library
from dlcli.nmt.model import NmtNetwork
from dlcli.nmt.networks import AttentionGru
from dlcli.nmt.tokenizer import Subwords
from dlcli.nmt.trained import Trained
from dlcli.nmt.training import NmtLearner
from dlcli.nmt.translator import Translator
from tests.benchmarks.alternating import compare, precisions, run_program

BATCH, BEAM, WARM_UP = 64, 5, 3
PEER = Path(__file__).with_name("joeynmt_peer.py")
PEER_CONFIG = Path(__file__).with_name("joeynmt_multi30k.yaml")
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
    "loop": {"batch_size": BATCH, "batch_unit": "sentences", "epochs": 1},
}


def main() -> None:
    """Read the command line and print the comparison."""
    parser = argparse.ArgumentParser(description="Speed of the translator against JoeyNMT.")
    parser.add_argument("what", choices=["train", "translate"])
    parser.add_argument("--joeynmt", help="the Python of an environment with JoeyNMT 2.3")
    parser.add_argument("--updates", type=int, help="of a training (40; before translating 1,000)")
    parser.add_argument("--loss-updates", type=int, help="train: of the loss comparison")
    parser.add_argument("--sentences", type=int, default=200, help="of test_2016_flickr (200)")
    parser.add_argument("--folder", type=Path, help="translate: where trained weights are kept")
    parser.add_argument("--runs", type=int, default=3, help="alternating runs (3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sentences = Sentences(load_corpus("multi30k", offline=True))
    print(f"{args.what}: {args.threads} threads", flush=True)
    with TemporaryDirectory() as name:
        folder = (args.folder or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        peer = None
        if args.joeynmt:
            peer = JoeyNmt(sentences, python=args.joeynmt, folder=folder, threads=args.threads)
        if args.what == "translate":
            if peer is None:
                parser.error("translating needs --joeynmt")
            compare_translating(sentences, peer=peer, folder=folder, args=args)
            return
        compare_training(sentences, peer=peer, updates=args.updates or 40, runs=args.runs)
        if args.loss_updates:
            compare_loss(sentences, peer=peer, updates=args.loss_updates)


class Sentences:
    """The pairs, encoded, and their vocabulary."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        texts = [*corpus.train.source, *corpus.train.target]
        self.vocabulary = Subwords.learn(texts, size=8000)

    def bitext(self, *, updates: int | None = None, part: str = "train") -> Bitext:
        """Return the first pairs of a part, as many as fill `updates` batches, or all."""
        pairs = self.corpus.split(part)
        pairs = pairs if updates is None else pairs.first(updates * BATCH)
        encode = self.vocabulary.encode_all
        source, target = encode(list(pairs.source)), encode(list(pairs.target))
        return Bitext(source, target, device=torch.device("cpu"))


def compare_training(
    sentences: Sentences, *, peer: JoeyNmt | None, updates: int, runs: int
) -> None:
    """Print target tokens/s of all sides."""
    plain = Ours(sentences, precision="fp32", fused=False)
    sides = {"plain fp32": partial(plain.run, updates=updates)}
    for precision in precisions():
        sides[f"dl {precision}"] = partial(
            Ours(sentences, precision=precision).run, updates=updates
        )
    if peer is not None:
        sides["JoeyNMT"] = partial(peer.run, updates=updates)
    against = "plain fp32" if peer is None else "JoeyNMT"
    compare(sides, runs=runs, unit="target tokens/s", against=against)


def compare_loss(sentences: Sentences, *, peer: JoeyNmt | None, updates: int) -> None:
    """Print the loss per token on the validation sentences after so many updates."""
    for precision in precisions():
        ours = Ours(sentences, precision=precision)
        ours.train(updates=updates)
        print(f"dl {precision}: {ours.valid_nll_per_token():.4f} nats after {updates} updates")
    if peer is not None:
        found = peer.train(updates=updates)["valid_nll_per_token"]
        print(f"JoeyNMT: {found:.4f} nats after {updates} updates", flush=True)


def compare_translating(
    sentences: Sentences, *, peer: JoeyNmt, folder: Path, args: argparse.Namespace
) -> None:
    """Print sentences/s of both sides, and their BLEU."""
    updates = args.updates or 1000
    ours, weights = Ours(sentences, precision=precisions()[-1]), folder / "ours.pt"
    if weights.exists():
        ours.network.load_state_dict(torch.load(weights, weights_only=True))
    else:
        ours.train(updates=updates)
        torch.save(ours.network.state_dict(), weights)
    if not (folder / "joeynmt" / "trained.ckpt").exists():
        peer.train(updates=updates)
    test = sentences.corpus.split("test_2016_flickr").first(args.sentences)
    made: dict[str, list[str]] = {}

    def translate(name: str, translator: Translator, form: str) -> float:
        use_form(form)
        began = time.perf_counter()
        lines = translator.translate(list(test.source), config=SearchConfig(beam_size=BEAM))
        spent = time.perf_counter() - began
        made[name] = [line.translation for line in lines]
        return len(test) / spent

    def translate_peer() -> float:
        spent, made["JoeyNMT"] = peer.translate(list(test.source))
        return len(test) / spent

    sides: dict[str, Callable[[], float]] = {"JoeyNMT": translate_peer}
    for form in [*available_forms(), "none"]:
        for translator in ours.translators(folder, threads=args.threads, form=form):
            name = f"dl {translator.precision} {form}"
            sides[name] = partial(translate, name, translator, form)
    compare(sides, runs=args.runs, unit="sentences/s", against="JoeyNMT")
    for name, lines in made.items():
        bleu = sacrebleu.corpus_bleu(lines, [list(test.target)])
        print(f"{name}: BLEU {bleu.score:.1f}, {sum(map(len, lines)) / len(lines):.0f} characters")


class Ours:
    """One translator and its trainings through the engine's loop."""

    def __init__(self, sentences: Sentences, *, precision: str, fused: bool = True) -> None:
        self.sentences = sentences
        compute = {"precision": precision, "device": "cpu"}
        self.config = resolve(NmtTrainConfig, [SETTINGS, {"compute": compute}])
        torch.manual_seed(0)
        model = AttentionGru(self.config.model, vocabulary=sentences.vocabulary.size)
        model.fused = fused
        self.network = NmtNetwork(model, label_smoothing=0.0)

    def run(self, *, updates: int) -> float:
        """Train with a new optimiser; return target tokens/s as a run reports it."""
        config, train = self.config, self.sentences.bitext(updates=updates)
        learner = NmtLearner(self.network, train=train, validation=None, config=config)
        plan = Plan(optim=config.optim, loop=config.loop, compute=prepare(config.compute), seed=0)
        *_, end = Training(learner, plan=plan).events()
        assert isinstance(end, Finished)
        return end.rate

    def train(self, *, updates: int) -> None:
        """Train on, with a new optimiser at each pass."""
        epoch = len(self.sentences.corpus.train) // BATCH
        for done in range(0, updates, epoch):
            self.run(updates=min(epoch, updates - done))

    def valid_nll_per_token(self) -> float:
        """Return the loss per target token on the validation sentences."""
        found = self.sentences.bitext(part="valid")
        self.network.eval()
        total, tokens = 0.0, 0
        with torch.no_grad():
            for start in range(0, len(found), BATCH):
                rows = torch.arange(start, min(start + BATCH, len(found))).numpy()
                batch = found.batch(rows)
                total += float(self.network(batch)["nll"])
                tokens += batch.tokens
        return total / tokens

    def translators(self, folder: Path, *, threads: int, form: str) -> Iterator[Translator]:
        """Yield a translator in each precision that this form of the compiled code has."""
        trained = Trained(
            model=self.network.model.eval(),
            tokenizer=self.sentences.vocabulary,
            config=self.config,
            run=RunFolder(folder),
            checkpoint="last",
        )
        use_form(form)
        for precision in precisions() if form.endswith("bf16") else ["fp32"]:
            place = ComputeConfig(device="cpu", precision=precision, threads=threads)
            yield Translator(trained, compute=prepare(place))


def use_form(form: str) -> None:
    """Choose the form of the compiled code, or PyTorch alone (`none`)."""
    os.environ["DL_SIMD"] = form
    find_library.cache_clear()


class JoeyNmt:
    """The other side, in processes and an environment of its own: see `joeynmt_peer`."""

    def __init__(self, sentences: Sentences, *, python: str, folder: Path, threads: int) -> None:
        self.python, self.folder, self.threads = python, folder, threads
        self.settings = yaml.safe_load(PEER_CONFIG.read_text(encoding="utf-8"))
        self.languages = sentences.corpus.languages
        sentences.vocabulary.save(folder)
        (model,) = folder.glob("*.model")
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
        names = (pieces.id_to_piece(i) for i in range(len(pieces)))
        (folder / "voc.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        data = self.settings["data"]
        data.pop("sample_dev_subset", None)
        for part, name in (("train", "train"), ("dev", "valid"), ("test", "valid")):
            pairs = sentences.corpus.split(name)
            data[part] = self._write(name, pairs.source, pairs.target)
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

    def translate(self, lines: Sequence[str]) -> tuple[float, list[str]]:
        """Translate with the weights last trained; return seconds, loading aside, and the lines."""
        self.settings["data"]["test"] = self._write("lines", lines, lines)
        self.settings["testing"]["beam_size"] = BEAM
        found = self._call("translate")
        return found["seconds"], found["translations"]

    def _write(self, name: str, *sides: Sequence[str]) -> str:
        for language, lines in zip(self.languages, sides, strict=True):
            text = "\n".join(lines) + "\n"
            (self.folder / f"{name}.{language}").write_text(text, encoding="utf-8")
        return str(self.folder / name)

    def _call(self, task: str) -> dict[str, Any]:
        config, result = self.folder / "config.yaml", self.folder / "result.json"
        config.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        run_program(
            [self.python, str(PEER), task, str(config), str(result)],
            cwd=self.folder,
            env={"OMP_NUM_THREADS": str(self.threads), "PATH": "/usr/bin:/bin"},
            hint="tests/README.md says how to make an environment for JoeyNMT.",
        )
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


if __name__ == "__main__":
    main()
