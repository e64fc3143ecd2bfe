"""What users type: a line, a YAML body, Python keywords, and the types that they come to."""

import enum
from typing import Literal

import pytest
from test_errors import HOSTILE, refusal

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError
from nbpeft.request import Request, options
from nbpeft.typed import from_call, from_cell, known_words, read_prompts, read_yaml, split_line


class Schedule(enum.Enum):
    COSINE = "cosine"


def request(line, body=""):
    return from_cell(line, body)[0]


def refused(call, *args, **words):
    return refusal(call, *args, kind=RequestError, **words)


# The line


def test_a_line_with_name_data_and_flags():
    asked = request("pirate --data rows --rank 8 --learning-rate=1e-3 --attach --eval 0.2")
    assert asked == Request(
        "pirate", data="rows", rank=8, learning_rate=0.001, attach=True, eval=0.2
    )
    assert set(asked.origins.values()) == {"line"}


@pytest.mark.parametrize(
    "line",
    [
        "--max-steps 5 --dry-run pirate",
        "pirate --max_steps 5 --dry_run",
        "--dry-run pirate --max-steps=5",
        "--name pirate --max-steps '5' --dry-run=true",
    ],
)
def test_dashes_or_underscores_and_any_order(line):
    assert request(line) == Request("pirate", max_steps=5, dry_run=True)


@pytest.mark.parametrize("body", ["use-dora: true", "use_dora: true"])
def test_a_field_of_a_library_goes_by_its_own_name_dashed_or_not(body):
    assert request("pirate", body).fields == {"use_dora": True}
    assert request("pirate --use-dora true").fields == {"use_dora": True}


def test_from_is_a_word_on_the_line_in_the_body_and_in_python():
    asked = Request("new", from_="old@2")
    assert request("new --from old@2") == asked
    assert request("new", "from: old@2") == asked
    assert from_call("new", {"from_": "old@2"}) == asked


@pytest.mark.parametrize("text", ["a #b.jsonl", "a: b", "1.10", "007", "[x].csv", "*.csv", "null"])
def test_a_text_on_the_line_is_taken_as_it_stands(text):
    assert request(f"pirate --data '{text}'").data == text


@pytest.mark.parametrize(
    "value", ["q_proj,v_proj", "[q_proj,v_proj]", "'q_proj, v_proj'", "'[q_proj, v_proj]'"]
)
def test_a_list_on_the_line(value):
    assert request(f"pirate --target-modules {value}").target_modules == ["q_proj", "v_proj"]


def test_a_mapping_on_the_line_or_in_the_body():
    columns = {"prompt": "question", "completion": "answer"}
    assert request("p --columns prompt=question,completion=answer").columns == columns
    assert request("p", "columns: {prompt: question, completion: answer}").columns == columns


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("a b --data x", ["'a'", "'b'"]),
        (f"{'n' * 60} " * 1000, ["'nnn", "1000"]),
        ("--data x", ["NAME"]),
        ("", ["NAME"]),
        ("p --rank", ["--rank"]),
        ("--help", ["%%finetune?"]),
        ("-h", ["%%finetune?"]),
        ("p --data rows --help", ["%%finetune?"]),
        ("p -data rows", ["'-data'", "Did you mean --data?"]),
        ("p \N{EM DASH}data rows", ["Did you mean --data?"]),
        ("p --rank 8 --rank 9", ["--rank", "twice"]),
        ("p --max-steps 8 --max_steps 9", ["--max-steps", "twice"]),
        ("p --from a --from b", ["'--from'", "twice"]),
        ("p --name q", ["name", "'p'", "'q'"]),
        ("p --data 'x", ["quotation", "p --data"]),
        ("p --attach false", ["'false'"]),
        (f"p --{'x' * 5000}", ["--xxx"]),
        ("p --rank --alpha", ["rank", "'--alpha'", "whole number"]),
    ],
)
def test_a_line_that_cannot_be(line, names):
    message = refused(request, line)
    assert [name for name in names if name not in message] == []


def test_python_keywords_that_are_none_are_not_given():
    words = {"rank": None, "epochs": 2, "warmup_steps": None}
    assert from_call("p", words) == Request("p", epochs=2)
    assert from_call("p", {"epochs": 2}).origins == {"name": "call", "epochs": "call"}


@pytest.mark.parametrize("name", [None, ["a"], {"a": 1}])
def test_python_wants_a_text_as_name(name):
    assert "name" in refused(from_call, name, {})


