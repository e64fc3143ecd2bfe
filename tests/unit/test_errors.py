"""Errors: one line, short, whatever was given; shown without a traceback, and Run All stops."""

import pytest
from shells import new_shell

from nbpeft.errors import (
    AdapterError,
    DataError,
    ModelError,
    NbPeftError,
    RequestError,
    RunError,
    Stopped,
    did_you_mean,
    listed,
    quoted,
)

HOSTILE = {
    "newline": "a\nb\r\nc",
    "control": "a\x00\x1b[31mb\x07",
    "bidi": "a\u202eb\u2028c",
    "megabyte": "x" * 1_000_000,
    "megabyte-of-control": "\x00" * 1_000_000,
    "list": ["a\nb"] * 1000,
    "bytes": b"\x00" * 1000,
    "html": "<script>alert(1)</script>",
    "none": None,
    "empty": "",
}


def refusal(call, *args, kind=NbPeftError, **words):
    """The message that `call` refuses with: one line that fits on a screen."""
    with pytest.raises(kind) as caught:
        call(*args, **words)
    message = str(caught.value)
    assert message.isprintable()  # no newline, no control character, no direction mark
    assert 20 < len(message) < 600
    return message


@pytest.fixture
def shell():
    return new_shell()


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_value_is_quoted_on_one_short_line(value):
    shown = quoted(value)
    assert shown.isprintable()
    assert len(shown) <= 63
    assert (shown[0], shown[-1]) == ("'", "'")


def test_what_fits_is_quoted_whole_and_what_does_not_says_so():
    assert quoted("x" * 60) == f"'{'x' * 60}'"
    assert quoted("x" * 61) == f"'{'x' * 60}…'"
    assert quoted("crème 日本") == "'crème 日本'"
    assert quoted("a\nb") == r"'a\nb'"


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("lora_alhpa", "lora_alpha"),
        ("RANK", "rank"),
        ("learnin_rate", "learning_rate"),
        ("lr", "learning_rate"),
        ("LR", "learning_rate"),
        ("learn", "learning_rate"),
        ("lora", "lora_alpha"),
    ],
)
def test_the_nearest_name_is_offered(word, near):
    known = ["rank", "lora_alpha", "learning_rate"]
    assert f"Did you mean {near}?" in did_you_mean(word, known)


def test_nothing_is_offered_when_nothing_is_near():
    for word in ("zzz", "", "x", "x" * 1_000_000):
        assert did_you_mean(word, ["rank", "alpha"]) == ""


def test_names_are_printable_and_short_in_messages():
    hostile = "ans\nwer\u202e" + "x" * 1000
    for shown in (did_you_mean(hostile[:20], [hostile[:21]]), listed([hostile])):
        assert shown
        assert shown.isprintable()
        assert len(shown) < 200


def test_a_long_list_is_cut_and_an_empty_one_says_none():
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == "none"
    many = listed(f"n{i}" for i in range(40))
    assert "n11" in many
    assert "n12" not in many
    assert "40 in all" in many


@pytest.mark.parametrize(
    "kind", [NbPeftError, RequestError, DataError, ModelError, AdapterError, RunError, Stopped]
)
def test_rendered_as_its_name_and_message_only(kind):
    assert kind("what was given")._render_traceback_() == [f"{kind.__name__}: what was given"]


@pytest.mark.parametrize("kind", ["DataError", "AdapterError", "Stopped"])
def test_a_cell_that_raises_shows_one_line_and_fails(shell, capsys, kind):
    done = shell.run_cell(
        f"from nbpeft.errors import {kind}\n"
        "def deep(n):\n"
        f"    raise {kind}('row 3: what to type') if n == 0 else deep(n - 1)\n"
        "deep(5)"
    )
    printed = capsys.readouterr()
    assert (printed.out + printed.err).splitlines() == [f"{kind}: row 3: what to type"]
    assert done.success is False  # what Run All stops at
    assert type(done.error_in_exec).__name__ == kind


def test_another_error_keeps_its_traceback(shell, capsys):
    shell.run_cell("1 / 0")
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_except_exception_does_not_swallow_stop(shell):
    done = shell.run_cell(
        "from nbpeft.errors import Stopped\n"
        "try:\n    raise Stopped('stopped after step 3')\nexcept Exception:\n    pass"
    )
    assert isinstance(done.error_in_exec, KeyboardInterrupt)
