"""Marked words: where they differ, how that looks, and nothing hostile in them works."""

from __future__ import annotations

import pytest
from test_rendering_text import ACTING, HOSTILE, Tags

from nbpeft.rendering import Marked, Span, Table, differences, light


def shown(text, reference):
    return differences(text, reference).plain()


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("Arr, it be Paris", "It is Paris", "*Arr, it be* Paris"),
        ("I am a tiny model, matey!", "I am a tiny model.", "I am a tiny model*, matey!*"),
        ("one two", "one two three", "one two"),
        ("one\n two", "one two", "one\n two"),
        ("", "one", ""),
        ("one", "", "*one*"),
        ("東京は首都", "京都は首都", "*東*京は首都"),
        ("the the the", "the", "the *the the*"),
        ("naïve café", "naive café", "*naïve* café"),
    ],
)
def test_words_that_the_reference_lacks_are_marked(text, reference, expected):
    assert shown(text, reference) == expected
    assert str(differences(text, reference)) == text


def test_a_long_answer_is_compared_as_far_as_it_is_shown():
    text = "x" * 10 + " " + "y " * 1_000_000
    cell = differences(text, "x" * 10)
    assert str(cell) == text
    assert cell.plain(15) == "x" * 10 + " *y y *… (1,999,996 more characters)"
    assert len(cell.html()) < 3_000


@pytest.mark.parametrize("text", HOSTILE)
def test_marked_text_is_inert(text):
    for cell in (differences(text, "a"), differences("a " + text, text), light(text)):
        tags = Tags(f"<p>{cell.html()}</p>")
        assert set(tags.names) <= {"p", "ins", "i"}
        assert {name for name, _ in tags.attributes} <= {"style"}
        assert not ACTING & set(cell.html() + cell.plain())
        cell.html().encode("utf-8")


def test_marks_in_a_table():
    cell = Marked((Span("a "), Span("b<", "strong"), Span(" c")))
    table = Table("t", ("one",), ((cell,),))
    assert "a *b<* c" in table.text()
    page = table.html()
    assert "a <ins " in page
    assert ">b&lt;</ins> c" in page
    assert "background" not in page
    with pytest.raises(ValueError, match="2 cells"):
        Table("t", ("one",), ((cell, cell),))
