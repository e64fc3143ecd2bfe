"""A look at data: what it shows is what a run would train on."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import chat_templates as known
import pytest
import tokenizers
from shells import new_shell
from test_data_masks import TWO_TURNS, assistant, rows_of, user
from test_data_templates import CHAT, tokenizer_for
from test_data_tokenizers import CHATML, byte_tokenizer, trained
from tokenizers import decoders, models, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

import nbpeft
from nbpeft.data import read, read_mix
from nbpeft.data.looking import look as module
from nbpeft.data.looking.look import Look, look
from nbpeft.data.looking.pieces import HEAD, STRETCHES, TAIL, pieces, texts
from nbpeft.data.signals import Answers
from nbpeft.errors import DataError, NbPeftError
from nbpeft.rendering import Gap, Token, histogram


def looked(data: Any, tokenizer: Any, max_length: int = 512, **options: Any) -> Look:
    words = {name: options.pop(name) for name in ("loss_on", "formats") if name in options}
    signal = Answers(**words)
    return look(read(data, {}), tokenizer, signal=signal, max_length=max_length, **options)


def shown(row: Any, kind: str | None = None) -> str:
    return "".join(t.text for t in row.tokens if isinstance(t, Token) and kind in (None, t.kind))


def test_what_is_shown_as_trained_is_what_a_run_trains() -> None:
    tokenizer = byte_tokenizer(CHATML)
    for loss_on in ("all", "answers", "last"):
        rows = rows_of(TWO_TURNS, tokenizer, loss_on=loss_on)
        found = looked(TWO_TURNS, tokenizer, loss_on=loss_on)
        assert shown(found.shown[0], "trained") == trained(tokenizer, rows.train[0])
        assert shown(found.shown[0]) == tokenizer.decode(rows.train[0]["input_ids"])
        assert (found.tokens, found.trained_tokens) == (rows.tokens, rows.trained_tokens)
        assert found.lengths == (rows.tokens,)
        assert found.refusal is None


def test_a_cut_row_shows_what_is_cut_off() -> None:
    tokenizer = byte_tokenizer(CHATML)
    whole = looked(TWO_TURNS, tokenizer).shown[0]
    cut = looked(TWO_TURNS, tokenizer, max_length=45)
    assert shown(cut.shown[0]) == shown(whole)
    assert shown(cut.shown[0], "cut") == tokenizer.decode(
        tokenizer.apply_chat_template(TWO_TURNS[0]["messages"], return_dict=False)[45:]
    )
    assert cut.shown[0].note.endswith(": the row is cut at 45 tokens.")
    assert dict(cut.figures)["over 45 tokens"] == "1 of 1 rows (--max-length)"


def test_a_look_tells_what_a_run_would_refuse() -> None:
    tokenizer = byte_tokenizer(CHATML)
    rows = [{"messages": [user("a"), assistant("b" * 50)]}]
    found = looked(rows, tokenizer, max_length=60)
    with pytest.raises(DataError) as caught:
        rows_of(rows, tokenizer, max_length=60)
    assert found.refusal == str(caught.value)
    assert found.refusal[:40] in found.table().notes[0]
    assert found.shown[0].note == (
        "The end token <|im_end|> is not trained: the row is cut at 60 tokens."
    )


@pytest.mark.parametrize("name", ["LLAMA_3", "QWEN_3", "GEMMA", "PHI_3", "ZEPHYR"])
def test_the_end_token_has_its_line(name: str) -> None:
    template = getattr(known, name)
    found = looked([{"messages": CHAT}], tokenizer_for(template))
    ends = {"LLAMA_3": "<|eot_id|>", "QWEN_3": "<|im_end|>", "GEMMA": "<end_of_turn>",
            "PHI_3": "<|end|>", "ZEPHYR": "</s>"}  # fmt: skip
    of = "" if name == "QWEN_3" else " after 2 of 2 answers"
    assert found.shown[0].note == f"The end token {ends[name]} is trained{of}."


def test_rows_are_chosen_that_tell_most_or_as_asked() -> None:
    tokenizer = byte_tokenizer()
    rows = [{"prompt": "p", "completion": "c" * n} for n in (5, 9, 2, 30, 7)]
    titles = [row.title.split(":")[0] for row in looked(rows, tokenizer).shown]
    assert titles == ["row 0", "row 3 (the longest)", "row 4 (median)"]
    asked = looked(rows, tokenizer, rows=[2, 0]).shown
    assert [row.title for row in asked] == [
        "row 2: 4 tokens, 3 trained", "row 0: 7 tokens, 6 trained",
    ]  # fmt: skip
    few = [row.title.split(":")[0] for row in looked(rows[:2], tokenizer).shown]
    assert few == ["row 0", "row 1"]
    with pytest.raises(DataError, match=r"has the rows 0 to 4, not 5\.$"):
        looked(rows, tokenizer, rows=[5])


def test_of_many_rows_a_part_is_tokenized_and_all_are_checked(monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST", 20)
    tokenizer = byte_tokenizer()
    rows = [{"prompt": "p", "completion": "c" * (n % 7 + 1)} for n in range(100)]
    found = looked(rows, tokenizer)
    assert (found.rows, len(found.lengths)) == (100, 20)
    assert any("tokenized are 20 of the 100 rows" in note for note in found.notes)
    assert found.lengths == looked(rows, tokenizer).lengths
    rows[77]["completion"] = ""
    with pytest.raises(DataError, match="Row 77 "):
        looked(rows, tokenizer)


def test_raw_text_is_trained_whole() -> None:
    found = looked(["abc"], byte_tokenizer(), loss_on="last")
    assert shown(found.shown[0], "trained") == "bc</s>"
    assert dict(found.figures)["trained tokens"] == "75% of 4 (raw text)"


def test_long_stretches_and_many_turns_are_shortened() -> None:
    tokenizer = byte_tokenizer(CHATML)
    ids = tokenizer("ab" * 200, add_special_tokens=False)["input_ids"]
    row = pieces(tokenizer, ids, [-100] * 400)
    assert [t.tokens for t in row if isinstance(t, Gap)] == [400 - HEAD - TAIL]
    assert len(row) == HEAD + TAIL + 1
    labels = [ids[i] if i % 2 else -100 for i in range(400)]
    row = pieces(tokenizer, ids, labels)
    assert [t.tokens for t in row if isinstance(t, Gap)] == [400 - 2 * STRETCHES]


def test_tokens_of_one_character_are_one_text() -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer("a日é🙂 b", add_special_tokens=False)["input_ids"]
    assert list(texts(tokenizer, ids, 0, len(ids))) == ["a", "日", "é", "🙂", " ", "b"]
    assert list(texts(tokenizer, ids, 1, 3))[-1].endswith("\ufffd")  # cut within a character


def test_the_space_before_a_word_stays_with_it() -> None:
    """Decoding '▁b' alone gives 'b', as Llama 2's vocabulary does."""
    core = tokenizers.Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "?": 2}, unk_token="?"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    assert tokenizer.decode([1]) == "b"
    assert list(texts(tokenizer, [0, 1, 1], 0, 3)) == ["a", " b", " b"]
    assert list(texts(tokenizer, [0, 1, 1], 1, 2)) == [" b"]


