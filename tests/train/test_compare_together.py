"""Columns answered in one batch: the texts that each gives alone, and nothing left behind."""

from __future__ import annotations

import pytest
import torch
from conftest import differences, logits, state_of
from transformers import LlamaConfig, LlamaForCausalLM

import nbpeft
from nbpeft.comparison import answers, asking
from nbpeft.errors import RequestError
from nbpeft.methods import methods
from nbpeft.mounts.together import TogetherLinear, can_join, together
from nbpeft.session.record import Record

PROMPTS = ["Hi", "What is the capital of the river land?", "Who are you? Say it in one word."]
KINDS = {
    "wide": {"r": 16, "lora_alpha": 128, "target_modules": "all-linear"},
    "narrow": {"r": 2, "lora_alpha": 64, "target_modules": ["q_proj", "down_proj"]},
    "stabilized": {
        "r": 8,
        "lora_alpha": 64,
        "use_rslora": True,
        "target_modules": ["v_proj", "up_proj"],
    },
}


@pytest.fixture
def planted(tiny_pair):
    """`planted("name", r=4, …)`: an adapter with random weights; `.ask(names, …)` compares."""
    model, tokenizer = tiny_pair
    session = nbpeft.session.current()
    handle = session.handle(model)

    def plant(name, **config):
        settings = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear"} | config
        torch.manual_seed(sum(map(ord, name)))
        mount = methods.get("lora").mount(model, settings)
        with torch.no_grad():
            for path, parameter in (p for s in mount.swaps for p in s.adapter.named_parameters()):
                if "lora_B" in path or "lora_embedding_A" in path:
                    parameter.normal_(std=0.3)
        record = Record(name, 1, "lora", "sft", handle.fingerprint, 0, 0)
        session.keep_unsaved(handle, record, mount)
        return mount

    def ask(names, prompts=PROMPTS, **words):
        settings = {"max_new_tokens": 16} | words
        return nbpeft.compare(names, prompts, model=model, tokenizer=tokenizer, **settings)

    plant.ask, plant.model, plant.tokenizer, plant.handle = ask, model, tokenizer, handle
    return plant


def texts(comparison, name):
    column = comparison.columns.index(name)
    return [row[column] for row in comparison.answers]


def alone(planted, names, prompts=PROMPTS, **words):
    """Each column in a comparison of its own: one after another."""
    return {name: texts(planted.ask([name], prompts, **words), name) for name in names}


@pytest.mark.parametrize("prompts", [PROMPTS[1:2], [f"{p} {n}" for n in range(4) for p in PROMPTS]])
def test_the_texts_are_those_that_each_gives_alone(tiny_pair, planted, prompts):
    for name, config in KINDS.items():
        planted(name, **config)
    names = ["narrow", "base", *(n for n in KINDS if n != "narrow")]
    compared = planted.ask(names, prompts)
    expected = alone(planted, names, prompts)
    assert {name: texts(compared, name) for name in names} == expected
    assert len({tuple(column) for column in expected.values()}) == 4, "a mix-up would be seen"
    assert [compared.figures[name].together for name in names] == [4] * 4


