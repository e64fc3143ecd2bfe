"""What is put around prompts, as each kind of model reads it; and the answer after reasoning."""

from __future__ import annotations

import dataclasses

import chat_templates as known
import pytest
from test_data_templates import tokenizer_for
from test_data_tokenizers import CHATML, byte_tokenizer

from nbpeft.comparison import Comparison, Figures
from nbpeft.comparison.baselines import ways
from nbpeft.comparison.request import CompareRequest
from nbpeft.data import PLAIN_TEMPLATE, Rendering
from nbpeft.data.examples import Shot
from nbpeft.data.prompting import FOLDED, PLAIN, THINK, Way, answer_in
from nbpeft.errors import RequestError

CHAT, JOIN = Rendering("chat"), Rendering("join")
SHOTS = (
    Shot("2+2?", "four", 0, "sums"),
    Shot(
        [{"role": "system", "content": "Count."}, {"role": "user", "content": "1+1?"}], "two", 1, ""
    ),
)


def put(way, prompt, rendering=CHAT, tokenizer=None):
    way = way.fitting(rendering, tokenizer or byte_tokenizer(CHATML))
    return way.put(prompt, rendering)


def said(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def test_a_chat_gets_messages():
    assert put(PLAIN, "Hi") == "Hi"
    assert put(Way("s", system="Be kind."), "Hi") == said(("system", "Be kind."), ("user", "Hi"))
    assert put(Way("k", shots=SHOTS), "3+3?") == said(
        ("user", "2+2?"),
        ("assistant", "four"),
        ("user", "1+1?"),
        ("assistant", "two"),
        ("user", "3+3?"),
    )
    assert put(Way("t", thinks=True), "Hi") == said(("user", f"Hi\n\n{THINK}"))


def test_a_chat_keeps_what_it_has():
    own = said(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Who?"))
    assert put(Way("s", system="Be kind."), own) == [
        *said(("system", "Be kind.\n\nBe brief.")),
        *own[1:],
    ]
    assert put(Way("k", shots=SHOTS[:1]), own) == [
        own[0],
        *said(("user", "2+2?"), ("assistant", "four")),
        *own[1:],
    ]
    thinking = put(Way("t", thinks=True), own)
    assert thinking == [*own[:3], *said(("user", f"Who?\n\n{THINK}"))]
    assert own[3]["content"] == "Who?"


@pytest.mark.parametrize("name", ["GEMMA", "GEMMA_3", "LLAMA_3", "QWEN_3", "MISTRAL", "ZEPHYR"])
def test_every_template_shows_the_system_prompt_and_the_shots(name):
    tokenizer = tokenizer_for(getattr(known, name))
    for way in (Way("s", system="Be kind."), Way("k", shots=SHOTS)):
        fitting = way.fitting(CHAT, tokenizer)
        text = CHAT.prompt_text(tokenizer, fitting.put("3+3?", CHAT))
        wanted = ["Be kind.", "3+3?"] if way.system else ["2+2?", "four", "1+1?", "two", "3+3?"]
        places = [text.find(piece) for piece in wanted]
        assert places == sorted(places)
        assert places[0] >= 0
        refuses = name in ("GEMMA", "MISTRAL") and way.system is not None
        assert (FOLDED in fitting.notes) is refuses


def test_a_template_that_leaves_system_messages_out_gets_them_in_the_user_s():
    silent = "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}\n{% endfor %}"
    asked = put(Way("s", system="Be kind."), "Hi", tokenizer=byte_tokenizer(silent))
    assert asked == said(("user", "Be kind.\n\nHi"))
    before_shots = Way("s", system="Be kind.", shots=SHOTS[:1])
    asked = put(before_shots, "Hi", tokenizer=byte_tokenizer(silent))
    assert asked[0]["content"] == "Be kind.\n\n2+2?"


def test_plain_text_gets_paragraphs():
    assert put(Way("s", system="Be kind."), "Hi", JOIN) == "Be kind.\n\nHi"
    assert put(Way("k", shots=SHOTS[:1]), "3+3?", JOIN) == "2+2? four\n\n3+3?"
    joined = (Shot("Q: a\n", "b", 0, ""), Shot("Q: c", " d", 0, ""))
    assert put(Way("k", shots=joined), "Q: e\n", JOIN) == "Q: a\nb\n\nQ: c d\n\nQ: e\n"
    assert put(Way("t", thinks=True), "Hi", JOIN) == f"Hi\n\n{THINK}\n"
    plain = Rendering("plain", PLAIN_TEMPLATE)
    tokenizer = byte_tokenizer()
    text = plain.prompt_text(tokenizer, put(Way("s", system="Be kind."), "Hi", plain, tokenizer))
    assert text == "System: Be kind.\nUser: Hi\nAssistant:"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 and 2 are 4. Answer: 4", "4"),
        ("Answer: 3? No.\n**Answer:** 4\n", "4"),
        ("so the ANSWER: \n4 of them", "4 of them"),
        ("The answer is 4.", "The answer is 4."),
        ("", ""),
    ],
)
def test_the_answer_stands_after_the_last_word_for_it(text, answer):
    before, found = answer_in(text)
    assert found == answer
    assert before + found in (text, text.rstrip())