def test_a_slow_tokenizer_shows_the_same() -> None:
    slow = ByT5Tokenizer(extra_ids=0)
    found = looked(TWO_TURNS, slow)
    assert shown(found.shown[0], "trained") == " hé yo</s> bye</s>"


def test_the_tokenizer_is_left_as_it_was() -> None:
    tokenizer = byte_tokenizer(CHATML)
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(5)
    before = backend.to_str()
    looked(TWO_TURNS, tokenizer)
    assert backend.to_str() == before


def test_three_displays_of_static_types(monkeypatch) -> None:
    sent: list[Any] = []

    def display(data, *, raw, metadata=None):
        assert raw
        sent.append((data, metadata))

    monkeypatch.setattr("IPython.display.display", display)
    hostile = {"prompt": "<script>", "completion": "</table>"}
    found = looked([hostile], byte_tokenizer())
    dataclasses.replace(found, label="a\n<script>\x1b")._ipython_display_()
    assert [sorted(data) for data, _ in sent] == [
        ["text/html", "text/plain"], ["image/png", "text/plain"], ["text/html", "text/plain"],
    ]  # fmt: skip
    assert sent[1][1]["image/png"]["width"] > 100
    for data, _ in sent:
        assert "\x1b" not in data["text/plain"]
    assert len(sent[1][0]["text/plain"].splitlines()) == 1
    assert "<script>" not in sent[0][0]["text/html"] + sent[2][0]["text/html"]
    json.dumps([{k: v for k, v in data.items() if k != "image/png"} for data, _ in sent])
    assert "[nbpeft] data 1 inline rows" in repr(found)


@pytest.fixture
def kernel(tiny_pair, monkeypatch):
    shell = new_shell()
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: shell.user_ns)
    shell.run_line_magic("load_ext", "nbpeft")
    model, tokenizer = tiny_pair
    model.config.max_position_embeddings = 300
    shell.user_ns.update(model=model, tokenizer=tokenizer, rows=[{"q": "hi", "a": "yo"}] * 3)
    return shell


def test_the_magic_is_the_call(kernel) -> None:
    found = kernel.run_line_magic(
        "peft_data", "rows --columns prompt=q,completion=a --loss-on=last --rows 1 --max-length 9"
    )
    assert (found.max_length, found.rows) == (9, 3)
    assert [row.title[:5] for row in found.shown] == ["row 1"]
    assert "--loss-on last" in dict(found.figures)["trained tokens"]
    called = nbpeft.look(
        kernel.user_ns["rows"], columns={"prompt": "q", "completion": "a"}, loss_on="last",
        rows=[1], max_length=9, tokenizer=kernel.user_ns["tokenizer"],
    )  # fmt: skip
    assert called.shown == found.shown
    assert called.figures == found.figures


