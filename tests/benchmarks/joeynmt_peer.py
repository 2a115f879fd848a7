"""Train or translate with JoeyNMT 2.3 and say how fast; run by `nmt` with JoeyNMT's Python.

    python joeynmt_peer.py train CONFIG.yaml RESULT.json
    python joeynmt_peer.py translate CONFIG.yaml RESULT.json

Two calls that today's libraries no longer know are replaced. The result of a training holds, for
each update, its target tokens without padding and the seconds from its beginning to the next one's.
That of a translation holds the `seconds` of the search, loading aside, and the `translations`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from joeynmt import builders, prediction, tokenizers, training
from joeynmt.config import load_config, parse_global_args
from joeynmt.helpers import make_model_dir

WEIGHTS = "trained.ckpt"


class Watch:
    """Notes what each update did, and keeps the weights when the training ends."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.tokens: list[int] = []

    def attach(self) -> None:
        """Stand between JoeyNMT's training and its steps."""
        manager = training.TrainManager
        step, train = manager._train_step, manager.train_and_validate

        def watched_step(trainer: Any, batch: Any) -> Any:
            self.begun.append(time.perf_counter())
            self.tokens.append(int(batch.ntokens))
            return step(trainer, batch)

        def watched_train(trainer: Any, train_data: Any, valid_data: Any) -> None:
            train(trainer, train_data, valid_data)
            self.begun.append(time.perf_counter())
            torch.save({"model_state": trainer.model.state_dict()}, trainer.model_dir / WEIGHTS)

        manager._train_step, manager.train_and_validate = watched_step, watched_train


def plateau(*arguments: Any, verbose: object = None, **named: Any) -> Any:
    """Make torch's scheduler, which no longer takes `verbose`."""
    del verbose
    return torch.optim.lr_scheduler.ReduceLROnPlateau(*arguments, **named)


def train(settings: dict[str, Any]) -> dict[str, Any]:
    """Train as the configuration says."""
    make_model_dir(Path(settings["model_dir"]), overwrite=True)
    watch = Watch()
    watch.attach()
    training.train(rank=0, world_size=0, cfg=settings, skip_test=True)
    seconds = [after - before for before, after in zip(watch.begun, watch.begun[1:], strict=False)]
    return {"tokens": watch.tokens, "seconds": seconds}


def translate(settings: dict[str, Any]) -> dict[str, Any]:
    """Translate the configuration's test sentences with the weights last trained."""
    settings["testing"]["load_model"] = str(Path(settings["model_dir"]) / WEIGHTS)
    args = parse_global_args(settings, rank=0, mode="test")
    model, _, _, sentences = prediction.prepare(args, rank=0, mode="test")
    sentences.reset_indices(random_subset=-1)
    began = time.perf_counter()
    found = prediction.predict(
        model=model,
        data=sentences,
        device=args.device,
        n_gpu=0,
        args=args.test,
        autocast=args.autocast,
    )
    return {"seconds": time.perf_counter() - began, "translations": found[2]}


def main(task: str, config: Path, result: Path) -> None:
    """Do one of the two."""
    tokenizers.SentencePieceTokenizer.set_vocab = tokenizers.BasicTokenizer.set_vocab
    builders.ReduceLROnPlateau = plateau
    found = {"train": train, "translate": translate}[task](load_config(config))
    result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
