"""The curve: small, the same each time, and nobody's matplotlib settings are touched."""

import io
import math
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nbpeft.rendering
from nbpeft.rendering import curve, curve_png, thin

TRAIN = [(step, 0.6 + 1.7 * math.exp(-step / 300)) for step in range(1, 2_001)]
HELD_OUT = [(step, 0.7 + 1.7 * math.exp(-step / 300)) for step in range(0, 2_001, 200)]


def test_a_png_of_modest_size_the_same_each_time():
    png = curve_png(TRAIN, HELD_OUT, "pirate")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert 5_000 < len(png) < 45_000
    assert png == curve_png(TRAIN, HELD_OUT, "pirate")
    assert png != curve_png(TRAIN[:-1], HELD_OUT, "pirate")
    assert struct.unpack(">II", png[16:24]) == (819, 358)
    assert b"matplotlib" not in png


def test_the_ground_is_clear_and_the_ink_reads_on_white_and_on_black():
    pixels = np.asarray(Image.open(io.BytesIO(curve_png(TRAIN, HELD_OUT, "t"))).convert("RGBA"))
    alpha = pixels[..., 3]
    assert (alpha == 0).mean() > 0.8
    ink = pixels[alpha == 255][:, :3].mean(axis=1)
    assert ink.min() > 60
    assert ink.max() < 200


def test_at_most_500_points_are_drawn_and_the_last_as_it_is():
    long = [(step, step / 7) for step in range(100_000)]
    figure = curve._figure(long, long[::10], "t", "nats per token")
    drawn = [line.get_xydata() for line in figure.axes[0].lines]
    assert sum(map(len, drawn)) <= 500
    assert tuple(drawn[0][-1]) == long[-1]
    assert tuple(drawn[1][-1]) == long[::10][-1]
    assert figure.axes[0].lines[1].get_marker() == "o"
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == (
        "step", "loss (nats per token)",
    )  # fmt: skip


def test_thin_takes_means_of_stretches():
    points = [(step, float(step)) for step in range(1, 102)]
    few = thin(points, 11)
    assert len(few) == 11
    assert few[0] == (5.5, 5.5)
    assert few[-1] == (101, 101.0)
    assert thin(points, 101) == points
    assert thin([(3, 1.0)] * 50, 10)[-1] == (3, 1.0)
    assert len(thin([*points, (2, 1.0)], 10)) <= 10


def test_thin_keeps_a_stretch_that_is_no_number_as_a_gap():
    nan = math.nan
    few = thin([(0, 1.0), (1, nan), (2, nan), (3, nan), (4, 2.0), (5, nan), (6, 4.0)], 4)
    assert [loss for _, loss in few][1:] == pytest.approx([nan, 2.0, 4.0], nan_ok=True)


@pytest.mark.parametrize("losses", [[], [(1, 2.0)], [(1, math.nan)], [(1, 1.0), (2, math.inf)]])
def test_any_losses_draw(losses):
    assert curve_png(losses, losses, "$\\frac{$ </svg>\x1b\u202e 日本").startswith(b"\x89PNG")


def test_one_step_is_a_dot():
    assert curve._figure([(1, 2.0)], [], "t", "").axes[0].lines[0].get_marker() == "o"


def test_the_users_matplotlib_is_untouched_and_does_not_reach_in():
    code = """
        import sys, warnings
        warnings.simplefilter("error")
        from nbpeft.rendering import curve_png
        assert "matplotlib" not in sys.modules
        first = curve_png([(1, 2.0), (2, 1.0)], [], "t 日本")
        import matplotlib
        matplotlib.rcParams.update({"text.usetex": True, "lines.linewidth": 9,
                                    "axes.facecolor": "red", "savefig.bbox": "tight"})
        before = list(dict.items(matplotlib.rcParams))
        again = curve_png([(1, 2.0), (2, 1.0)], [], "t 日本")
        assert list(dict.items(matplotlib.rcParams)) == before
        assert "matplotlib.pyplot" not in sys.modules
        assert "torch" not in sys.modules
        assert first == again
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=True,
        cwd=Path(nbpeft.rendering.__file__).parents[2],
    )