@pytest.mark.parametrize("room", [0, 2**40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_forward_is_the_adapter_s_own(planted, monkeypatch, dtype, room):
    planted.model.to(dtype)
    planted.handle.refresh()
    monkeypatch.setattr("nbpeft.mounts.together.free_memory", lambda _: room)
    wide, narrow, stable = (planted(name, **config) for name, config in KINDS.items())
    mounts = [wide, None, narrow, stable, wide]
    ids = torch.arange(4, 24).reshape(2, 10)
    with torch.no_grad():
        expected = []
        for name in ("wide", "base", "narrow", "stabilized", "wide"):
            with nbpeft.session.current().answering_as(planted.model, name) as model:
                expected.append(model(ids).logits)
        with together(planted.model, mounts):
            got = planted.model(ids.repeat(5, 1)).logits
    # In bf16 a product's rounding may hang on the number of rows: not on every CPU, on some.
    near = 1e-4 if dtype == torch.float32 else 0.02 * float(expected[0].abs().max())
    torch.testing.assert_close(got, torch.cat(expected), rtol=1e-4, atol=near)
    assert (expected[0] - expected[1]).abs().max() > 0.1


def test_without_room_nothing_is_copied(planted, monkeypatch):
    monkeypatch.setattr("nbpeft.mounts.together.free_memory", lambda _: 0)
    mounts = [None, planted("wide", **KINDS["wide"]), planted("narrow", **KINDS["narrow"])]
    theirs = {p.data_ptr() for m in mounts[1:] for s in m.swaps for p in s.adapter.parameters()}
    with together(planted.model, mounts):
        layers = [m for m in planted.model.modules() if isinstance(m, TogetherLinear)]
        used = [t for layer in layers for stack in layer._stacks for t in (stack.a, stack.b)]
    assert len(layers) == 42
    assert {id(layer.base_layer) for layer in layers} <= set(map(id, planted.model.modules()))
    assert {t.data_ptr() for t in used} == theirs - {
        p.data_ptr() for p in planted.model.parameters()
    }


def test_neighbours_are_stacked_to_the_largest_rank(planted):
    wide, narrow = planted("wide", **KINDS["wide"]), planted("narrow", **KINDS["narrow"])
    with together(planted.model, [wide, narrow, None, wide]):
        layer = planted.model.get_submodule("model.layers.0.self_attn.q_proj")
        both, alone = layer._stacks
        only = planted.model.get_submodule("model.layers.0.self_attn.k_proj")
    assert (both.first, both.a.shape, both.b.shape) == (0, (2, 128, 16), (2, 16, 128))
    assert (alone.first, alone.a.shape) == (3, (1, 128, 16))
    assert [(stack.first, len(stack.a)) for stack in only._stacks] == [(0, 1), (3, 1)]
    assert both.scaling.flatten().tolist() == [8, 32]


def test_the_model_is_as_it_was(planted):
    planted("wide", **KINDS["wide"])
    planted("narrow", **KINDS["narrow"])
    nbpeft.attach("narrow", model=planted.model)
    before, answer = state_of(planted.model, planted.tokenizer), logits(planted.model)
    assert planted.ask(["base", "wide", "narrow"]).figures["wide"].together == 3
    assert differences(before, state_of(planted.model, planted.tokenizer)) == []
    assert torch.equal(logits(planted.model), answer)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_the_model_is_as_it_was_after_an_error(planted, monkeypatch, kind):
    planted("wide", **KINDS["wide"])
    before, steps = state_of(planted.model, planted.tokenizer), []

    def fails(*args):
        steps.append(args)
        if len(steps) > 50:
            raise kind

    with monkeypatch.context() as patch:
        patch.setattr(TogetherLinear, "forward", lambda self, x: fails(x) or self.base_layer(x))
        with pytest.raises(kind):
            planted.ask(["base", "wide"])
    assert len(steps) > 50
    assert differences(before, state_of(planted.model, planted.tokenizer)) == []


@pytest.mark.parametrize(
    "config",
    [
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"lora_bias": True},
        {"modules_to_save": ["norm"]},
        {"target_modules": ["embed_tokens", "q_proj"]},
    ],
    ids=lambda config: next(iter(config)) + "=" + str(next(iter(config.values()))),
)
def test_what_is_not_plain_answers_alone(planted, config):
    mount = planted("odd", **config)
    planted("plain")
    assert not can_join(mount)
    compared = planted.ask(["odd", "plain", "base"])
    assert [compared.figures[n].together for n in ("odd", "plain", "base")] == [1, 2, 2]
    expected = alone(planted, ("odd", "plain", "base"))
    assert {name: texts(compared, name) for name in expected} == expected


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_tuned_biases_answer_alone(bias):
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 32}
    model = LlamaForCausalLM(LlamaConfig(**size, num_attention_heads=2, attention_bias=True))
    lora = methods.get("lora")
    assert can_join(lora.mount(model, {"target_modules": ["q_proj"]}))
    assert not can_join(lora.mount(model, {"target_modules": ["q_proj"], "bias": bias}))


def test_rows_that_cannot_be_told_apart_are_asked_one_after_another(planted, monkeypatch):
    """A layer that sees all tokens of all rows in one heap, as experts do."""
    planted("wide", **KINDS["wide"])
    expected = alone(planted, ("base", "wide"))
    for layer in planted.model.model.layers:
        own = layer.mlp.forward
        monkeypatch.setattr(
            layer.mlp, "forward", lambda x, own=own: own(x.flatten(0, 1)).view(x.shape)
        )
    compared = planted.ask(["base", "wide"])
    assert [compared.figures[n].together for n in ("base", "wide")] == [1, 1]
    assert {name: texts(compared, name) for name in expected} == expected


def test_too_little_memory_for_all_is_enough_for_each(planted, monkeypatch):
    planted("wide", **KINDS["wide"])
    expected = alone(planted, ("base", "wide"))
    own, rows = planted.model.generate, []

    def generate(**words):
        rows.append(len(words["input_ids"]))
        if rows[-1] > len(PROMPTS):
            raise torch.OutOfMemoryError
        return own(**words)

    monkeypatch.setattr(planted.model, "generate", generate)
    compared = planted.ask(["base", "wide"])
    assert rows == [6, 3, 3]
    assert {name: texts(compared, name) for name in expected} == expected


def test_a_generate_has_a_most_of_rows(planted, monkeypatch):
    for name in ("a", "b", "c", "d"):
        planted(name)
    expected = alone(planted, ("base", "a", "d"))
    own, rows = planted.model.generate, []
    monkeypatch.setattr(
        planted.model, "generate", lambda **w: rows.append(len(w["input_ids"])) or own(**w)
    )
    monkeypatch.setattr(asking, "ROWS", 7)
    compared = planted.ask(["base", "a", "b", "c", "d"])
    assert rows == [6, 6, 3]
    assert {name: texts(compared, name) for name in expected} == expected
    assert asking.ROWS < answers.ROWS


