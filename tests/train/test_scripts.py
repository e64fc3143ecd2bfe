"""The script of a run trains to the run's own losses, step by step."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import subprocess
import sys

import datasets
import pytest
from conftest import biased, differences, has_biases, state_of
from transformers import AutoModelForCausalLM, AutoTokenizer

import nbpeft
import nbpeft.scripts.methods
import nbpeft.scripts.objectives
from nbpeft import scripts
from nbpeft.events import Evaluated, Progressed
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.quiet import quiet
from nbpeft.scripts import own

DATA = {"dpo": "polite", "orpo": "polite", "cpo": "polite", "reward": "polite", "kto": "ratings",
        "classify": "sentiment", "text": "stories"}  # fmt: skip
EACH = (
    "lora", "ia3", "ln", "adalora", "prompt", "ptuning", "prefix", "ptuning-v2", "full",
    "last-layers", "bitfit",
)  # fmt: skip
SOFT = ("prompt", "ptuning", "prefix", "ptuning-v2")
OWN = {
    **{(m, o): "soft prompts" for m in SOFT for o in ("cpo", "orpo", "reward", "classify")},
    **{("adalora", o): "adalora" for o in DATA if o != "text"},
}
"""Pairs that the libraries don't have, and a word of the reason."""
PAIRS = [(m, o) for o in ("sft", *DATA) for m in EACH if (m, o) not in OWN]


@pytest.fixture
def beside(tune, events, tmp_path, monkeypatch):
    """`beside(method, objective, …)`: (losses of nbpeft, losses of the script, the script)."""
    monkeypatch.chdir(tmp_path)

    def run(method="lora", objective="sft", data=None, *, coarse=False, **words):
        if method == "bitfit" and not has_biases(tune.model):
            tune.model = biased(tune.model)
        data = f"tiny:{DATA.get(objective, 'pirate')}" if data is None else data
        words = {"method": method, "objective": objective, "data": data, "max_steps": 3} | words
        words = {"eval": 8, "batch_size": 4, "max_length": 64} | words
        asked = {**words, "model": tune.model, "tokenizer": tune.tokenizer}
        script = nbpeft.show_code("plain", **asked)
        assert script.text, script.own
        assert max(map(len, script.text.splitlines())) <= 100
        events.clear()
        tune("plain", **words)
        ours = [e.loss for e in events if isinstance(e, Progressed)]
        held = [e.loss for e in events if isinstance(e, Evaluated)]
        theirs, evaluated = trained(script, tune, rows=data)
        assert len(theirs) == len(ours)
        # A base in 4 bits multiplies in bfloat16.
        near = 2e-2 if coarse else 2e-4
        assert theirs == pytest.approx(ours, rel=near, abs=2e-5), script.text
        if held:
            assert [evaluated[0], evaluated[-1]] == pytest.approx([held[0], held[-1]], rel=near)
        return script

    return run


def trained(script, tune, **space):
    """The losses that a script logs while it trains, and those of its held-out rows."""
    names = {"model": tune.model, "tokenizer": tune.tokenizer, "nbpeft": nbpeft}
    names |= {"datasets": datasets, **space}
    for line in script.text.splitlines():
        if line.startswith("#     "):
            exec(line.removeprefix("#     "), names)  # noqa: S102  what a user is told to write
    found = {"__name__": "__main__"}
    with quiet(), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(script.text, "script.py", "exec"), found)  # noqa: S102
    history = found["trainer"].state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    evaluated = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    return losses, evaluated


@pytest.mark.parametrize(("method", "objective"), PAIRS)
def test_a_script_trains_to_the_same_losses(beside, method, objective):
    beside(method, objective)


@pytest.mark.parametrize(("method", "objective"), OWN)
def test_what_the_libraries_do_not_have_is_said(tune, method, objective):
    words = {"method": method, "objective": objective, "max_steps": 3, "eval": 8}
    asked = {**words, "model": tune.model, "tokenizer": tune.tokenizer}
    script = nbpeft.show_code("plain", f"tiny:{DATA[objective]}", **asked)
    assert not script.text
    assert OWN[method, objective] in script.own[0]


