"""The widgets of a rating: what they show, what a click and a key do, and when answers are written.

Without a frontend: the widgets are looked at as the kernel holds them. JupyterLab's own are in
tests/browser.
"""

import html.parser

import pytest

from nbpeft.errors import AdapterError, RequestError
from nbpeft.rating import view as view_
from nbpeft.rating.book import Book
from nbpeft.rating.deck import Answer, Card
from nbpeft.rating.rating import AHEAD, Rating
from nbpeft.rating.request import RateRequest
from nbpeft.rating.turns import draw

EVIL = "<script>alert(1)</script></div>\x1b[31m\u202e"


class Writer:
    """Writes two answers; nothing that is typed into `fails` comes of a model."""

    def __init__(self):
        self.asked = []
        self.fails = None

    def card(self, turn):
        self.asked.append(turn.prompt)
        if self.fails is not None:
            raise self.fails
        if turn.prompt == "alike":
            return None
        names = ("base", f"<b>{turn.number}@1")
        texts = [f"{turn.prompt} {EVIL} {i}" for i in range(turn.answers)]
        answers = (Answer(text, (name,)) for text, name in zip(texts, names, strict=False))
        return Card(turn.prompt, tuple(answers), turn.seed)


@pytest.fixture
def start(working_folder, monkeypatch):
    shown, updated, jobs, writer = [], [], [], Writer()
    monkeypatch.setattr(view_, "display", lambda bundle, **_: shown.append(bundle))
    monkeypatch.setattr(view_, "update_display", lambda bundle, **_: updated.append(bundle))

    def started(prompts, **words):
        request = RateRequest.of(["a", "b"], words)
        book = Book(working_folder / "ratings", request.into)
        rating = Rating(request, draw(request, ["a", "b"], prompts), writer, book)
        view = view_.View(rating, jobs.append)
        view.show()
        return view

    started.shown, started.updated, started.jobs, started.writer = shown, updated, jobs, writer

    def idle():
        while jobs:
            jobs.pop(0)()

    started.idle = idle
    return started


def texts(view):
    return [widget.value for widget in (view._head, view._prompt, *view._answers, view._note)]


def tags(page):
    found = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append(tag)

    Reader().feed(page)
    return set(found)


def test_answers_are_written_ahead_one_at_a_time(start):
    view = start([f"p{i}" for i in range(9)])
    assert start.writer.asked == []  # not while the cell runs
    assert len(start.jobs) == 1
    assert "being written" in view._prompt.value
    start.jobs.pop()()
    assert start.writer.asked == ["p0"]
    assert len(start.jobs) == 1
    start.idle()
    assert len(start.writer.asked) == AHEAD
    view.press("1")
    start.idle()
    assert len(start.writer.asked) == AHEAD + 1
    view.rating.finish()
    start.idle()
    assert len(start.writer.asked) == AHEAD + 1


def test_every_text_is_escaped_and_nobody_is_named(start):
    view = start([EVIL])
    start.idle()
    for page in texts(view):
        assert tags(page) <= {"div", "b", "span"}
        assert "@1" not in page
        assert "base" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert "&lt;script&gt;" in view._prompt.value
    view.press("1")
    closing = start.updated[-1]
    assert tags(closing["text/html"]) <= {"div", "table", "thead", "tbody", "tr", "th", "td"}
    assert "&lt;b&gt;0@1" in closing["text/html"]


def test_whoever_opens_the_notebook_later_reads_how_far_it_was(start):
    view = start(["Hi", "Bye", "So?"])
    line, widget = start.shown
    assert set(line) == {"text/plain"}
    assert "0 rated; in ratings/ratings.jsonl" in line["text/plain"]
    assert set(widget) == {view_.MIME, "text/plain"}
    assert "run the cell again" in widget["text/plain"]
    start.idle()
    assert start.updated == []
    view.press("b")
    view.press("s")
    texts = [bundle["text/plain"].partition(";")[0] for bundle in start.updated]
    assert texts == [
        "[nbpeft] ratings: 1 rated, 1 of them all bad",
        "[nbpeft] ratings: 1 rated, 1 of them all bad, 1 skipped",
    ]


def test_the_closing_table_takes_the_widget_s_place(start):
    view = start(["Hi", "Bye", "alike"])
    start.idle()
    view.press("1")
    view.press("s")
    _, line, closing = start.updated
    assert line == {"text/plain": "[nbpeft] ratings: the rating is done."}
    assert set(closing) == {"text/plain", "text/html"}
    assert "1 rated, 1 skipped" in closing["text/plain"]
    assert "1 of 3 prompts were left out" in closing["text/plain"]
    assert view.box.children[0].value == closing["text/html"]


def test_keys_that_are_typed_count_once(start):
    view = start([f"p{i}" for i in range(9)])
    start.idle()
    view.keys.value = "1"
    view.keys.value = "1S"
    view.keys.value = "1Sx7 2"
    outcomes = [rated.outcome for rated in view.rating.deck.done]
    assert outcomes == ["rated", "skipped", "rated"]
    view.keys.value = "1Sx7 "  # corrected in the box: nothing is pressed
    view.keys.value = "1Sx7 u"
    assert len(view.rating.deck.done) == 2
    view.keys.value = "1Sx7 uf"
    assert view.rating.done


def test_buttons_that_do_nothing_are_off(start):
    view = start(["Hi", "Bye"])
    assert {key for key, button in view.buttons.items() if not button.disabled} == {"f"}
    start.idle()
    assert view.buttons["u"].disabled
    view.buttons["b"].click()
    assert not view.buttons["u"].disabled
    assert [row["score"] for row in view.rating.ratings] == [0, 0]
    view.buttons["u"].click()
    assert view.rating.ratings == []


def test_a_rating_that_cannot_be_kept_is_said_and_is_none(start, monkeypatch):
    view = start(["Hi", "Bye"])
    start.idle()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("nbpeft.rating.book._append", full)
        view.press("1")
        assert "No space left on device" in view._note.value
        assert view.rating.deck.card.prompt == "Hi"
    view.press("1")
    assert view._note.value == ""
    with monkeypatch.context() as patched:
        patched.setattr("nbpeft.rating.book._replace", full)
        view.press("u")
        assert view.rating.deck.card.prompt == "Bye"
        assert len(view.rating.ratings) == 2


@pytest.mark.parametrize(
    ("error", "says"),
    [(AdapterError("There is no adapter 'a'."), "no adapter"), (MemoryError("oh"), "MemoryError")],
)
def test_what_goes_wrong_between_cells_is_told_at_the_end(start, error, says):
    view = start(["Hi", "Bye", "So?"])
    start.jobs.pop(0)()
    start.writer.fails = error
    start.idle()
    assert len(start.writer.asked) == 2
    assert not view.rating.done  # the card that is ready can be rated
    view.press("1")
    assert says in start.updated[-1]["text/plain"]
    assert len(view.rating.ratings) == 2


def test_a_key_by_hand_writes_what_it_needs_and_says_what_it_cannot(start):
    rating = start(["Hi", "Bye"]).rating
    rating.press("1")
    rating.press("2")
    assert [row["score"] for row in rating.ratings] == [1, 0, 0, 1]
    with pytest.raises(RequestError, match="the keys are: none"):
        rating.press("1")
    assert rating.done


def test_two_outputs_of_one_rating_show_the_same(start):
    rating = start(["Hi", "Bye"]).rating
    other = view_.View(rating, start.jobs.append)
    other.show()
    start.idle()
    other.press("1")
    assert "prompt 2 of 2" in other._head.value
    other.press("1")
    assert len([bundle for bundle in start.updated if "text/html" in bundle]) == 2