# The body


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-2e-4", -0.0002),
        (".5", 0.5),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("NULL", None),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("2024-13-45", "2024-13-45"),
        ("=", "="),
        ("'1e-3'", "1e-3"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_a_body_is_yaml_1_2_core(typed, value):
    found = read_yaml(f"key: {typed}")["key"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("body", ["", "  \n\n", "# a comment\n", "---\n", "null"])
def test_a_body_without_words(body):
    assert read_yaml(body) == {}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("a: &x 1\nb: *x", "alias"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "alias"),
        ("rank: 1\nrank: 2", '"rank"'),
        ("a: {b: 1, b: 2}", '"b"'),
        ("a: [1", "line 1"),
        ("ok: 1\na: b: c", "line 2"),
        ("\ta: 1", "line 1"),
        ("a: 1\n---\nb: 2", "line 2"),
        ("a: !!python/object/apply:os.system ['exit 1']", "python/object"),
        ("a: !mine x", "!mine"),
        ("a: !!int x", "YAML"),
        ("a: \x01", "YAML"),
        (f"a: {'9' * 5000}", "YAML"),
        (f"a: {'[' * 500}{']' * 500}", "flatter"),
        (f"? {'x' * 50_000}\n: 1\n? {'x' * 50_000}\n: 2", "xxx"),
        ("- 1\n- 2", "key: value"),
        ("just a sentence", "'just a sentence'"),
        ("1: 2", "key: value"),
        ("? [a, b]\n: 1", "key: value"),
    ],
)
def test_a_body_that_cannot_be(body, says):
    assert says in refused(read_yaml, body)


def test_line_and_body_make_one_request_that_knows_where_each_word_came_from():
    asked = request("pirate --rank 8", "learning_rate: 1e-3\nwarmup_steps: 5")
    assert asked == Request("pirate", rank=8, learning_rate=0.001, fields={"warmup_steps": 5})
    assert asked.origins == {
        "name": "line", "rank": "line", "learning_rate": "body", "warmup_steps": "body"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "body", "word"),
    [
        ("p --learning-rate 1", "learning_rate: 2", "'learning_rate'"),
        ("p --max_steps 1", "max-steps: 1", "'max_steps'"),
        ("p", "max-steps: 1\nmax_steps: 1", "'max_steps'"),
        ("p --from a", "from: b", "'from'"),
        ("p", "name: q", "'name'"),
        ("p --use-dora true", "use_dora: false", "'use_dora'"),
        ("p --data x", "data: [{prompt: a, completion: b}]", "'data'"),
        ("p --data x", "data: y", "'data'"),
    ],
)
def test_a_word_on_the_line_and_in_the_body_is_refused(line, body, word):
    message = refused(request, line, body)
    assert word in message
    assert "twice" in message


def test_rows_in_the_body_are_the_data_and_no_part_of_the_request():
    body = "rank: 4\ndata:\n- prompt: when\n  completion: 2024-01-01\n- {prompt: b, completion: no}"
    asked, rows = from_cell("p", body)
    assert rows == [
        {"prompt": "when", "completion": "2024-01-01"},
        {"prompt": "b", "completion": "no"},
    ]
    assert asked == Request("p", rank=4)
    assert from_cell("p", "data: rows") == (Request("p", data="rows"), None)


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_whatever_is_given_in_python_is_refused_on_one_line(value):
    message = refused(from_call, "p", {"epochs": value, "rank": value} if value else {"rank": ""})
    assert "number" in message


@pytest.mark.parametrize(
    "asked",
    [
        request("p --data rows --rank 8 --from q@2 --attach --columns prompt=a,completion=b"),
        request("p", "eval: 0.2\ntarget_modules: [q_proj]\nwarmup_steps: 3"),
        Request("p"),
    ],
)
def test_a_request_is_the_same_after_json(asked):
    assert Request.from_dict(asked.to_dict()) == asked


def test_a_request_keeps_only_what_was_asked():
    assert request("p --from q --rank 8", "warmup_steps: 3").to_dict() == {
        "name": "p", "from": "q", "rank": 8, "fields": {"warmup_steps": 3}
    }  # fmt: skip


# Flags of the other magics, and prompts


def test_the_line_of_a_magic_with_flags_of_its_own():
    line = "base 'my adapter' --none --max-new-tokens 5 --model=m"
    assert split_line(line, flags=frozenset({"none"})) == (
        {"none": True, "max_new_tokens": 5, "model": "m"},
        ["base", "my adapter"],
    )


def test_a_flag_that_a_magic_lacks_gives_the_nearest():
    known_words({"model": "m"}, {"model", "max_new_tokens"}, "%peft_attach")
    message = refused(known_words, {"max_new_token": 1}, {"model", "max_new_tokens"}, "%%x")
    assert "--max-new-token'" in message
    assert "Did you mean --max-new-tokens?" in message
    assert "--model" in message
    refused(known_words, {"x" * 5000: 1}, {"model"}, "%%x")
    assert "%%x?" in refused(known_words, split_line("a --help")[0], {"model"}, "%%x")


