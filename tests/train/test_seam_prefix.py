"""What rows begin with, read once: their scores, and what is written after it, stay as they are."""

from __future__ import annotations

import architectures
import pytest
import torch
import transformers

from nbpeft.errors import RunError
from nbpeft.generating import new_tokens
from nbpeft.seam.layouts import Asked
from nbpeft.seam.packing import Packed, Prefixed
from nbpeft.seam.prefix import prefix_of
from nbpeft.seam.probe import choose
from nbpeft.seam.shared import attention
from nbpeft.seam.sharing import prefixes

START = list(range(5, 45))
ENDS = ([50, 51, 52, 53], [60, 61], [70, 71, 72, 73, 74, 75])
DECODERS = ("llama", "qwen3", "gpt2", "gemma", "mistral")


def rows(start):
    """Whose first token after START isn't learned."""
    return [
        {"input_ids": start + end, "labels": [-100] * (len(start) + 1) + end[1:]} for end in ENDS
    ]


def scores(choice, batch):
    with torch.no_grad(), choice.scorer.over(batch):
        return choice.scorer.scores(batch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", DECODERS)
def test_scores_are_those_of_whole_rows(name, dtype):
    model = architectures.build(name).to(dtype).requires_grad_(False)
    choice = choose(model, longest=64)
    assert choice.way == "packed"
    with torch.no_grad():
        prefix = prefix_of(model, START, 64)
    kept = [layer.keys.clone() for layer in prefix.cache.layers]
    apart = [{k: v[len(START) :] for k, v in row.items()} for row in rows(START)]
    apart = [{**row, "labels": [-100, *row["labels"][1:]]} for row in apart]
    whole = scores(choice, Packed()(rows(START)))
    tolerance = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0}
    for _ in range(2):  # nothing is taken in
        batch = Prefixed(len(START))(apart) | {"past_key_values": prefix.frozen()}
        torch.testing.assert_close(scores(choice, batch), whole, **tolerance)
    for layer, keys in zip(prefix.cache.layers, kept, strict=True):
        assert torch.equal(layer.keys, keys)


@pytest.mark.parametrize("name", DECODERS)
def test_a_model_is_tried(name):
    model = architectures.build(name).requires_grad_(False)
    assert prefixes(model, choose(model, longest=64), torch.no_grad, 64)


@pytest.mark.parametrize("name", ["Mamba", "Bloom"])
def test_what_keeps_other_states_says_no(name):
    shape = {"num_hidden_layers": 2, "hidden_size": 32, "vocab_size": 128, "state_size": 4}
    config = getattr(transformers, f"{name}Config")(**shape, n_head=2, eos_token_id=1)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval().requires_grad_(False)
    assert not prefixes(model, choose(model, longest=64), torch.no_grad, 64)


def test_a_prefix_is_none_where_a_window_would_cut_it():
    config = transformers.MistralConfig(
        **architectures.GROUPED, vocab_size=architectures.VOCABULARY, sliding_window=64
    )
    model = transformers.MistralForCausalLM(config).eval().requires_grad_(False)
    with torch.no_grad():
        assert prefix_of(model, START, 72) is None
        assert prefix_of(model, START, 60) is not None
    choice = choose(model, longest=60)
    assert prefixes(model, choice, torch.no_grad, 60)
    assert not prefixes(model, choice, torch.no_grad, 72)


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_written_is_the_same(name, tiny_pair, monkeypatch):
    model, tokenizer = architectures.build(name), tiny_pair[1]
    prompts = [START + end for end in ENDS]
    with torch.no_grad():
        prefix = prefix_of(model, START, 128)
        read = []
        forward = model.base_model.forward

        def counted(*args, **words):
            read.append(words["input_ids"].shape[1] if "input_ids" in words else args[0].shape[1])
            return forward(*args, **words)

        plain = new_tokens(model, tokenizer, prompts, max_new_tokens=8, do_sample=False)
        monkeypatch.setattr(model.base_model, "forward", counted)
        for _ in range(2):
            with_prefix = new_tokens(
                model, tokenizer, prompts, max_new_tokens=8, do_sample=False, prefix=prefix
            )
            assert with_prefix == plain
        other = [[*prompts[0][1:]], prompts[1]]
        new_tokens(model, tokenizer, other, max_new_tokens=2, do_sample=False, prefix=prefix)
    assert max(read[:-2]) <= max(map(len, ENDS))  # the start isn't read again
    assert isinstance(prefix.copies(2), transformers.DynamicCache)


def whole(q, k, v, prefix, lengths, softcap):  # noqa: PLR0917  as what it stands for
    """Row by row, written out."""
    group = len(q) // len(k)
    k, v = (t.repeat_interleave(group, 0) for t in (k, v))
    made, begin = [], 0
    for n in lengths:
        own = slice(prefix + begin, prefix + begin + n)
        keys, values = (torch.cat([t[:, :prefix], t[:, own]], 1) for t in (k, v))
        scores = q[:, begin : begin + n] @ keys.transpose(1, 2) * 0.3
        if softcap:
            scores = torch.tanh(scores / softcap) * softcap
        seen = torch.ones(n, prefix + n, dtype=torch.bool).tril(prefix)
        made.append(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values)
        begin += n
    return torch.cat(made, 1).transpose(0, 1)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_two_parts_are_one_softmax(softcap, monkeypatch):
    monkeypatch.setattr("nbpeft.seam.shared.BLOCK", 4)
    torch.manual_seed(0)
    lengths = [3, 7, 1]
    q, k, v = torch.randn(4, 11, 8), torch.randn(2, 20, 8), torch.randn(2, 20, 6)
    asked = Asked(0.3, None, softcap, None, 0.0)
    mine = attention(q, k, v, 9, lengths, asked)
    torch.testing.assert_close(mine, whole(q, k, v, 9, lengths, softcap))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(1.0, 10, None, None, 0.0), "window of 10 tokens cuts"),
        (Asked(1.0, None, None, torch.zeros(2), 0.0), "sinks"),
    ],
)
def test_what_it_is_not_made_for_is_refused(asked, said):
    q, k = torch.randn(2, 4, 8), torch.randn(2, 13, 8)
    with pytest.raises(RunError, match=said):
        attention(q, k, k, 9, [4], asked)
    with pytest.raises(RunError, match="no gradient"):
        attention(q.requires_grad_(), k, k, 9, [4], Asked(1.0, None, None, None, 0.0))
