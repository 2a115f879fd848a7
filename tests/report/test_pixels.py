"""Images as files: the pixels that went in come out, and nothing else is in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from dlcli.display.images import as_bytes, as_images, as_rows, encode_png, save_npz, save_png, tile

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 7)) | st.tuples(
    st.integers(1, 5), st.integers(1, 7), st.just(3)
)


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, SHAPES))
def test_a_png_reads_back_as_the_very_pixels(image: np.ndarray) -> None:
    import io

    with Image.open(io.BytesIO(encode_png(image))) as read:
        read.load()
        assert read.info == {}
        assert np.array_equal(np.asarray(read), image)


def test_files_of_the_same_values_have_the_same_bytes() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert save_png(Path("a.png"), image).read_bytes() == encode_png(image.copy())
    first = save_npz(Path("a.npz"), z=torch.ones(2, 3), images=image)
    second = save_npz(Path("b.npz"), z=np.ones((2, 3), dtype=np.float32), images=image)
    assert first.read_bytes() == second.read_bytes()
    with np.load(first) as read:
        assert np.array_equal(read["images"], image)


@pytest.mark.parametrize(
    "image", [np.zeros((2, 3)), np.zeros((2, 3, 4), np.uint8), np.zeros((0, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="PNG"):
        encode_png(image)


def test_a_tile_puts_each_image_in_its_place() -> None:
    images = np.arange(5)[:, None, None] / 5 * np.ones((5, 2, 3))
    joined = tile(images, columns=2, gap=1)
    assert joined.shape == (3 * 2 + 2, 2 * 3 + 1)
    assert np.allclose(joined[3:5, 4:7], 3 / 5)
    assert np.isnan(joined[2]).all()
    assert np.isnan(joined[:, 3]).all()
    assert np.isnan(joined[6:, 4:]).all()
    assert as_bytes(joined)[7, 6] == 0


def test_images_are_read_as_floats_in_the_unit_interval() -> None:
    assert as_images(np.full((1, 2, 2), 255, np.uint8)).max() == 1.0
    assert as_images(torch.tensor([[[-1.0, float("nan")], [0.5, 7.0]]])).tolist() == [
        [[0.0, 0.0], [0.5, 1.0]]
    ]
    assert as_rows(np.ones((7, 2, 2))).shape == (3, 3, 2, 2)
    assert as_bytes(np.array([[0.5, 1.0]])).tolist() == [[128, 255]]
    for shape in [(28, 28), (0, 28, 28), (1, 1, 1, 1, 1)]:
        with pytest.raises(ValueError, match="shape"):
            as_images(np.ones(shape))
