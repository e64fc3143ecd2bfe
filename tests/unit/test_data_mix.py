"""Several sources in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from test_data_detect import SHAREGPT
from test_data_tokenizers import CHATML, byte_tokenizer

from nbpeft.data import Mix, Rows, Source, read_mix, tokenize
from nbpeft.data.reading.formats import SFT
from nbpeft.data.splitting.parts import split
from nbpeft.errors import DataError


def texts(name: str, count: int) -> list[str]:
    return [f"{name} {number}" for number in range(count)]


def mixed(given: str, **namespace: Any) -> Mix:
    mix = read_mix(given, namespace)
    assert isinstance(mix, Mix)
    return mix


def rows_of(given: str, template: str | None = CHATML, **options: Any) -> Rows:
    namespace = {name: options.pop(name) for name in list(options) if len(name) == 1}
    held_out = options.get("eval")
    if isinstance(held_out, str):
        options["eval"] = read_mix(held_out, namespace)
    options = {"max_length": 512} | options
    return tokenize(read_mix(given, namespace), byte_tokenizer(template), **options)


def decoded(dataset: datasets.Dataset | None) -> list[str]:
    if dataset is None:
        return []
    tokenizer = byte_tokenizer()
    return [tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in dataset]


# --- names and shares


@pytest.mark.parametrize(
    ("given", "names", "shares"),
    [
        ("a:0.7,b:0.3", ["a", "b"], [0.7, 0.3]),
        (" a : 7 , b:3", ["a", "b"], [0.7, 0.3]),
        ("a:.5,tiny:pirate:.5", ["a", "tiny:pirate"], [0.5, 0.5]),
        ("a:1,c,d.txt:3", ["a", "c,d.txt"], [0.25, 0.75]),
        ("a:1,x:0.5.txt:3", ["a", "x:0.5.txt"], [0.25, 0.75]),
    ],
)
def test_names_may_hold_colons_and_commas(
    given: str, names: list[str], shares: list[float], working_folder: Path
) -> None:
    for name in ("c,d.txt", "x:0.5.txt"):
        (working_folder / name).write_text("one\ntwo\n")
    mix = mixed(given, a=["x"] * 9, b=["y"] * 9)
    assert [source.label for source in mix.sources] == names
    assert mix.shares == pytest.approx(shares)


def test_the_hub_and_drives_keep_their_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read(given: str, namespace: object) -> Source:
        asked.append(given)
        return Source(datasets.Dataset.from_dict({"text": ["a"]}), None, given)

    monkeypatch.setattr("nbpeft.data.finding.mix.read", read)
    mixed(r"hub:owner/name:0.5,hub:owner/name:train:0.25,C:\rows.csv:0.25")
    assert asked == ["hub:owner/name", "hub:owner/name:train", r"C:\rows.csv"]


def test_what_has_the_whole_name_comes_first(working_folder: Path) -> None:
    (working_folder / "a:0.5,b:0.5").mkdir()
    datasets.Dataset.from_dict({"text": ["file"]}).save_to_disk("a:0.5,b:0.5")
    source = read_mix("a:0.5,b:0.5", {"a": ["x"], "b": ["y"]})
    assert isinstance(source, Source)
    assert source.dataset["text"][:] == ["file"]
    rows = ["a:0.5,b:0.5"]
    assert isinstance(read_mix(rows, {}), Source)
    assert isinstance(read_mix("a:1,b:1", {"a:1,b:1": rows}), Source)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a:0.7,b", "'b' has no share; type each source as NAME:SHARE"),
        ("a,b:0.3", "'a' has no share"),
        ("a,b", "'a' has no share"),
        ("a:1,b,a:2", "'b' has no share"),
        ("a:0,b:1", "the share of 'a' is 0"),
        ("a:1,a:1", "'a' stands in the mix twice"),
        ("a:1,no:1", "There is no variable or file 'no'"),
        ("a:1,e:1", "'e' has no rows"),
        ("a:1,n:1", "The variable 'n' is of type int"),
        ("a:-1,b:1", "no variable or file 'a:-1,b'|'b' has no share"),
        ("<b>\x1b,\u202e" * 9, "There is no"),
        ("a" * 1_000_000, "There is no variable or file 'aaa"),
    ],
)
def test_a_mix_that_can_t_be(given: str, message: str) -> None:
    namespace = {"a": ["x"], "b": ["y"], "e": [], "n": 3}
    with pytest.raises(DataError, match=message) as raised:
        read_mix(given, namespace)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


# --- how much of each


@pytest.mark.parametrize(
    ("sizes", "shares", "used"),
    [
        ((100, 100), (0.7, 0.3), (100, 43)),
        ((10, 100), (0.5, 0.5), (10, 10)),
        ((70, 30), (0.7, 0.3), (70, 30)),
        ((3, 1000, 40), (0.1, 0.8, 0.1), (3, 24, 3)),
        ((5, 5), (1000, 1), (5, 1)),
    ],
)
def test_a_mix_is_as_large_as_its_shares_allow(
    sizes: tuple[int, ...], shares: tuple[float, ...], used: tuple[int, ...]
) -> None:
    given = ",".join(f"{name}:{share}" for name, share in zip("abc", shares, strict=False))
    namespace = {name: texts(name, size) for name, size in zip("abc", sizes, strict=False)}
    rows = rows_of(given, eval=0, **namespace)
    found = decoded(rows.train)
    assert len(set(found)) == len(found) == sum(used)
    for name, count in zip("abc", used, strict=False):
        assert sum(text.startswith(name) for text in found) == count
        assert f"{count:,} of {len(namespace[name]):,} rows of {name} (" in rows.notes[0]
    assert decoded(rows_of(given, eval=0, **namespace).train) == found


def test_held_out_rows_are_taken_from_each_in_proportion() -> None:
    rows = rows_of("a:3,b:1", a=texts("a", 600), b=texts("b", 200), eval=0.1)
    held_out = decoded(rows.held_out)
    assert [sum(t.startswith(name) for t in held_out) for name in "ab"] == [60, 20]
    assert len(rows.train) == 720
    assert set(held_out).isdisjoint(decoded(rows.train))
    assert [prompt[:1] for prompt in rows.sample_prompts] == ["a", "b", "a"]


def test_a_source_s_own_split_gives_its_part() -> None:
    own = datasets.DatasetDict(
        train=datasets.Dataset.from_dict({"text": texts("a", 50)}),
        test=datasets.Dataset.from_dict({"text": texts("test", 50)}),
    )
    rows = rows_of("a:1,b:1", a=own, b=texts("b", 50))
    held_out = decoded(rows.held_out)
    assert [sum(t.startswith(name) for t in held_out) for name in ("a", "test", "b")] == [0, 5, 5]
    assert len(rows.train) == 95
    asked = decoded(rows_of("a:1,b:1", a=own, b=texts("b", 50), eval=4).held_out)
    assert [sum(t.startswith(name) for t in asked) for name in ("a", "test", "b")] == [2, 0, 2]


def test_rows_to_hold_out_may_be_a_mix() -> None:
    rows = rows_of("a:1,b:1", eval="c:1,d:1", a=["a"], b=["b"], c=["c"], d=["d", "e"])
    assert sorted(decoded(rows.held_out)) in (["c", "d"], ["c", "e"])
    assert sorted(decoded(rows.train)) == ["a", "b"]


# --- one common way of writing


PAIRS = [{"question": f"q {i}", "answer": "b"} for i in range(3)]
TALKS = [{"conversations": SHAREGPT}] * 3


def test_chats_and_pairs_go_together_with_a_template_and_without() -> None:
    rows = rows_of("a:1,b:1", a=PAIRS, b=TALKS, eval=0)
    assert rows.rendering.kind == "chat"
    alone = [rows_of(name, a=PAIRS, b=TALKS, eval=0) for name in "ab"]
    assert rows.train.to_list() == [row for part in alone for row in part.train]
    bare = rows_of("a:1,b:1", None, a=PAIRS, b=TALKS, eval=0)
    assert bare.rendering.kind == "plain"
    assert decoded(bare.train)[0] == "User: q 0\nAssistant: b"
    assert rows_of("a:1,c:1", None, a=PAIRS, c=PAIRS, eval=0).rendering.kind == "join"
    told = "\n".join(rows.notes)
    assert "a: rows are read as prompt_completion (prompt from question" in told
    assert "b: rows are read as messages (messages from conversations, ShareGPT" in told


@pytest.mark.parametrize("options", [{}, {"eval": "c"}])
def test_raw_text_doesn_t_go_with_answers(options: Any) -> None:
    given = "a:1,c:1" if not options else "a"
    with pytest.raises(DataError, match=r"'c' is read as raw text and 'a' as prompt_completion: "):
        rows_of(given, a=PAIRS, c=texts("c", 3), **options)


def test_columns_are_for_the_sources_that_have_them() -> None:
    odd = [{"x": f"x {i}", "y": "b"} for i in range(3)]
    columns = {"prompt": "x", "completion": "y"}
    rows = rows_of("a:1,b:1", a=PAIRS, b=odd, columns=columns, eval=0)
    assert rows.sample_prompts == ("q 0", "x 0", "q 1")
    with pytest.raises(DataError, match=r"columns: 'a' has no column 'z' to be prompt"):
        rows_of("a:1,b:1", a=PAIRS, b=odd, columns={"prompt": "z"})


# --- rows keep their own names


def test_an_error_names_the_source_and_its_own_row() -> None:
    good, bad = {"text": "a"}, {"text": " "}
    # the third of a's rows that are used, of 40
    chosen = mixed("a:1,b:1", a=[good] * 40, b=["x"] * 4).chosen()[0]
    rows = [good] * 40
    rows[chosen[2]] = bad
    assert chosen[2] != 2
    with pytest.raises(DataError, match=rf"^Row {chosen[2]} of 'a', column 'text': it is empty"):
        rows_of("b:1,a:1", a=rows, b=["x"] * 4)


def test_a_row_that_isn_t_used_does_no_harm() -> None:
    chosen = mixed("a:1,b:1", a=["a"] * 40, b=["x"] * 4).chosen()[0]
    rows = [{"text": "a" if i in chosen else " "} for i in range(40)]
    assert len(rows_of("a:1,b:1", a=rows, b=["x"] * 4, eval=0).train) == 8


def test_dropped_and_cut_rows_are_counted_over_all_and_named() -> None:
    short = {"prompt": "a", "completion": "b"}
    long = {"prompt": "a" * 99, "completion": "b"}
    rows = rows_of("a:1,b:1", None, a=[short, long], b=[long, short], max_length=20, eval=0)
    assert len(rows.train) == 2
    told = "\n".join(rows.notes)
    assert "2 rows cut to 20 tokens" in told
    assert "(--max-length): 0 of b, 1 of a" in told


def test_the_fingerprint_is_of_the_rows_that_are_used() -> None:
    first = rows_of("a:1,b:1", a=texts("a", 20), b=texts("b", 9))
    assert rows_of("a:1,b:1", a=texts("a", 20), b=texts("b", 9)).fingerprint == first.fingerprint
    assert rows_of("a:2,b:1", a=texts("a", 20), b=texts("b", 9)).fingerprint != first.fingerprint


def test_copies_across_sources_stay_on_one_side() -> None:
    pairs = [{"prompt": f"q {i}", "completion": "b"} for i in range(100)]
    chats = [
        {"messages": [{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": "b"}]}
        for i in range(100)
    ]
    parts = split(mixed("a:1,b:1", a=pairs, b=chats), SFT, None, 20)
    train = {key for part in parts.train for key in part.keys.tolist()}
    held_out = {key for part in parts.held_out for key in part.keys.tolist()}
    assert train.isdisjoint(held_out)
    assert sum(map(len, parts.held_out)) == 20
