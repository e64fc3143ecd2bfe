"""%peft_adapters NAME: what one adapter is, and which tokens a soft prompt lies near."""

from __future__ import annotations

import pytest
import torch
from conftest import differences, state_of

import nbpeft
from nbpeft.errors import AdapterError
from nbpeft.session import current


@pytest.fixture
def prompt(tiny_pair):
    """A soft prompt whose vectors are turned and stretched from known tokens'; (ids, model, …)."""
    model, tokenizer = tiny_pair
    wrapper = nbpeft.attach("soft", model=model, method="prompt", num_virtual_tokens=3)
    ids = [7, 300, 1023]
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        own = wrapper.prompt_encoder["default"].embedding.weight
        own.copy_(3 * embeddings[ids])
        own[1] += 0.5 * embeddings[40]
    nbpeft.attach(None, model=model)
    return ids, model, tokenizer


def test_the_nearest_tokens_are_by_cosine(prompt):
    ids, model, tokenizer = prompt
    before = state_of(model, tokenizer)
    shown = nbpeft.describe("soft", model=model, tokenizer=tokenizer)
    assert not differences(before, state_of(model, tokenizer))
    cosine = torch.nn.functional.cosine_similarity
    embeddings = model.get_input_embeddings().weight.detach()
    vector = 3 * embeddings[300] + 0.5 * embeddings[40]
    wanted = cosine(vector[None], embeddings).topk(3)
    near = shown.nearest[1]
    assert [n.similarity for n in near] == pytest.approx(wanted.values.tolist(), abs=1e-5)
    assert [len(tokens) for tokens in shown.nearest] == [3, 3, 3]
    first = [tokens[0].token[1:-1] for tokens in shown.nearest]
    assert [first[0], first[1]] == [tokenizer.decode([number]) for number in ids[:2]]
    assert shown.nearest[0][0].similarity == pytest.approx(1)
    assert f"'{first[1]}' {near[0].similarity:.2f}" in repr(shown)


def test_tokens_that_hold_markup_or_commands_are_shown_and_do_nothing(prompt):
    _, model, tokenizer = prompt

    class Odd:
        """A tokenizer whose every token is hostile."""

        def __len__(self):
            return len(tokenizer)

        def decode(self, ids):
            return f"<b>\x1b[31m\n{ids[0]}"

    shown = nbpeft.describe("soft", model=model, tokenizer=Odd())
    bundle = shown._repr_mimebundle_()
    assert "<b>" not in bundle["text/html"]
    assert "&lt;b&gt;\\x1b[31m\\n7" in bundle["text/html"]
    assert "\x1b" not in bundle["text/plain"]


@pytest.mark.parametrize("method", ["prefix", "ptuning-v2"])
def test_keys_and_values_are_near_no_token(tiny_pair, method):
    model, tokenizer = tiny_pair
    nbpeft.attach("soft", model=model, method=method)
    shown = nbpeft.describe("soft", model=model, tokenizer=tokenizer)
    assert shown.nearest == ()
    assert "in no token's space" in repr(shown)


def test_a_prompt_that_an_encoder_makes_is_looked_at_as_it_comes_out(tiny_pair):
    model, tokenizer = tiny_pair
    nbpeft.attach("soft", model=model, method="ptuning", num_virtual_tokens=2)
    assert len(nbpeft.describe("soft", model=model, tokenizer=tokenizer).nearest) == 2


def test_without_its_model_it_says_what_lacks(prompt, tiny_pair, monkeypatch):
    _, model, tokenizer = prompt
    nbpeft.save("soft", model=model)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert "With its model in the kernel" in repr(nbpeft.describe("soft"))
    shown = nbpeft.describe("soft", model=model)
    assert "With a tokenizer in the kernel" in repr(shown)
    assert len(nbpeft.describe("soft", model=model, tokenizer=tokenizer).nearest) == 3


def test_what_a_run_made(tune):
    record = tune("pirate", rank=3).record
    shown = repr(nbpeft.describe("pirate"))
    for wanted in ("lora: low-rank", "Hu et al. 2021", "sft", f"{record.trainable_parameters:,}",
                   "r ", "→", record.model):  # fmt: skip
        assert wanted in shown, wanted
    with pytest.raises(AdapterError, match="Did you mean pirate"):
        nbpeft.describe("pirat")


def test_what_was_made_of_others(tiny_pair):
    model, _ = tiny_pair
    for name in "ab":
        nbpeft.attach(name, model=model, method="lora")
    nbpeft.attach("a+b", model=model, as_="both")
    shown = repr(nbpeft.describe("both"))
    assert "a@1+b@1" in shown
    assert "this kernel only" in shown
    assert current().attached() == ["both@1"]
