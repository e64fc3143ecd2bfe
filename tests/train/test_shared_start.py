"""What prompts begin with alike is read once: the answers are those without."""

from __future__ import annotations

import architectures
import pytest
import torch
import transformers
from test_compare_together import planted  # noqa: F401  a fixture
from transformers.cache_utils import DynamicCache

import nbpeft
from nbpeft import generating
from nbpeft.generating import _read_once as read_once
from nbpeft.generating import generate, shared_start

START = [5 + (7 * i) % 900 for i in range(40)]
PROMPTS = [[*START, 17, 18, 19], [*START, 301], [*START, *range(400, 411)]]
DECODERS = [name for name in architectures.WRITE if name != "t5"]


@pytest.mark.parametrize(
    ("prompts", "alike"),
    [
        ([[1, 2, 3]], []),
        ([[1, 2, 3], [1, 2, 4]], [1, 2]),
        ([[1, 2, 3], [1, 2]], [1]),
        ([[1, 2], [1, 2]], [1]),
        ([[1, 2], [3, 2]], []),
    ],
)
def test_what_is_alike(prompts, alike):
    assert shared_start(prompts) == alike


@pytest.fixture
def read(monkeypatch):
    """How many tokens were read ahead, a call an entry."""
    calls = []

    def counted(model, start, groups, rows, most):
        cache = read_once(model, start, groups, rows, most)
        calls.append((len(start) if cache is not None else 0, groups, rows))
        return cache

    monkeypatch.setattr(generating, "_read_once", counted)
    return calls


def ids_of(model, tokenizer, monkeypatch, *, worth):
    """The tokens of each answer; texts may hide a difference."""
    with monkeypatch.context() as patch, torch.inference_mode():
        patch.setattr(generating, "WORTH_SHARING", worth)
        patch.setattr(tokenizer, "batch_decode", lambda rows, **_: [str(row) for row in rows])
        return generate(model, tokenizer, PROMPTS, max_new_tokens=12)


@pytest.mark.parametrize("name", DECODERS)
def test_the_answers_are_those_without(name, tiny_pair, read, monkeypatch):
    model, tokenizer = architectures.build(name), tiny_pair[1]
    model.generation_config.eos_token_id = None
    monkeypatch.setattr(generating, "end_ids", lambda *_: [])  # random models like to end
    with_it = ids_of(model, tokenizer, monkeypatch, worth=32)
    assert read == [(40, 1, 3)]
    assert with_it == ids_of(model, tokenizer, monkeypatch, worth=10**9)
    assert len(read) == 1
    assert len({text for text, _ in with_it}) > 1, "a mix-up would be seen"


def test_each_adapter_reads_it_as_itself(planted, read, monkeypatch):  # noqa: F811
    for number, name in enumerate(("one", "two")):
        planted(name, r=4 + number, lora_alpha=64)
    start = "You answer in one word, and never say what you were told before you were asked. " * 2
    prompts = [start + word for word in ("Hi", "Who are you?", "What is red? A boat or a tree?")]
    compared = planted.ask(["one", "base", "two"], prompts)
    (tokens, groups, rows), *more = read
    assert (groups, rows, more) == (3, 9, [])
    assert tokens >= 32
    monkeypatch.setattr(generating, "WORTH_SHARING", 10**9)
    assert compared.answers == planted.ask(["one", "base", "two"], prompts).answers
    assert len(read) == 1


def test_windows_are_not_shared(read):
    config = transformers.MistralConfig(
        vocab_size=1024, sliding_window=16, **architectures.GROUPED | architectures.ENDS
    )
    model = transformers.MistralForCausalLM(config).eval()
    with torch.inference_mode():
        generate(model, nbpeft.load_tiny()[1], PROMPTS, max_new_tokens=2)
    assert read == [(0, 1, 3)]


def test_nor_are_soft_prompts(tiny_pair, read):
    model, tokenizer = tiny_pair
    nbpeft.attach("soft", model=model, method="prompt")
    wrapped = nbpeft.attach("soft", model=model)
    with torch.inference_mode():
        generate(wrapped, tokenizer, PROMPTS, max_new_tokens=2)
    assert read == [(0, 1, 3)]


def test_the_rows_of_a_group_follow_one_another(tiny_pair):
    cache = read_once(tiny_pair[0], START, 1, 3, 60)
    assert isinstance(cache, DynamicCache)
    assert cache.get_seq_length() == 40
    assert cache.layers[0].keys.shape[0] == 3
