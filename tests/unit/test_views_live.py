"""What stands in a notebook while a run goes on: bar, figures, curve, sample."""

import math
import re
from html.parser import HTMLParser

import pytest
from test_rendering_text import Tags

from nbpeft.events import Evaluated, Progressed, Sampled, Started
from nbpeft.rendering import curve_html
from nbpeft.views.live import live_html
from nbpeft.views.progress import Progress


class Tables(HTMLParser):
    """The cells of every table: a list of rows each."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.inside = [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.inside = tag in ("td", "th")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.tables[-1][-1][-1] += data


def run_to(step, steps=90, every=1):
    """A run of 90 steps, as far as `step`."""
    progress = Progress()
    progress.start(Started("pirate", steps))
    progress.answer(Sampled(0, "Who are you?", "I am a model."))
    progress.evaluate(Evaluated(0, 2.31))
    for done in range(every, step + 1, every):
        progress.step(
            Progressed(done, steps, 3 - done / steps, 1e-3, done / 10, 50 * done, 512.4, 8 * 10**8,
                       9 * 10**8)
        )  # fmt: skip
    return progress


def bar(page):
    attributes = dict(Tags(page).attributes)
    return int(attributes["value"]), int(attributes["max"])


def test_before_the_first_step():
    page = live_html(run_to(0))
    assert bar(page) == (0, 90)
    assert "pirate: step 0 of 90 (0%)" in page
    figures, sample = Tables(page).tables
    assert figures == [["held-out loss"], ["2.310"]]
    assert sample == [["prompt", "before training"], ["Who are you?", "I am a model."]]


def test_in_the_middle():
    progress = run_to(40)
    progress.evaluate(Evaluated(40, 1.456))
    progress.answer(Sampled(40, "Who are you?", "Arr, a model."))
    page = live_html(progress)
    assert bar(page) == (40, 90)
    assert "pirate: step 40 of 90 (44%)" in page
    figures, sample = Tables(page).tables
    assert dict(zip(*figures, strict=True)) == {
        "elapsed": "4.0 s",
        "left": "5.0 s",
        "loss": "2.556",
        "held-out loss": "2.310 → 1.456",
        "learning rate": "1.00e-03",
        "tokens/s": "512",
        "memory": "800 MB (peak 900 MB)",
    }
    assert sample == [
        ["prompt", "before training", "at step 40"],
        ["Who are you?", "I am a model.", "Arr, a model."],
    ]


def test_what_is_not_known_is_left_out():
    assert bar(live_html(Progress())) == (0, 1)
    progress = Progress()
    progress.start(Started("pirate", 100, done=90))
    assert bar(live_html(progress)) == (90, 100)
    progress.step(Progressed(91, 100, 1.0, 1e-3, 2.0, 0))
    (figures,) = Tables(live_html(progress)).tables
    assert figures[0] == ["elapsed", "left", "loss", "learning rate"]
    progress.answer(Sampled(91, "Hi", ""))
    _, sample = Tables(live_html(progress)).tables
    assert sample == [["prompt", "at step 91"], ["Hi", "(empty)"]]


def test_no_ground_of_its_own_and_nothing_that_a_frontend_would_load():
    page = live_html(run_to(40))
    assert "background" not in page
    assert not re.search(r"<(style|script|img|link)|url\(|https?:", page)


def test_long_texts_are_cut_and_a_long_run_is_no_longer():
    progress = run_to(40)
    progress.answer(Sampled(40, "x" * 10**6, "<script>" * 10**5))
    assert len(live_html(progress)) < 16_000
    long = live_html(run_to(1_000_000, 1_000_000, every=100))
    assert len(long) < 16_000
    assert sum(len(points.split()) for points in re.findall(r'points="([^"]*)"', long)) <= 500


def points(svg, color):
    found = re.findall(rf'<polyline points="([^"]*)" fill="none" stroke="{color}"', svg)
    return [[tuple(map(float, at.split(","))) for at in line.split()] for line in found]


def test_the_curve_spans_the_whole_run():
    train = [(step, 3 - step / 50) for step in range(1, 51)]
    svg = curve_html(train, [(0, 3.0), (50, 1.5)], steps=100)
    (line,) = points(svg, "#3d8bd9")
    assert len(line) == 50
    (_, top), (_, bottom) = line[0], line[-1]
    assert top < bottom
    assert line == sorted(line)
    ((begin, _), (end, low)) = points(svg, "#e0782f")[0]
    assert 630 < 2 * end - begin < 640  # the whole width
    assert low > bottom  # downwards
    assert svg.count("<circle") == 2
    assert "from 3.000, top, to 1.500, bottom" in svg
    assert not re.search(r">[^<]+<", svg[svg.index("<svg") :])  # no words to be left behind


@pytest.mark.parametrize("losses", [[], [(1, math.nan)], [(1, math.inf)]])
def test_no_loss_no_curve(losses):
    assert curve_html(losses, losses, 10) == ""


def test_a_loss_that_is_no_number_leaves_a_gap_and_one_step_is_a_dot():
    svg = curve_html([(1, 1.0), (2, 2.0), (3, math.nan), (4, 1.0)], [], 4)
    assert [len(line) for line in points(svg, "#3d8bd9")] == [2]
    assert svg.count("<circle") == 1
    assert "nan" not in svg
    Tags(svg)
