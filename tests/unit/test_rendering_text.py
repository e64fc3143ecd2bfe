"""Texts made safe, numbers, and tables: nothing hostile works, everything lines up."""

from html.parser import HTMLParser

import pytest

from nbpeft.plan import Plan, Setting
from nbpeft.rendering import (
    Table,
    bytes_size,
    count,
    duration,
    escape,
    nats,
    percent,
    plain,
    plan_table,
    setting_text,
)
from nbpeft.rendering.layout import column_widths, width, wrapped

HOSTILE = [
    "<script>alert(1)</script>",
    "</td></tr></table><img src=x onerror=alert(1)>",
    "\x1b[2J\x1b[31mred\x1b]8;;http://x\x07",
    "\u202egnp.exe",
    "\u2066\u061c\u200f\ufeff\u00ad",
    "lone \ud800 surrogate",
    "\r[nbpeft] forged",
    "\u2028[nbpeft] forged",
    "a & b \"quoted\" 'too'",
    "\x00\x08\x7f\x9b31m",
    "x" * 1_000_000,
    "\n[nbpeft] forged\n",
    "\U000e0041 tag",
]
ACTING = set("\x00\x07\x08\r\x1b\x7f\x9b\u2028\u202e\u2066\u061c\u200f\ufeff\u00ad\ud800\U000e0041")


class Tags(HTMLParser):
    """The tags of a piece of HTML, each closed in its turn, and its text."""

    def __init__(self, page):
        super().__init__()
        self.names, self.open, self.attributes, self.text = [], [], [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.open.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_is_inert(text):
    safe = escape(text)
    assert not ACTING & set(safe)
    assert Tags(f"<p>{safe}</p>").names == ["p"]
    assert not set("<>\"'") & set(safe)
    assert len(safe) < 13_000
    safe.encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_text_is_inert(text):
    assert not ACTING & set(plain(text))
    assert "\n" not in plain(text, one_line=True)
    plain(text).encode("utf-8")


def test_what_acts_is_shown_not_dropped():
    assert escape("\x1b[31m\u202e<b>") == r"\x1b[31m\u202e&lt;b&gt;"
    assert plain("a\r\nb\tc\rd") == "a\nb    c\\rd"
    assert plain("a\nb", one_line=True) == "a⏎b"


def test_scripts_of_the_world_stay_as_they_are():
    for text in ("日本語", "שלום", "می\u200cخواهم", "👩\u200d👩\u200d👧", "e\u0301", "100\u00a0%"):
        assert escape(text) == plain(text) == text


def test_a_long_text_is_cut_and_says_so():
    assert plain("x" * 1_234_567, 10) == "x" * 10 + "… (1,234,557 more characters)"
    assert escape("<" * 3, 1) == "&lt;… (2 more characters)"
    assert plain("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_holds_any_text_anywhere(text):
    table = Table(text, (text, "b"), ((text, text), (text,)), notes=(text,))
    tags = Tags(table.html())
    assert set(tags.names) == {"div", "table", "thead", "tbody", "tr", "th", "td"}
    assert {name for name, _ in tags.attributes} <= {"style", "class", "dir", "colspan"}
    shown = table.text()
    assert not ACTING & set(shown + table.html())
    lines = shown.split("\n")
    assert lines[0].startswith("[nbpeft] ")
    assert all(line.startswith("  ") or line == "" for line in lines[1:])
    assert not any(line.startswith("[nbpeft]") for line in lines[1:])


def test_a_table_as_text():
    table = Table(
        "three adapters",
        ("name", "loss", "says"),
        (
            ("日本", "1.5", "Arr, it be Paris"),
            ("the rest",),
            ("e\u0301", "12.25", "one\ntwo"),
        ),
        align=("left", "right"),
        notes=("nothing else",),
    )
    assert table.text().split("\n") == [
        "[nbpeft] three adapters",
        "  name   loss  says",
        "  ────  ─────  ────────────────",
        "  日本    1.5  Arr, it be Paris",
        "",
        "  the rest",
        "  e\u0301     12.25  one",
        "               two",
        "  nothing else",
    ]
    assert table._repr_mimebundle_() == {"text/plain": table.text(), "text/html": table.html()}


def test_no_line_of_a_wide_table_runs_over():
    words, unbroken = "alpha beta " * 80, "語" * 300
    table = Table("wide", ("n", "words", "unbroken"), (("1", words, unbroken),))
    lines = table.text().split("\n")[1:]
    assert max(map(width, lines)) <= 96
    assert lines[2].startswith("  1  alpha beta alpha")
    cells = "".join(line[4:] for line in lines)
    assert cells.count("語") == 300
    assert cells.count("alpha") == 80


def test_html_keeps_numbers_right_and_long_words_in():
    page = Table("t", ("a", "b"), (("1", "x" * 100),), align=("right",)).html()
    assert page.count("text-align: right") == 2
    assert page.count("overflow-wrap: anywhere") == 1
    assert "background" not in page
    assert "mathjax_ignore" in page


def test_html_of_an_empty_header_has_no_head():
    assert "<thead>" not in Table("t", ("", ""), (("a", "b"),)).html()
    assert len(Table("t", ("", ""), (("a", "b"),)).text().split("\n")) == 2


def test_a_ragged_row_is_refused():
    with pytest.raises(ValueError, match="2 cells under 3"):
        Table("t", ("a", "b", "c"), (("1", "2"),))


def test_layout():
    assert width("日本e\u0301👩") == 7
    assert wrapped("aaa bbb ccc", 7) == ["aaa bbb", "ccc"]
    assert wrapped("a\n\nb", 5) == ["a", "", "b"]
    assert wrapped("abcdefgh", 3) == ["abc", "def", "gh"]
    assert wrapped("日本語", 3) == ["日", "本", "語"]
    assert wrapped("日", 1) == ["日"]
    assert column_widths([["a", "b" * 50, "c" * 50]], 41) == [1, 20, 20]
    assert column_widths([], 40) == []


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(1234567), "1,234,567"),
        (percent(0.0123), "0.012%"),
        (percent(8.82), "8.8%"),
        (percent(37.04), "37%"),
        (percent(37.25), "37.2%"),
        (percent(100), "100%"),
        (percent(0), "0%"),
        (percent(1e-9), "<0.0001%"),
        (bytes_size(0), "0 B"),
        (bytes_size(999), "999 B"),
        (bytes_size(3_400_000), "3.4 MB"),
        (bytes_size(999_600), "1.0 MB"),
        (bytes_size(139_000_000_000), "139 GB"),
        (bytes_size(2 * 10**15), "2000 TB"),
        (duration(0.04), "40 ms"),
        (duration(4.21), "4.2 s"),
        (duration(59.97), "1 min 00 s"),
        (duration(200), "3 min 20 s"),
        (duration(3599.7), "1 h 00 min"),
        (duration(3900), "1 h 05 min"),
        (duration(-1), "0 ms"),
        (duration(float("inf")), "?"),
        (nats(1.23449), "1.234"),
        (nats(0), "0.000"),
        (nats(0.0000421), "4.21e-05"),
        (nats(12345.6), "12,300"),
        (nats(float("nan")), "nan"),
    ],
)
def test_numbers(shown, expected):
    assert shown == expected


