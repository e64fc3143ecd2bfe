"""The file of ratings: back after a restart, whole whatever happened, and rows to train on."""

import json
import os

import datasets
import pytest

from nbpeft.data import read
from nbpeft.errors import DataError
from nbpeft.rating import book as book_
from nbpeft.rating.book import Book
from nbpeft.rating.deck import Answer, Card, Rated
from nbpeft.rating.ratings import Ratings

CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]


def rated(prompt="Hi", scores=(1.0, 0.0), seed=None, adapters=None):
    answers = (
        Answer(f"{prompt[:9]} {i}", (adapters or {}).get(i, (f"a{i}",))) for i in range(len(scores))
    )
    return Rated(Card(prompt, tuple(answers), seed), "rated", scores)


@pytest.fixture
def book(working_folder):
    return Book(working_folder / "ratings", "mine")


def again(book):
    return Book(book.path.parent, "mine")


def test_rows_are_in_the_list_and_after_a_restart(book):
    held = book.ratings
    book.add(rated("Hi"))
    book.add(rated("Où?\n\u2028", (0.5, 0.0, 1.0), seed=7))
    assert held is book.ratings
    assert [row["score"] for row in held] == [1, 0, 0.5, 0, 1]
    assert len({row["group"] for row in held}) == 2
    assert again(book).ratings == held
    assert {key: held[3][key] for key in ("prompt", "completion", "adapter", "seed")} == {
        "prompt": "Où?\n\u2028",
        "completion": "Où?\n\u2028 1",
        "adapter": "a1",
        "seed": 7,
    }


def test_the_file_is_data_by_itself(book):
    book.add(rated("Hi"))
    book.add(rated("Bye\n\u2028"))
    dataset = read(str(book.path), {}).dataset
    assert dataset["prompt"] == ["Hi", "Hi", "Bye\n\u2028", "Bye\n\u2028"]
    assert dataset["score"] == [1, 0, 1, 0]


def test_the_variable_is_data(book):
    book.add(rated("Hi"))
    dataset = read("mine", {"mine": book.ratings}).dataset
    assert isinstance(dataset, datasets.Dataset)
    assert dataset["completion"] == ["Hi 0", "Hi 1"]


def test_a_card_is_dropped_whole(book):
    book.add(rated("Hi"))
    group = book.add(rated("Bye"))
    another = again(book)  # another kernel's, which rates meanwhile
    another.add(rated("What?"))
    book.drop(group)
    for one in (book, again(book)):  # the variable follows the file
        assert [row["prompt"] for row in one.ratings] == ["Hi", "Hi", "What?", "What?"]
    assert [path.name for path in book.path.parent.iterdir() if "lock" not in path.name] == [
        "mine.jsonl"
    ]


@pytest.mark.parametrize("left", [b'{"prompt": "Hi", "compl', b"{", "é".encode()[:1]])
def test_a_line_that_was_left_half_written_is_cut_off(book, left):
    book.add(rated("Hi"))
    with book.path.open("ab") as file:
        file.write(left)
    assert again(book).ratings == book.ratings
    again(book).add(rated("Bye"))
    lines = book.path.read_bytes().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == ["Hi", "Hi", "Bye", "Bye"]


@pytest.mark.parametrize("line", ["{}", "[1]", "7", "{", '{"prompt": "Hi"}'])
def test_a_line_that_is_no_rating_is_named(book, line):
    book.add(rated("Hi"))
    text = book.path.read_text()
    book.path.write_text(f"{text}{line}\n")
    with pytest.raises(DataError, match="Line 3 of ") as refused:
        again(book)
    assert "\n" not in str(refused.value)
    assert book.path.read_text() == f"{text}{line}\n"


@pytest.mark.parametrize("place", ["folder", "file"])
def test_nothing_is_written_through_a_link(working_folder, place):
    away = working_folder / "away"
    away.mkdir()
    folder = working_folder / "ratings"
    if place == "folder":
        folder.symlink_to(away)
    else:
        folder.mkdir()
        (folder / "mine.jsonl").symlink_to(away / "x")
    with pytest.raises(DataError, match="is a link"):
        Book(folder, "mine")


def test_a_disk_that_is_full_keeps_what_was_there(book, monkeypatch):
    book.add(rated("Hi"))
    before = book.path.read_bytes()

    def full(handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(book_.os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device") as refused:
        book.add(rated("Bye"))
    assert "\n" not in str(refused.value)
    with pytest.raises(DataError):
        book.drop(book.ratings[0]["group"])
    assert book.path.read_bytes() == before
    assert [row["prompt"] for row in book.ratings] == ["Hi", "Hi"]


def test_nothing_is_made_before_something_is_rated(working_folder, book):
    assert book.ratings == []
    assert list(working_folder.iterdir()) == []


# As rows to train on


def test_preferences_are_every_two_that_differ(book):
    book.add(rated("Hi", (0.5, 0.0, 1.0)))
    book.add(rated("Bad", (0.0, 0.0)))
    book.add(rated("Hi", (0.75,)))  # a card of its own: its mark isn't measured against others'
    assert book.ratings.preferences() == [
        {"prompt": "Hi", "chosen": "Hi 0", "rejected": "Hi 1"},
        {"prompt": "Hi", "chosen": "Hi 2", "rejected": "Hi 0"},
        {"prompt": "Hi", "chosen": "Hi 2", "rejected": "Hi 1"},
    ]


def test_thumbs_leave_the_middle_out(book):
    book.add(rated("Hi", (0.5, 0.0, 1.0)))
    book.add(rated("Bad", (0.0, 0.0)))
    book.add(rated("M", (0.75,)))
    assert [(row["completion"], row["label"]) for row in book.ratings.thumbs()] == [
        ("Hi 1", False), ("Hi 2", True), ("Bad 0", False), ("Bad 1", False), ("M 0", True),
    ]  # fmt: skip
    assert set(book.ratings.thumbs()[0]) == {"prompt", "completion", "label"}


def test_what_two_adapters_wrote_alike_counts_once(book):
    book.add(rated("Hi", adapters={0: ("a0", "base")}))
    assert [row["adapter"] for row in book.ratings] == ["a0", "base", "a1"]
    assert len(book.ratings.preferences()) == 1
    assert len(book.ratings.thumbs()) == 2


def test_texts_and_chats_become_chats(book):
    """Arrow holds one kind in a column."""
    book.add(rated("Hi"))
    book.add(rated(CHAT))
    for ratings in (book.ratings, again(book).ratings):
        assert ratings[0]["prompt"] == [{"role": "user", "content": "Hi"}]
        assert ratings[0]["completion"] == [{"role": "assistant", "content": "Hi 0"}]
        assert ratings[2]["prompt"] == CHAT
        for rows in (ratings, ratings.preferences(), ratings.thumbs()):
            assert len(read("x", {"x": rows}).dataset) == len(rows)
    group = book.ratings[-1]["group"]
    book.drop(group)
    assert book.ratings[0]["prompt"] == "Hi"


def test_ratings_are_a_list():
    assert Ratings([{"prompt": "Hi"}]) == [{"prompt": "Hi"}]
