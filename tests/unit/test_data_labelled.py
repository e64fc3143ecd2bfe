"""Texts with their classes."""

from __future__ import annotations

from typing import Any

import datasets
import pytest
from signals import labelled
from test_data_tokenizers import byte_tokenizer
from tokenizers import processors

from nbpeft.data import Rows, read
from nbpeft.errors import DataError


def bracketed() -> Any:
    """A tokenizer that frames a text, as BERT's does."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", tokenizer.cls_token_id), ("[SEP]", tokenizer.sep_token_id)],
    )
    return tokenizer


def rows_of(rows: Any, **options: Any) -> Rows:
    options = {"max_length": 64, "eval": 0} | options
    return labelled(read(rows, {}), options.pop("tokenizer", byte_tokenizer()), **options)


def sentences(*labels: Any, text: str = "text", label: str = "label") -> list[dict[str, Any]]:
    return [{text: f"words {i}", label: name} for i, name in enumerate(labels)]


def test_a_text_is_framed_as_the_tokenizer_frames_it_also_when_cut() -> None:
    tokenizer = bracketed()
    rows = rows_of(sentences("a", "b"), tokenizer=tokenizer)
    assert rows.train[1]["input_ids"] == tokenizer("words 1")["input_ids"]
    cut = rows_of(sentences("a", "b"), tokenizer=tokenizer, max_length=5)
    assert not tokenizer.backend_tokenizer.truncation
    expected = tokenizer("words 1", truncation=True, max_length=5)["input_ids"]
    assert cut.train[1]["input_ids"] == expected
    assert len(expected) == 5
    assert "2 rows cut to 5 tokens (--max-length)" in cut.notes
    bare = rows_of(sentences("a", "b"))
    assert bare.train[0]["input_ids"] == byte_tokenizer()("words 0")["input_ids"]


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        ([10, 9, 10], ("9", "10"), [1, 0, 1]),
        ([True, False], ("False", "True"), [1, 0]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
    ],
)
def test_labels_are_numbered_in_order(labels: Any, names: Any, numbers: Any) -> None:
    rows = rows_of(sentences(*labels))
    assert rows.label_names == names
    assert rows.train["label"][:] == numbers


def test_the_names_of_a_class_label_are_kept_in_its_order() -> None:
    rows = datasets.Dataset.from_list(sentences(1, 0, 1))
    kind = datasets.ClassLabel(names=["zebra", "ant", "unseen"])
    made = rows_of(rows.cast_column("label", kind))
    assert made.label_names == ("zebra", "ant", "unseen")
    assert made.train["label"][:] == [1, 0, 1]


@pytest.mark.parametrize(
    "rows",
    [
        sentences(*"abab", text="sentence", label="sentiment"),
        sentences(*"abab", text="review", label="label"),
        [row | {"idx": i} for i, row in enumerate(sentences(0, 1, 0, 1, text="s", label="kind"))],
    ],
)
def test_columns_are_found_by_name_or_look(rows: Any) -> None:
    assert rows_of(rows).train["label"][:] == [0, 1, 0, 1]


def test_what_can_be_two_columns_is_asked() -> None:
    rows = [row | {"b": 1 - row["a"]} for row in sentences(0, 1, 0, 1, label="a")]
    with pytest.raises(DataError, match=r"in 2 ways .*label=a or --columns text=text,label=b"):
        rows_of(rows)
    assert rows_of(rows, columns={"label": "b"}).train["label"][:] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (sentences(*["x"] * 40), "^All 40 rows of '40 inline rows' to train on have the label 'x'"),
        (sentences("a", None), "^Row 1 of .*, column 'label': it is missing"),
        (sentences("a", " "), "^Row 1 of .*, column 'label': it is empty"),
        (sentences(0.5, 1.5), "^Row 0 of .*, column 'label': it is '0.5'; a label is a name or"),
        ([*sentences("a", "b"), {"text": "", "label": "a"}], "^Row 2 .* 'text': it is empty"),
    ],
)
def test_labels_that_teach_nothing_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(rows)


def test_a_label_that_is_only_held_out_is_named() -> None:
    held_out = read(sentences("a", "c"), {})
    with pytest.raises(
        DataError,
        match=r"^Row 1 of '2 inline rows', column 'label': no row to train on has the label 'c'; "
        r"they have a, b\.",
    ):
        rows_of(sentences("a", "b", "a"), eval=held_out)


def test_a_text_with_two_labels_is_on_one_side_of_the_split() -> None:
    rows = [{"text": f"words {i // 2}", "label": "ab"[i % 2]} for i in range(40)]
    made = rows_of(rows, eval=8)
    assert made.held_out is not None
    train, held_out = (set(map(tuple, p["input_ids"][:])) for p in (made.train, made.held_out))
    assert len(held_out) == 4
    assert train.isdisjoint(held_out)


def test_a_label_that_nbpeft_held_out_itself_is_known() -> None:
    rows = rows_of(sentences(*["a", "b"] * 10, "c"), eval=11)
    assert rows.label_names == ("a", "b", "c")
