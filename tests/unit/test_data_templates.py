"""The chat templates of well-known models: answers are trained, with their ends, and no more."""

from __future__ import annotations

from typing import Any

import chat_templates as known
import pytest
import tokenizers
from test_data_masks import assistant, rows_of, user
from test_data_tokenizers import CHATML, FORGETFUL, byte_tokenizer, trained
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from nbpeft.data.tokens.masks import Encoder
from nbpeft.data.tokens.rendering import Rendering
from nbpeft.errors import DataError

CHAT = [user("hi"), assistant("hé yo"), user("so"), assistant("bye")]

TRL = "1 row are told by TRL's"
PREFIXES = "1 row are told by writing each chat"
OWN = "1 row are told by the chat template's own"


def tokenizer_for(template: known.Template) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the template's special tokens; with a BOS, it writes it too."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([*template.specials, "<pad>"])
    given = {"eos_token": template.eos, "pad_token": "<pad>"}
    if template.bos:
        given["bos_token"] = template.bos
        core.post_processor = processors.TemplateProcessing(
            single=f"{template.bos} $A",
            special_tokens=[(template.bos, core.token_to_id(template.bos))],
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **given)
    tokenizer.chat_template = template.text
    return tokenizer


EXPECTED = {
    # What is trained of CHAT, and how it was told.
    "LLAMA_3": ("hé yo<|eot_id|>bye<|eot_id|>", TRL),
    "LLAMA_3_2": ("hé yo<|eot_id|>bye<|eot_id|>", PREFIXES),
    "QWEN_2_5": ("hé yo<|im_end|>\nbye<|im_end|>\n", TRL),
    # Qwen 3 opens the last answer with an empty thought and takes it out of earlier ones.
    "QWEN_3": ("<think>\n\n</think>\n\nbye<|im_end|>\n", PREFIXES),
    "GEMMA": ("hé yo<end_of_turn>\nbye<end_of_turn>\n", TRL),
    "GEMMA_3": ("hé yo<end_of_turn>\nbye<end_of_turn>\n", TRL),
    # Phi-3 writes the end token after the whole chat: only the marks tell the first answer.
    "PHI_3": ("hé yo<|end|>\nbye<|end|>\n<|endoftext|>", TRL),
    "PHI_4": ("hé yo<|im_end|>bye<|im_end|>", PREFIXES),
    "MISTRAL": ("hé yo</s> bye</s> ", PREFIXES),
    "MIXTRAL": ("hé yo</s>bye</s>", PREFIXES),
    "CHATML": ("hé yo<|im_end|>\nbye<|im_end|>\n", PREFIXES),
    "ZEPHYR": ("hé yo</s>\nbye</s>\n", PREFIXES),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_answers_are_trained_with_their_ends(name: str) -> None:
    template: known.Template = getattr(known, name)
    tokenizer = tokenizer_for(template)
    rows = rows_of([{"messages": CHAT}], tokenizer)
    answers, way = EXPECTED[name]
    first = rows.train[0]
    assert trained(tokenizer, first) == answers
    assert first["input_ids"] == tokenizer.apply_chat_template(CHAT, return_dict=False)
    assert first["input_ids"].count(tokenizer.bos_token_id) == bool(
        template.bos and "bos_token" in template.text
    )
    assert [note for note in rows.notes if way in note], rows.notes
    only_last = [note for note in rows.notes if "trained on the last answer only" in note]
    assert bool(only_last) == (name == "QWEN_3")


@pytest.mark.parametrize("name", EXPECTED)
def test_the_last_answer_alone_and_the_whole_row(name: str) -> None:
    tokenizer = tokenizer_for(getattr(known, name))
    last = rows_of([{"messages": CHAT}], tokenizer, loss_on="last")
    answers = EXPECTED[name][0]
    assert trained(tokenizer, last.train[0]) == answers[-(len(answers) - _last(answers)) :]
    assert not any("last answer only:" in note for note in last.notes)
    whole = rows_of([{"messages": CHAT}], tokenizer, loss_on="all").train[0]
    assert whole["labels"] == [-100, *whole["input_ids"][1:]]
    assert whole["input_ids"] == last.train[0]["input_ids"]


def _last(answers: str) -> int:
    return answers.index("<think>") if "<think>" in answers else answers.index("bye")


def test_a_single_turn_of_qwen_3_is_told_by_trl_s_marks() -> None:
    tokenizer = tokenizer_for(known.QWEN_3)
    rows = rows_of([{"messages": CHAT[:2]}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "<think>\n\n</think>\n\nhé yo<|im_end|>\n"
    assert any(TRL in note for note in rows.notes)
    assert not any("last answer only" in note for note in rows.notes)


MARKED = (  # the end of a turn is left out of the marks, as some training templates do
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'].split('</think>')[-1] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_marks_without_the_end_of_the_turn_get_it() -> None:
    tokenizer = byte_tokenizer(MARKED)
    rows = rows_of([{"messages": CHAT}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "hé yo<|im_end|>bye<|im_end|>\n"
    assert any(OWN in note for note in rows.notes)


def test_marks_tell_every_answer_where_prefixes_could_not() -> None:
    marked = FORGETFUL.replace(
        "{{ m['content'].split('</think>')[-1] }}",
        "{% generation %}{{ m['content'].split('</think>')[-1] }}{% endgeneration %}",
    ).replace(
        "{% else %}{{ m['content'] }}{% endif %}",
        "{% elif m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
        "{% else %}{{ m['content'] }}{% endif %}",
    )
    chat = [user("a"), assistant("<x></think>b"), user("c"), assistant("<y></think>d")]
    tokenizer = byte_tokenizer(marked)
    rows = rows_of([{"messages": chat}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "b<|im_end|><y></think>d<|im_end|>\n"


def test_marks_that_are_not_one_an_answer_are_not_believed() -> None:
    """Only the first message's marks are written: the rest is told by prefixes."""
    once = MARKED.replace("{% if m['role'] == 'assistant' %}", "{% if loop.index0 == 1 %}")
    tokenizer = byte_tokenizer(once)
    rows = rows_of([{"messages": CHAT}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "hé yo<|im_end|>\nbye<|im_end|>\n"
    assert any(PREFIXES in note for note in rows.notes)


def test_marks_leave_what_is_not_to_be_trained() -> None:
    tokenizer = byte_tokenizer(MARKED)
    opens = rows_of([{"messages": [assistant("hello"), *CHAT]}], tokenizer)
    assert trained(tokenizer, opens.train[0]) == "hé yo<|im_end|>bye<|im_end|>\n"
    pair = {"prompt": CHAT[:3], "completion": CHAT[3:]}
    assert trained(tokenizer, rows_of([pair], tokenizer).train[0]) == "bye<|im_end|>\n"


def test_an_end_that_is_written_with_the_next_turn_belongs_to_the_answer() -> None:
    """As in Qwen 1.5."""
    ends = "{% if (loop.last and add_generation_prompt) or not loop.last %}<|im_end|>\n{% endif %}"
    tokenizer = byte_tokenizer(CHATML.replace("<|im_end|>\n", ends), eos="<|im_end|>")
    rows = rows_of([{"messages": CHAT}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "hé yo<|im_end|>bye<|im_end|>"


def test_a_template_that_ends_the_question_only_once_answered_is_refused() -> None:
    ends = "{% if not loop.last %}<|im_end|>\n{% endif %}"
    tokenizer = byte_tokenizer(CHATML.replace("<|im_end|>\n", ends))
    with pytest.raises(DataError, match="which tokens answer can't be told"):
        rows_of([{"messages": CHAT}], tokenizer)


def test_the_last_answer_is_the_last_of_the_row_and_not_of_what_is_kept() -> None:
    tokenizer = byte_tokenizer(CHATML)
    long = [{"messages": [user("a"), assistant("b"), user("c" * 100), assistant("d")]}]
    short = [{"messages": CHAT}]
    rows = rows_of(long + short, tokenizer, max_length=90, loss_on="last")
    assert [trained(tokenizer, row) for row in rows.train] == ["bye<|im_end|>\n"]
    assert any(note.startswith("1 row dropped") for note in rows.notes)


def test_a_special_token_within_an_answer_is_not_its_end() -> None:
    endless = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    tokenizer = byte_tokenizer(endless)
    rows = rows_of([{"messages": [user("a"), assistant("b<|im_start|>c")]}], tokenizer)
    assert trained(tokenizer, rows.train[0]) == "b<|im_start|>c\n</s>"


CUT = {"messages": [user("a"), assistant("b" * 50)]}


@pytest.mark.parametrize("loss_on", ["answers", "last", "all"])
def test_rows_that_never_end_are_refused(loss_on: str) -> None:
    tokenizer = byte_tokenizer(CHATML)
    with pytest.raises(DataError) as caught:
        rows_of([CUT, CUT], tokenizer, max_length=60, loss_on=loss_on)
    (line,) = str(caught.value).splitlines()
    assert "'<|im_end|>'" in line
    assert "cut at 60 tokens; raise --max-length" in line
    whole = {"messages": [user("a"), assistant("b")]}
    assert len(rows_of([CUT, whole], tokenizer, max_length=60, loss_on=loss_on).train) == 2


def test_an_end_that_is_trained_before_the_cut_is_enough() -> None:
    tokenizer = byte_tokenizer(CHATML)
    chat = [user("a"), assistant("b"), *CUT["messages"]]
    rows = rows_of([{"messages": chat}], tokenizer, max_length=60)
    assert trained(tokenizer, rows.train[0]).startswith("b<|im_end|>\n")


@pytest.mark.parametrize("rows", [[{"prompt": "a", "completion": "b"}], [{"messages": CHAT}]])
def test_a_tokenizer_without_an_end_token_is_refused(rows: list[Any]) -> None:
    with pytest.raises(DataError, match=r"no end token.* set .*tokenizer\.eos_token = "):
        rows_of(rows, byte_tokenizer(eos=None))


@pytest.mark.parametrize("loss_on", ["answers", "last"])
def test_raw_text_without_an_end_is_refused_but_where_all_is_asked_for(loss_on: str) -> None:
    for eos, said in (("</s>", "every row is cut at 9 tokens"), (None, "has no end token")):
        with pytest.raises(DataError, match=f"{said}.*type --loss-on all for pieces of text"):
            rows_of(["abc" * 9], byte_tokenizer(eos=eos), max_length=9, loss_on=loss_on)
    rows = rows_of(["abc" * 9], byte_tokenizer(), max_length=9, loss_on="all")
    assert rows.trained_tokens == 8
    assert any("in no row the end token is trained" in note for note in rows.notes)


def test_a_call_of_a_tool_may_end_otherwise() -> None:
    """Llama 3.1 ends a call with <|eom_id|>: nothing is put after it."""
    calling = CHATML.replace(
        "<|im_end|>\n{% endfor", "{{ '<|im_start|>' if m.tool_calls else '<|im_end|>\n' }}{% endfor"
    )
    tokenizer = byte_tokenizer(calling)
    call = {"role": "assistant", "content": "call", "tool_calls": [{"function": {"name": "f"}}]}
    encoder = Encoder(tokenizer, Rendering("chat"), 99, "x")
    [row] = encoder.batch([_chat([user("a"), call])], [0])
    assert tokenizer.decode(row["input_ids"]).endswith("call<|im_start|>")
    assert encoder.counts.ended == 1


def _chat(messages: list[dict[str, Any]]) -> Any:
    from nbpeft.data.reading.examples import Chat

    return Chat(messages)
