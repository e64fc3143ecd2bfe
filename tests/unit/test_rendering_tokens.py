"""Rows token by token, and the histogram: told apart by marks and tags, hostile texts inert."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from nbpeft.rendering import Gap, Token, TokenRow, histogram, histogram_png
from nbpeft.rendering import tokens_html as to_html
from nbpeft.rendering import tokens_text as to_text

ROW = TokenRow(
    "row 3: 7 tokens",
    (
        Token("<|user|>", "read"),
        Token(" hi", "read"),
        Token("\n", "read"),
        Token(" bye", "trained"),
        Gap(1_234),
        Token("<|end|>", "trained"),
        Token("x", "cut"),
        Token("  ", "cut"),
    ),
    "The end token is trained.",
)
HOSTILE = (
    "<script>alert(1)</script></table></div>\x1b[31m\u202e$$x$$ «a» ~~b~~ c·d\n[nbpeft] adapter x"
)


class Kinds(HTMLParser):
    """The text of a page by the tag that tells its kind, and every tag that was met."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text: dict[str, str] = {}
        self.seams = 0
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.seen.add(tag)
        self.seams += "border-left" in dict(attributes).get("style", "")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        kind = next((tag for tag in self.open if tag in "bsi"), "plain")
        self.text[kind] = self.text.get(kind, "") + data


def test_marks_tell_kinds_apart_in_text() -> None:
    lines = to_text([ROW]).splitlines()
    assert lines[0].startswith("[nbpeft] «trained», only read, ~~cut off~~;")
    assert lines[2:] == [
        "  row 3: 7 tokens",
        "    <|user|>· hi·⏎",
        "    « bye» … 1,234 more tokens … «<|end|>»~~x·␣␣~~",
        "  The end token is trained.",
    ]


def test_tags_tell_kinds_apart_in_html() -> None:
    page = Kinds(to_html([ROW]))
    assert page.text["b"] == "trained" + " bye<|end|>"
    assert page.text["s"] == "cut off" + "x␣␣"
    assert "1,234 more tokens" in page.text["i"]
    assert "<|user|> hi⏎\n" in page.text["plain"]
    assert page.seams == 7
    assert page.seen <= {"div", "span", "b", "s", "i"}


def test_only_what_a_sanitizer_keeps_and_every_ground_reads() -> None:
    html = to_html([ROW])
    assert "<style" not in html
    assert "class=" in html.split(">")[0]  # keeps MathJax out
    assert html.count("class=") == 1
    assert "#000" not in html
    assert "#fff" not in html


@pytest.mark.parametrize("kind", ["trained", "read", "cut"])
def test_hostile_texts_are_shown_and_do_nothing(kind) -> None:
    row = TokenRow(HOSTILE, (Token(HOSTILE, kind),), HOSTILE)
    text, page = to_text([row]), Kinds(to_html([row]))
    assert page.seen <= {"div", "span", "b", "s", "i"}
    assert r"<script>alert(1)</script></table></div>\x1b[31m\u202e" in "".join(page.text.values())
    for bad in ("\x1b", "\u202e"):
        assert bad not in text
        assert bad not in to_html([row])
    assert not any(line.startswith("[nbpeft]") for line in text.splitlines()[1:])
    body = text.splitlines()[3:-1]
    inside = "".join(body)
    assert inside.count("«") == inside.count("»") == (kind == "trained")
    assert inside.count("~~") == 2 * (kind == "cut")
    assert "·" not in inside
    assert r"\xaba\xbb \x7e\x7eb\x7e\x7e c\xb7d" in " ".join(line.strip() for line in body)


def test_a_megabyte_in_one_token_is_cut() -> None:
    row = TokenRow("row 0", (Token("x" * 1_000_000, "trained"),), "")
    assert len(to_html([row])) < 2_000
    assert "more characters" in to_text([row])


def test_bins_hold_every_row() -> None:
    for lengths in ([5], [1, 1], list(range(3, 200)), [10] * 99 + [50_000], [1] * 9 + [10**6]):
        edges, by_ratio = histogram.spread(lengths)
        counts, _ = np.histogram(lengths, edges)
        assert counts.sum() == len(lengths)
        assert 2 <= len(edges) <= histogram.BINS + 1
        assert by_ratio == (max(lengths) > 1_000)


def test_the_cut_is_drawn_where_it_is_near() -> None:
    near = histogram._figure([10, 20, 30], 25, "t").axes[0]
    assert [list(line.get_xdata()) for line in near.lines] == [[25, 25]]
    assert near.get_legend().get_texts()[0].get_text() == "cut at 25"
    far = histogram._figure([10, 20, 30], 1_024, "t").axes[0]
    assert far.get_xlim()[1] < 100
    assert "1,024" in far.get_legend().get_texts()[0].get_text()


def test_the_picture_is_the_same_each_time_and_clear_of_a_ground() -> None:
    lengths = list(range(1, 900))
    png = histogram_png(lengths, 512, "$\\frac{$ </svg>\x1b\u202e 日本")
    assert png == histogram_png(lengths, 512, "$\\frac{$ </svg>\x1b\u202e 日本")
    assert len(png) < 45_000
    alpha = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[..., 3]
    assert (alpha == 0).mean() > 0.1
