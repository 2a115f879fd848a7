"""Translating speed against JoeyNMT, beam 5, models of the same size that learnt equally long.

    DL_DATA_DIR=… python -m tests.benchmarks.nmt_translating --joeynmt /path/to/its/python \\
        --config C.yaml --updates 1000 --folder trained

The sides are those of `nmt_sides`; each is trained first, or taken from --folder if that was done.
Sentences a second, from lines of text to lines of text, without starting and loading. Medians over
alternating runs. BLEU says whether the sides do the same work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sacrebleu
import torch

from dlcli.data.corpora import load_corpus
from dlcli.engine.device import prepare
from dlcli.engine.runs import RunFolder
from dlcli.engine.settings import ComputeConfig, Precision
from dlcli.nmt.config import SearchConfig
from dlcli.nmt.trained import Trained
from dlcli.nmt.translator import Translator
from tests.benchmarks.alternating import alternate, report
from tests.benchmarks.nmt_sides import JoeyNmt, Ours, Sentences

BEAM = 5


def trained_side(sentences: Sentences, *, folder: Path, args: argparse.Namespace) -> Trained:
    """Train our side, or take it from the folder."""
    ours, weights = Ours(sentences, precision="bf16"), folder / "ours.pt"
    if weights.exists():
        ours.network.load_state_dict(torch.load(weights, weights_only=True))
    else:
        ours.train(updates=args.updates, threads=args.threads)
        print(f"dl: {ours.valid_nll_per_token():.4f} nats after {args.updates} updates", flush=True)
        torch.save(ours.network.state_dict(), weights)
    return Trained(
        model=ours.network.model.eval(),
        tokenizer=sentences.vocabulary,
        config=ours.config(),
        run=RunFolder(folder),
        checkpoint="last",
    )


def main() -> None:
    """Read the command line and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--joeynmt", required=True, help="the Python of an environment with it")
    parser.add_argument("--config", type=Path, required=True, help="JoeyNMT's configuration")
    parser.add_argument("--folder", type=Path, required=True, help="where trained weights are kept")
    parser.add_argument("--updates", type=int, default=1000, help="of the trainings (1,000)")
    parser.add_argument("--sentences", type=int, default=200, help="of test_2016_flickr (200)")
    parser.add_argument("--runs", type=int, default=3, help="alternating runs (3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    sentences = Sentences(load_corpus("multi30k", offline=True))
    joeynmt = JoeyNmt(
        sentences, python=args.joeynmt, config=args.config, folder=folder, threads=args.threads
    )
    if not any((folder / "joeynmt").glob("trained.ckpt")):
        found = joeynmt.train(updates=args.updates)["valid_nll_per_token"]
        print(f"JoeyNMT: {found:.4f} nats after {args.updates} updates", flush=True)
    trained = trained_side(sentences, folder=folder, args=args)
    test = sentences.corpus.split("test_2016_flickr").first(args.sentences)
    made: dict[str, list[str]] = {}

    def ours(precision: str) -> float:
        whole: Precision = "fp32" if precision == "fp32" else "bf16"
        place = ComputeConfig(device="cpu", precision=whole, threads=args.threads)
        translator = Translator(trained, compute=prepare(place), int8=precision == "int8")
        began = time.perf_counter()
        lines = translator.translate(list(test.source), config=SearchConfig(beam_size=BEAM))
        spent = time.perf_counter() - began
        made[f"dl {precision}"] = [line.translation for line in lines]
        return len(test) / spent

    def theirs() -> float:
        spent, made["JoeyNMT"] = joeynmt.translate(list(test.source), beam_size=BEAM)
        return len(test) / spent

    sides: dict[str, Callable[[], float]] = {"JoeyNMT": theirs}
    sides |= {f"dl {name}": partial(ours, name) for name in ("fp32", "bf16", "int8")}
    print(f"translating {len(test)} sentences, beam {BEAM}, {args.threads} threads", flush=True)
    found = alternate(sides, runs=args.runs)
    report(found, unit="sentences/s", against="JoeyNMT", faster=True)
    for name, lines in made.items():
        bleu = sacrebleu.corpus_bleu(lines, [list(test.target)])
        print(f"{name}: BLEU {bleu.score:.1f}, {sum(map(len, lines)) / len(lines):.0f} characters")


if __name__ == "__main__":
    main()