def plan(settings=(), **changes):
    figures = {
        "name": "pirate", "version": 2, "method": "lora", "objective": "sft", "model": "model",
        "train_rows": 90, "held_out_rows": 10, "tokens": 12_345, "trained_tokens": 4_567,
        "steps": 90, "trainable_parameters": 123_456, "total_parameters": 1_400_000,
        "extra_bytes": 1_234_567, "notes": ("rows are chats",),
    }  # fmt: skip
    return Plan(settings=tuple(settings), **(figures | changes))


def test_the_plan_says_every_figure_and_where_settings_came_from():
    settings = (
        Setting("rank", 16, "line"),
        Setting("target_modules", ["q_proj", "v_proj"], "body"),
        Setting("evil", "<script>\x1b[0m", "call"),
    )
    shown = plan_table(plan(settings)).text()
    for words in (
        "plan for pirate@2: lora, sft, model", "90 to train on, 10 held out", "12,345",
        "4,567 (37%)", "123,456 of 1,400,000 (8.8%)", "1.2 MB", "rows are chats",
    ):  # fmt: skip
        assert words in shown
    assert ["rank", "16", "line"] in [line.split() for line in shown.split("\n")]
    assert ["target_modules", "q_proj,", "v_proj", "body"] in [x.split() for x in shown.split("\n")]
    assert "<script>" not in plan_table(plan(settings)).html()
    assert "\x1b" not in shown


def test_a_plan_without_settings_has_no_heading_for_them():
    assert "default" not in plan_table(plan()).text()
    assert "none held out" in plan_table(plan(held_out_rows=0)).text()


def test_settings_as_text():
    assert setting_text({"b", "a"}) == "a, b"
    assert setting_text(()) == "none"
    assert setting_text(value=None) == "None"
    assert setting_text(1e-4) == "0.0001"
