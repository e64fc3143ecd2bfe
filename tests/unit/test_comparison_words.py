"""What a comparison looks like: the base named, its words told from the others', all inert."""

from __future__ import annotations

import pytest
from test_rendering_text import ACTING, HOSTILE, Tags

from nbpeft.comparison import Comparison, Figures
from nbpeft.comparison.figures import held_out_loss, same_rows
from nbpeft.session.record import Record


@pytest.mark.parametrize("text", HOSTILE)
def test_a_comparison_holds_any_text_anywhere(text):
    comparison = Comparison(
        ("base", text, "other"), (text,), ((text, text + " a", text),), (text,),
        {n: Figures(1.0, 1, 1.0, 1, text, 9.0, 1) for n in ("base", text, "other")}, (text,),
    )  # fmt: skip
    both = comparison._repr_mimebundle_()
    tags = Tags(both["text/html"])
    assert set(tags.names) == {
        "div", "table", "thead", "tbody", "tr", "th", "td", "ins", "i",
    } or set(tags.names) == {"div", "table", "thead", "tbody", "tr", "th", "td", "i"}  # fmt: skip
    assert tags.names.count("table") == 1
    assert not ACTING & set("".join(both.values()))
    assert not any(line.startswith("[nbpeft]") for line in both["text/plain"].split("\n")[1:])


def comparison(**changes):
    values = {
        "columns": ("base", "a", "b"),
        "prompts": ("Who?", "What?"),
        "answers": (("I am", "I am", "I be"), ("one", "two", "one")),
        "figures": {
            "base": Figures(1.5, 12, 1.0, 3, "as loaded", 9.0),
            "a": Figures(0.25, 14, 1.0, 3, "as loaded", 9.0),
            "b": Figures(None, 1234, 2.0, 1, "as loaded", 9.0),
        },
    }
    return Comparison(**(values | changes))


def test_a_comparison_as_text():
    assert comparison().table().text().split("\n") == [
        "[nbpeft] comparison: base, a, b",
        "  prompt         base (no adapter)   a                   b",
        "  ─────────────  ──────────────────  ──────────────────  ──────────────",
        "  Who?           I am                (same as base)      I *be*",
        "  What?          one                 *two*               (same as base)",
        "",
        "  figures",
        "  held-out loss  1.500               0.250",
        "  new tokens     12                  14                  1,234",
        "  time           1.0 s (3 together)  1.0 s (3 together)  2.0 s",
    ]


def test_precision_is_named_only_where_it_differs():
    assert "base weights" not in comparison().table().text()
    figures = comparison().figures | {"b": Figures(None, 1, 1.0, 1, "nf4", 9.0)}
    last = comparison(figures=figures).table().text().split("\n")[-1]
    assert last.split() == ["base", "weights", "as", "loaded", "as", "loaded", "nf4"]


def test_without_the_base_nothing_is_marked():
    text = comparison(columns=("c", "a", "b"), figures={}).table().text()
    assert "*" not in text
    assert "same" not in text


def test_whichever_column_the_base_is_the_others_are_told_from_it():
    text = comparison(columns=("a", "b", "none"), figures={}).table().text()
    assert "none (no adapter)" in text
    assert ["Who?", "I", "*am*", "I", "*am*", "I", "be"] in [x.split() for x in text.split("\n")]


def test_expected_answers_stand_beside():
    table = comparison(expected=("x", "y")).table()
    assert [str(head) for head in table.header[:2]] == ["prompt", "expected"]
    assert [row[1] for row in table.rows if len(row) > 1] == ["x", "y", "", "", ""]
    frame = comparison(expected=("x", "y")).to_pandas()
    assert list(frame.columns) == ["prompt", "expected", "base", "a", "b"]
    assert frame.to_numpy().tolist()[1] == ["What?", "y", "one", "two", "one"]


def record(before=1.5, after=0.5, rows="f", **changes):
    metrics = {"held_out_loss_before": before, "held_out_loss": after}
    metrics = {word: value for word, value in metrics.items() if value is not None}
    values = {"objective": "sft", "metrics": metrics, "data": {"fingerprint": rows}} | changes
    return Record("n", 1, "lora", model="m", trainable_parameters=1, total_parameters=1, **values)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([record(), record(1.5001)], 1.5),
        ([record(), record(2.0)], None),
        ([record(), record(rows="other")], None),
        ([record(), record(0.5, parent="n@1")], 1.5),
        ([record(0.5, parent="n@1")], None),
        ([record(), record(None)], None),
        ([record(), record(objective="dpo")], None),
        ([], None),
    ],
)
def test_the_base_has_a_loss_where_all_runs_agree_on_it(others, expected):
    assert held_out_loss(None, others) == expected


def test_an_adapter_s_loss_is_its_own():
    assert held_out_loss(record(after=0.25), [record(rows="other")]) == 0.25
    assert held_out_loss(record(after=None), []) is None
    assert same_rows([record(), record()])
    assert not same_rows([record(), record(rows="other")])