def test_prompts_are_lines_or_a_yaml_list_of_texts_and_chats():
    assert read_prompts("one\n\n  two: 2 # kept \n") == ["one", "two: 2 # kept"]
    body = "- |\n  two\n  lines\n- - {role: user, content: hi}\n"
    assert read_prompts(body) == ["two\nlines\n", [{"role": "user", "content": "hi"}]]
    assert read_prompts("\n") == []


@pytest.mark.parametrize("body", ["- 5", "- {role: user}", "- [a, b]", "- [{role: user}]", "- [a"])
def test_prompts_that_cannot_be(body):
    refused(read_prompts, body)


# Types

MODULES = list[str] | str | None


@pytest.mark.parametrize(
    ("value", "hint", "becomes"),
    [
        (8.0, int, 8),
        (2, float, 2.0),
        (1e-3, float | None, 0.001),
        (None, float | None, None),
        (5, str, "5"),
        (3, float | int | str | None, 3),
        (0.1, float | int | str | None, 0.1),
        ("rows", float | int | str | None, "rows"),
        (True, bool, True),
        ("all-linear", MODULES, "all-linear"),
        ("q_proj,v_proj", MODULES, ["q_proj", "v_proj"]),
        (r".*\.(q|v)_proj", MODULES, r".*\.(q|v)_proj"),
        (r"layers\.(0|1),x", MODULES, r"layers\.(0|1),x"),
        (("q_proj",), MODULES, ["q_proj"]),
        ("lm_head", list[str] | None, ["lm_head"]),
        ("a, b", list[str], ["a", "b"]),
        ([1.0, 2], list[int] | int | None, [1, 2]),
        ("1, 2", list[int] | int | None, [1, 2]),
        ("1,2.5", list[float], [1.0, 2.5]),
        ("1,2", list[str] | str, ["1", "2"]),
        (3, list[int] | int | None, 3),
        ("a=b, c=d", dict[str, str] | None, {"a": "b", "c": "d"}),
        ({"a": 1}, dict | str | None, {"a": 1}),
        ("config.json", dict | str | None, "config.json"),
        (False, bool | Literal["gaussian", "eva"], False),
        ("eva", bool | Literal["gaussian", "eva"], "eva"),
        ("pissa_niter_4", bool | Literal["pissa", "pissa_niter_[number]"], "pissa_niter_4"),
        ("cosine", Schedule | str, Schedule.COSINE),
        (object, type[object], object),
    ],
)
def test_a_value_becomes_what_the_field_is(value, hint, becomes):
    found = coerce("word", value, hint)
    assert (found, type(found)) == (becomes, type(becomes))


@pytest.mark.parametrize(
    ("value", "hint", "says"),
    [
        (8.5, int, "whole number"),
        ("8", int, "whole number"),
        (True, int, "whole number"),
        (float("inf"), int, "whole number"),
        (float("nan"), int, "whole number"),
        ("fast", float | None, "a number"),
        (True, float, "a number"),
        (10**400, float, "a number"),
        (None, float, "a number"),
        ("yes", bool, "true or false"),
        (1, bool, "true or false"),
        ([1], str, "a text"),
        (["a", {}], list[str], "a list"),
        ("1,x", list[int], "a list"),
        ("1,2.5", list[int], "a list"),
        (["ab", "cd"], dict[str, str], "a mapping"),
        ("no pairs", dict[str, str], "a mapping"),
        ("nun", Literal["none", "all"], "none, all"),
        ("pissa_iter_4", Literal["pissa", "pissa_niter_[number]"], "pissa_niter_[number]"),
        (7, bool | Literal["gaussian", "eva"], "true or false or gaussian, eva"),
        ("cosin", Schedule, "Did you mean cosine?"),
        ("cosin", Schedule | str, "must be cosine"),
        ("non", bool | Literal["none", "all"], "Did you mean none?"),
        ("tru", bool, "Did you mean true?"),
    ],
)
def test_a_value_that_cannot_become_it(value, hint, says):
    message = refused(coerce, "the_word", value, hint)
    assert "the_word" in message
    assert says in message


@pytest.mark.parametrize(
    "option", [o for o in options() if o.name != "name"], ids=lambda option: option.name
)
def test_every_declared_option_can_be_typed(option):
    """A value that fits none of its kinds is refused, so the word is known and has a type."""
    assert option.metadata["help"]
    word = option.name.rstrip("_")
    value = "[[{}]]" if word == "columns" else "{a: b}"
    assert word in refused(request, "p", f"{word}: {value}")