PLAIN_CHATML = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{{ '<|assistant|>' if add_generation_prompt }}"
)
"""The embedded template without marks, which TRL doesn't know."""
NAMES = ("Anna", "Tom", "Emil", "Dora", "Ida", "Finn", "Mia", "Otto", "Lea", "Max", "Eva")
QUESTIONS = [f"Who is {name}?" for name in NAMES]
STRINGS = [
    {"prompt": q, "completion": f" It is a friend, {n * 'my ' + 'dear'}."}
    for n, q in enumerate(QUESTIONS)
]
TURNS = [
    {
        "messages": [
            {"role": "user", "content": q},
            {"role": "assistant", "content": f"I know {n}."},
            {"role": "user", "content": "And now?"},
            {"role": "assistant", "content": "Now I do not know."},
        ]
    }
    for n, q in enumerate(QUESTIONS)
]
ALPACA = [
    {"instruction": q, "input": "", "output": f"A friend, {n}."} for n, q in enumerate(QUESTIONS)
]
SHAREGPT = [
    {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": f"Friend {n}."}]}
    for n, q in enumerate(QUESTIONS)
]


@pytest.mark.parametrize("marks", [True, False], ids=["marks", "no marks"])
@pytest.mark.parametrize("loss_on", ["answers", "last", "all"])
def test_chats_of_several_turns_are_labelled_alike(beside, tune, marks, loss_on):
    if not marks:
        tune.tokenizer.chat_template = PLAIN_CHATML
    beside(data=TURNS, eval=2, loss_on=loss_on, max_steps=2)


@pytest.mark.parametrize("template", ["own", "none"])
@pytest.mark.parametrize("rows", [STRINGS, ALPACA, SHAREGPT], ids=["strings", "alpaca", "sharegpt"])
def test_rows_of_other_shapes_come_to_the_same_tokens(beside, tune, rows, template):
    if template == "none":
        tune.tokenizer.chat_template = None
    beside(data=rows, eval=2, max_steps=2)


def test_rows_that_are_cut_and_dropped_are_so_in_the_script(beside, tune):
    tune.tokenizer.chat_template = PLAIN_CHATML
    long = {"role": "user", "content": "the cat and the dog " * 9}
    beside(data=[*TURNS, {"messages": [long, TURNS[0]["messages"][1]]}], eval=0, max_length=24)


def test_copies_stay_on_their_side(beside):
    script = beside(data=[row for row in STRINGS for _ in range(2)], eval=4)
    assert "random.Random" not in script.text


def test_files_are_read_from_where_they_lie(beside, tmp_path):
    for name, data in (("a b.jsonl", STRINGS), ("held.jsonl", STRINGS[:3])):
        (tmp_path / name).write_text("\n".join(map(json.dumps, data)))
    script = beside(data="a b.jsonl", eval="held.jsonl")
    assert "Write these in the notebook first" in script.text
    assert ".to_json" not in script.text


def test_several_epochs_batches_and_a_schedule(beside):
    words = {"max_steps": -1, "epochs": 2, "gradient_accumulation_steps": 2, "batch_size": 2}
    beside("adalora", data=TURNS, eval=1, weight_decay=0.1, lr_scheduler_type="cosine", **words)
    words |= {"epochs": 0.1, "loss": "ipo", "beta": 0.3, "learning_rate": 1e-3}
    beside(objective="dpo", **words)


@pytest.mark.parametrize(
    ("words", "method"),
    [
        ({"use_dora": True, "rank": 4}, "lora"),
        ({"init_lora_weights": "pissa", "target_modules": ["q_proj", "v_proj"]}, "lora"),
        ({"use_rslora": True, "bias": "all", "exclude_modules": ["q_proj"]}, "lora"),
        ({"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": 'Say "Arr"\n'}, "prompt"),
        ({"label_smoothing_factor": 0.1, "layers": 1}, "last-layers"),
    ],
)
def test_options_of_a_method_are_in_the_script(beside, words, method):
    beside(method, **words)


@pytest.mark.parametrize("method", ["qlora", "lora8"])
def test_a_quantized_base_is_loaded_quantized(beside, method):
    pytest.importorskip("bitsandbytes")
    script = beside(method, dropout=0.0, learning_rate=1e-2, coarse=True)
    assert "BitsAndBytesConfig" in script.text


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_an_adapter_is_gone_on_from(beside, tune, objective):
    tune("before", learning_rate=1e-2)
    script = beside(objective=objective, from_="before", learning_rate=1e-2)
    assert "is_trainable=True" in script.text


def test_a_name_cannot_break_out(tune):
    name = "x'\"\n</script>\u202e"
    words = {"model": tune.model, "tokenizer": tune.tokenizer, "method": "prompt"}
    script = nbpeft.show_code("a", STRINGS, prompt_tuning_init_text=name, **words)
    assert ast.literal_eval(re.search(r"prompt_tuning_init_text=(.*),", script.text)[1]) == name
    shown = script._repr_mimebundle_()
    assert "</script>" not in shown["text/html"]
    assert "\u202e" not in shown["text/html"] + shown["text/plain"]


def test_what_is_nbpefts_own_is_said(tune):
    words = {"model": tune.model, "tokenizer": tune.tokenizer}
    for more, said in [
        ({"method": "bottleneck"}, "no library has them"),
        ({"objective": "reward", "method": "head", "data": "tiny:polite"}, "scikit-learn"),
        ({"objective": "orpo", "method": "prompt", "data": "tiny:polite"}, "soft prompts"),
        ({"objective": "kto", "data": "tiny:polite"}, "judgements"),
        ({"data": "tiny:pirate:1,tiny:facts:1"}, "mix"),
    ]:
        script = nbpeft.show_code("a", **{"data": "tiny:pirate", **words, **more})
        assert not script.text
        assert said in script.own[0]
    script = nbpeft.show_code("a", "tiny:pirate", budget="1min", dropout=0.1, **words)
    assert script.text
    assert len(script.own) == 2


def test_each_method_and_objective_has_a_writer_or_a_reason():
    for kinds, writers, reasons in (
        (methods, scripts.methods.METHODS, own.METHODS),
        (objectives, scripts.objectives.OBJECTIVES, own.OBJECTIVES),
    ):
        assert sorted([*writers, *reasons]) == sorted(kinds.names())


def test_showing_changes_nothing(tune):
    before = state_of(tune.model, tune.tokenizer)
    nbpeft.show_code("a", "tiny:pirate", model=tune.model, tokenizer=tune.tokenizer)
    nbpeft.show_code("a", TURNS, model=tune.model, tokenizer=tune.tokenizer, loss_on="last")
    assert not differences(before, state_of(tune.model, tune.tokenizer))


def test_a_script_runs_as_it_stands(tune, tmp_path):
    tune.model.save_pretrained(tmp_path / "tiny")
    tune.tokenizer.save_pretrained(tmp_path / "tiny")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, STRINGS)))
    data = str(tmp_path / "rows.jsonl")
    script = nbpeft.show_code("a", data, model=model, tokenizer=tokenizer, max_steps=1, eval=2)
    (tmp_path / "script.py").write_text(script.text)
    ran = [sys.executable, "script.py"]
    subprocess.run(ran, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "a" / "adapter_model.safetensors").is_file()
    ours = [line for line in script.text.splitlines() if str(tmp_path) not in line]
    assert max(map(len, ours)) <= 100


def test_a_column_cannot_break_out(beside):
    name = "q\"]; raise SystemExit('out')  # '\n"
    rows = [{name: row["prompt"], "a": row["completion"]} for row in STRINGS]
    beside(data=rows, columns={"prompt": name, "completion": "a"}, eval=2, max_steps=2)
