from __future__ import annotations

from dlcli.assignment.lab import FULL, QUICK


def test_full_is_nowhere_smaller_than_quick() -> None:
    for name in ("epochs", "eval_images", "eval_k", "grid_epochs", "gradient_samples"):
        assert getattr(FULL, name) > getattr(QUICK, name), name


def test_only_full_trains_the_published_models() -> None:
    assert (QUICK.trained_here, FULL.trained_here) == (False, True)
    assert QUICK.train_data.startswith("glyphs")
