"""The confusion matrix: a PNG in which the squares say what the counts say."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import image

from nbpeft.rendering import confusion_png


def pixels(png):
    return image.imread(io.BytesIO(png), format="png")


def blue(png):
    """How many pixels are as blue as a full square."""
    picture = pixels(png)
    near = np.abs(picture[..., :3] - np.array([0x3D, 0x8B, 0xD9]) / 255).max(-1) < 0.02
    return int((near & (picture[..., 3] > 0.95)).sum())


def test_the_more_are_right_the_fuller_the_squares():
    right = confusion_png([[10, 0], [0, 2]], ["a", "b"], "x")
    half = confusion_png([[5, 5], [1, 1]], ["a", "b"], "x")
    assert blue(right) > 10_000
    assert blue(half) < 100
    # A square's shade is its share of its own row: a rare label counts as much as a common one.
    assert blue(confusion_png([[10, 0], [0, 1]], ["a", "b"], "x")) == pytest.approx(
        blue(right), rel=0.02
    )


@pytest.mark.parametrize("labels", [1, 2, 7, 21, 60])
def test_any_number_of_labels_is_drawn(labels):
    counts = np.eye(labels, dtype=int).tolist()
    names = [f"label number {n} with a long name" for n in range(labels)]
    png = confusion_png(counts, names, "many")
    assert png.startswith(b"\x89PNG")
    assert blue(png) > 100


@pytest.mark.parametrize("name", ["$\\frac{1$", "<b>", "a\nb\x1b[0m", ""])
def test_names_are_never_typeset(name):
    assert pixels(confusion_png([[1, 0], [0, 1]], [name, "other"], name)).shape[2] == 4


def test_labels_without_rows_are_empty_squares():
    assert blue(confusion_png([[0, 0], [0, 0]], ["a", "b"], "none")) == 0
