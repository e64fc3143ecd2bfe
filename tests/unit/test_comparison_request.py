"""What `%peft_compare` can be asked for: typed words, and the help that is made from them."""

from __future__ import annotations

import pytest

from nbpeft.comparison.questions import questions
from nbpeft.comparison.request import CompareRequest, compare_options
from nbpeft.errors import RequestError
from nbpeft.magics.compare import FLAGS, TEXTS, peft_compare
from nbpeft.typed import split_line


def of_line(line):
    return CompareRequest.of(split_line(line, flags=FLAGS, texts=TEXTS)[0])


def test_a_line_as_a_request():
    asked = of_line("a --data d.csv --columns prompt=q,completion=a --rows 0,5,9 --sample --seed 3")
    assert asked == CompareRequest(
        data="d.csv",
        columns={"prompt": "q", "completion": "a"},
        rows=[0, 5, 9],
        sample=True,
        seed=3,
    )
    assert of_line("--rows 7").rows == [7]
    assert of_line("--rows [7,8] --max-new-tokens 9") == CompareRequest(
        rows=[7, 8], max_new_tokens=9
    )
    prompted = of_line("base --shots 3 --system 'Answer: no' --think")
    assert prompted == CompareRequest(shots=3, system="Answer: no", think=True)
    assert of_line("base") == CompareRequest.of({"rows": None, "data": None}) == CompareRequest()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--rows x", "'x'"),
        ("--rows 1,2 --count 3", "give one"),
        ("--count 0", "count must be at least 1"),
        ("--max-new-tokens -1", "max_new_tokens must be at least 1"),
        ("--max-new-tokens x", "whole number"),
        ("--sampel", "value"),
        ("--sampel yes", "Did you mean --sample"),
        ("--columns q", "mapping"),
        ("--shots 0", "shots must be at least 1"),
        ("--shots few", "whole number"),
        ("--system ' '", "system is empty"),
        ("--system", "wants a value"),
    ],
)
def test_a_mistyped_line_is_refused_in_one_line(line, says):
    with pytest.raises(RequestError, match=says) as refused:
        of_line(line)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("line", ["--rows 1", "--count 1", "--columns prompt=q"])
def test_options_of_data_want_data(line):
    with pytest.raises(RequestError, match="--data"):
        questions(of_line(line), ["Hi"], None, {})
    with pytest.raises(RequestError, match="keep one"):
        questions(of_line(f"{line} --data rows"), ["Hi"], None, {})


def test_beside_prompts_data_is_for_shots():
    given = questions(of_line("--shots 2 --data rows --columns prompt=q"), ["Hi"], None, {})
    assert given == (["Hi"], None)
    with pytest.raises(RequestError, match="rows says which rows are asked"):
        questions(of_line("--shots 2 --data rows --rows 1"), ["Hi"], None, {})


def test_help_has_every_option_once():
    lines = peft_compare.__doc__.splitlines()
    words = " ".join(peft_compare.__doc__.split())
    for option in compare_options():
        flag = f"  --{option.name.replace('_', '-')} "
        (line,) = [line for line in lines if line.startswith(flag)]
        assert option.metadata["shown"] in line
        assert option.metadata["help"] in words
    assert set(FLAGS | TEXTS) <= {option.name for option in compare_options()}