def test_of_reasoning_the_answer_alone_is_compared():
    compared = Comparison(
        ("base", "base+think"),
        ("2+2?",),
        (("four", "2 and 2. Answer: 4"),),
        ("4",),
        {
            "base": Figures(None, 1, 1.0, 1, "", 10.0, 0),
            "base+think": Figures(None, 9, 1.0, 1, "", 24.5, 1),
        },
        reasoned=frozenset({"base+think"}),
    )
    lines = [line.split() for line in compared.table().text().split("\n")]
    assert ["2+2?", "4", "four", "(2", "and", "2.", "Answer:)", "*4*"] in lines
    assert ["as", "expected", "0", "of", "1", "1", "of", "1"] in lines
    assert ["tokens", "a", "prompt", "10", "24"] in lines
    plain = dataclasses.replace(compared, reasoned=frozenset())
    assert "(2 and" not in plain.table().text()


def shots(count, rows, asked, **request):
    found = ways(
        CompareRequest(shots=count, **request),
        asked,
        data=rows,
        records=[],
        namespace={},
        tokenizer=byte_tokenizer(CHATML),
    )
    return found[0]


ROWS = [{"prompt": f"{n}+{n}?", "completion": str(2 * n)} for n in range(9)]


def test_what_is_asked_is_never_shown():
    asked = ["3+3?", said(("system", "x"), ("user", "1+1?"), ("assistant", "2"), ("user", "5+5? "))]
    shown = [shot.number for shot in shots(7, [*ROWS, *ROWS], asked).shots]
    assert {number % 9 for number in shown} == {0, 1, 2, 4, 6, 7, 8}
    with pytest.raises(RequestError, match="shots 8 are more than the 7 rows"):
        shots(8, [*ROWS, *ROWS], asked)


def test_a_chat_that_asks_it_on_the_way_is_not_shown_either():
    long = said(("user", "3+3?"), ("assistant", "6"), ("user", "and 1?"), ("assistant", "7"))
    rows = [{"messages": long}, {"messages": said(("user", "1+1?"), ("assistant", "2"))}]
    assert [shot.answer for shot in shots(1, rows, ["3+3?"]).shots] == ["2"]
    assert [shot.answer for shot in shots(2, rows, ["and?"]).shots] != ["2"]


def test_shots_are_drawn_from_all_over_and_always_the_same():
    rows = [{"q": f"{n}?", "a": str(n)} for n in range(500)]
    columns = {"prompt": "q", "completion": "a"}
    first = shots(4, rows, [], columns=columns)
    assert first.shots == shots(4, rows, ["7?"], columns=columns).shots
    assert max(shot.number for shot in first.shots) > 100
    numbers = sorted(shot.number for shot in first.shots)
    assert first.notes == (
        f"shown before each prompt: rows {', '.join(map(str, numbers))} of 500 inline rows",
    )


def test_without_rows_there_are_no_shots():
    with pytest.raises(RequestError, match="add --data X"):
        shots(1, None, ["Hi"])