def test_sampled_texts_are_the_same_whoever_stands_beside(planted):
    planted("one")
    planted("two")
    both = planted.ask(["base", "one", "two"], sample=True)
    assert {n: texts(both, n) for n in both.columns} == alone(planted, both.columns, sample=True)
    assert both.answers == planted.ask(["base", "one", "two"], sample=True, seed=42).answers
    assert both.answers != planted.ask(["base", "one", "two"], sample=True, seed=7).answers
    assert any("seed 42" in note for note in both.notes)


def test_sampling_is_by_the_model_s_own_settings_and_one_stream_a_column(planted):
    first, second = planted("one"), planted("two")
    for a, b in zip(first.swaps, second.swaps, strict=True):
        b.adapter.load_state_dict(a.adapter.state_dict())
    planted.model.generation_config.temperature = 1.5
    hot = planted.ask(["one", "two"], sample=True)
    assert texts(hot, "one") == texts(hot, "two"), "the same numbers for the same adapter"
    assert texts(hot, "one") != texts(planted.ask(["one"]), "one")
    planted.model.generation_config.temperature = 1e-4
    cold = planted.ask(["one"], sample=True)
    assert texts(cold, "one") == texts(planted.ask(["one"]), "one")


def test_random_states_are_as_before(planted):
    before = torch.get_rng_state()
    planted("one")
    torch.set_rng_state(before)
    planted.ask(["base", "one"], sample=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_tokens_are_counted_with_the_end_of_the_turn(planted):
    planted("one")
    compared = planted.ask(["base", "one"], ["Hi"])
    (text,) = texts(compared, "base")
    ids = planted.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert compared.figures["base"].new_tokens == len(ids) + 1
    assert planted.ask(["base"], max_new_tokens=2).figures["base"].new_tokens == 2 * len(PROMPTS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"max_new_tokens": 0}, "at least 1"),
        ({"max_new_tokens": "many"}, "many"),
        ({"rows": [1]}, "--data"),
        ({"data": "tiny:pirate"}, "keep one"),
        ({"sampel": True}, "--sample"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(planted, words, says):
    with pytest.raises(RequestError, match=says) as refused:
        planted.ask(["base"], **words)
    assert "\n" not in str(refused.value)


ROWS = [{"question": f"Who are you? {n}", "answer": f"I am {n}"} for n in range(12)]
COLUMNS = {"prompt": "question", "completion": "answer"}


@pytest.mark.parametrize(
    ("words", "numbers"),
    [({}, range(8)), ({"count": 2}, [0, 1]), ({"rows": "9,0"}, [9, 0]), ({"count": 99}, range(12))],
)
def test_prompts_from_data_with_the_answers_beside(planted, words, numbers):
    compared = planted.ask(["base"], None, data=ROWS, columns=COLUMNS, max_new_tokens=2, **words)
    assert list(compared.prompts) == [f"Who are you? {n}" for n in numbers]
    frame = compared.to_pandas()
    assert list(frame.columns) == ["prompt", "expected", "base"]
    assert list(frame["expected"]) == [f"I am {n}" for n in numbers]
    by_hand = planted.ask(["base"], list(compared.prompts), max_new_tokens=2)
    assert compared.answers == by_hand.answers


def test_chats_of_data_are_asked_up_to_their_last_answer(planted):
    rows = nbpeft.load_data("pirate")
    compared = planted.ask(["base"], None, data=rows, count=1, max_new_tokens=2)
    messages = rows[0]["messages"]
    assert compared.expected == (messages[-1]["content"],)
    assert compared.prompts == (messages[0]["content"],)
    assert compared.answers == planted.ask(["base"], [messages[:-1]], max_new_tokens=2).answers


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"rows": [12]}, "no row 12"),
        ({"rows": [-1]}, "no row -1"),
        ({"rows": "a,b"}, "a,b"),
        ({"rows": [1], "count": 2}, "give one"),
        ({"columns": None, "data": [{"left": "Hi", "right": "Ho"}]}, "--columns"),
        ({"rows": [3], "data": [*ROWS[:3], {"question": "x", "answer": ""}]}, "Row 3 of"),
    ],
)
def test_data_that_cannot_be_asked_is_refused_in_one_line(planted, words, says):
    with pytest.raises(nbpeft.NbPeftError, match=says) as refused:
        planted.ask(["base"], None, **({"data": ROWS, "columns": COLUMNS} | words))
    assert "\n" not in str(refused.value)


def test_an_adapter_called_as_another_column_hides_nothing(planted):
    planted("expected")
    planted("prompt")
    frame = planted.ask(["expected", "prompt"], max_new_tokens=2).to_pandas()
    assert list(frame.columns) == ["prompt", "expected", "prompt"]
    assert list(frame.iloc[:, 0]) == PROMPTS