def test_rows_are_as_long_as_a_run_s(kernel, monkeypatch) -> None:
    line = "rows --columns prompt=q,completion=a"
    assert kernel.run_line_magic("peft_data", line).max_length == 300
    kernel.user_ns["other"] = kernel.user_ns.pop("model")
    assert kernel.run_line_magic("peft_data", f"{line} --model other").max_length == 300
    del kernel.user_ns["other"]
    assert kernel.run_line_magic("peft_data", line).max_length == 1024
    kernel.run_cell("%config NbPeft.defaults = {'max_length': 77}")
    try:
        assert kernel.run_line_magic("peft_data", line).max_length == 77
    finally:
        kernel.run_cell("%config NbPeft.defaults = {}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"max_length": 0}, "max_length must be above 0, not 0"),
        ({"max_length": "many"}, "whole number"),
        ({"loss_on": "first"}, "one of all, answers, last"),
        ({"rows": ["a"]}, "rows can't be"),
        ({"columns": "prompt"}, "columns can't be"),
        ({"model": "nobody"}, "no variable 'nobody'"),
    ],
)
def test_what_can_t_be_is_one_line(words: dict[str, Any], says: str) -> None:
    with pytest.raises(NbPeftError, match=says) as caught:
        nbpeft.look([{"prompt": "a", "completion": "b"}], tokenizer=byte_tokenizer(), **words)
    assert len(str(caught.value).splitlines()) == 1


def test_a_look_counts_copies_and_held_out_rows_that_are_trained_on() -> None:
    rows = [{"prompt": f"q{i % 7}", "completion": f"a{i % 7}"} for i in range(10)]
    held_out = [rows[0], {"prompt": "new", "completion": "one"}]
    found = look(
        read("rows", {"rows": rows}), byte_tokenizer(CHATML), max_length=99,
        eval=read("test", {"test": held_out}),
    )  # fmt: skip
    figures = dict(found.figures)
    assert figures["copies"] == "3 of 10 rows"
    assert figures["held out"] == "2 rows, 1 trained on, too"
    [copies, both] = [n.partition(": ")[2] for n in found.notes if "; to " in n]
    names: dict[str, Any] = {"rows": rows, "test": held_out}
    exec(copies.partition("one of each: ")[2], names)  # noqa: S102
    assert len(names["rows"]) == 7
    exec(both.partition("them out: ")[2], names)  # noqa: S102
    assert held_out[0] not in names["rows"]
    assert len(names["rows"]) == 6


def test_a_look_at_a_mix_names_the_source_of_each_row() -> None:
    names = {
        "a": [{"prompt": f"q{i}", "completion": "x" * i} for i in range(1, 9)],
        "b": [{"messages": [user("u" * 40), assistant(f"b{i}")]} for i in range(4)],
    }
    found = look(read_mix("a:0.5,b:0.5", names), byte_tokenizer(CHATML), max_length=99)
    assert (found.rows, len(found.lengths)) == (8, 8)
    assert dict(found.figures)["format"] == "prompt_completion, messages"
    titles = [row.title for row in found.shown]
    assert titles[0].startswith("row 0 of a") or titles[0].startswith("row 1 of a")
    assert any(" of b (the longest): " in title for title in titles)
    with pytest.raises(DataError, match=r"one source at a time, %peft_data a --rows 2\.$"):
        look(read_mix("a:0.5,b:0.5", names), byte_tokenizer(CHATML), max_length=99, rows=[2])


def test_the_longest_rows_of_all_sources_are_the_same_as_alone() -> None:
    """Places run over several parts: lengths and counts are those of each part by itself."""
    names = {"a": ["x" * i for i in range(1, 40)], "b": ["y" * i for i in range(3, 80, 2)]}
    both = look(read_mix("a:1,b:1", names), byte_tokenizer(), max_length=60)
    alone = [look(read(name, names), byte_tokenizer(), max_length=60) for name in "ab"]
    assert list(both.lengths) == [n for one in alone for n in one.lengths]
    assert both.tokens == sum(one.tokens for one in alone)


def test_a_long_name_stays_clear_of_the_legend(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    drawn = histogram._figure
    monkeypatch.setattr(histogram, "_figure", lambda *a: figures.append(drawn(*a)) or figures[-1])
    found = look(read(["abc"] * 3, {}), byte_tokenizer(), max_length=512)
    dataclasses.replace(found, label="/mountains_of_words" * 8).histogram()
    axes = figures[0].axes[0]
    title, legend = axes._left_title.get_window_extent(), axes.get_legend().get_window_extent()
    assert title.x1 < legend.x0


def test_a_share_is_no_data_to_hold_out() -> None:
    with pytest.raises(NbPeftError, match=r"eval can't be 0\.1"):
        nbpeft.look(["a"], tokenizer=byte_tokenizer(), eval=0.1)
