"""Log-probabilities of tokens by chunks equal those of the whole batch's logits."""

from __future__ import annotations

import architectures
import pytest
import torch
import transformers
from conftest import differences, state_of
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch._subclasses import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from nbpeft.seam.attention import Attention
from nbpeft.seam.casting import frozen_in_fast_dtype
from nbpeft.seam.finding import head_of
from nbpeft.seam.head import token_log_probs
from nbpeft.seam.packing import Packed, Padded
from nbpeft.seam.scores import Scorer, Whole

ROWS, WIDTH, WORDS = 50, 16, 90
CHUNK = 16  # so that the last chunk isn't full


def example(dtype=torch.float32):
    torch.manual_seed(0)
    hidden = torch.randn(ROWS, WIDTH, dtype=dtype, requires_grad=True)
    weight = torch.randn(WORDS, WIDTH, dtype=dtype)
    return hidden, weight, torch.randint(WORDS, (ROWS,))


def plainly(hidden, weight, targets, *, bias=None, softcap=None, scale=1.0):
    logits = functional.linear(hidden, weight).float() * scale
    logits = logits if bias is None else logits + bias * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return torch.log_softmax(logits, -1)[torch.arange(len(targets)), targets]


def gradients(outputs, upstream, *inputs):
    return torch.autograd.grad(outputs, inputs, upstream)


def near(one, other, tolerance=1e-6):
    return bool((one - other).abs().max() <= tolerance * other.abs().max())


SHAPES = [
    {},
    {"bias": torch.linspace(-1, 1, WORDS)},
    {"softcap": 4.0},
    {"scale": 0.25},
    {"bias": torch.linspace(-1, 1, WORDS), "softcap": 4.0, "scale": 3.0},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(shape) or "plain")
def test_values_and_gradients_are_those_of_whole_logits(shape):
    hidden, weight, targets = example()
    upstream = torch.randn(ROWS)  # any loss: each token has a weight of its own
    mine = token_log_probs(hidden, weight, targets, chunk=CHUNK, **shape)
    theirs = plainly(hidden, weight, targets, **shape)
    assert mine.dtype == torch.float32
    assert near(mine, theirs)
    assert near(*(gradients(lp, upstream, hidden)[0] for lp in (mine, theirs)), 2e-6)


def test_a_trained_head_gets_its_gradients():
    hidden, weight, targets = example()
    bias = torch.zeros(WORDS)
    inputs = [hidden, weight.requires_grad_(), bias.requires_grad_()]
    upstream = torch.randn(ROWS)
    shape = {"bias": bias, "softcap": 4.0}
    mine = gradients(
        token_log_probs(hidden, weight, targets, chunk=CHUNK, **shape), upstream, *inputs
    )
    theirs = gradients(plainly(hidden, weight, targets, **shape), upstream, *inputs)
    assert all(near(one, other, 2e-6) for one, other in zip(mine, theirs, strict=True))


class Largest(TorchDispatchMode):
    """Notes how many elements the largest tensor has that is made."""

    made = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.made = max(self.made, result.numel())
        return result


@pytest.mark.parametrize("trained", [False, True])
def test_no_more_than_a_chunk_of_logits_is_there(trained):
    hidden, weight, targets = example()
    weight.requires_grad_(trained)
    kept = []
    keeping = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t)
    with Largest() as largest:
        with keeping:
            lp = token_log_probs(hidden, weight, targets, chunk=CHUNK)
        assert max(t.numel() for t in kept) <= ROWS * WIDTH  # and none is kept
        lp.sum().backward()
    assert largest.made == CHUNK * WORDS


def test_bf16_is_as_near_to_the_truth_as_whole_logits():
    hidden, weight, targets = example(torch.bfloat16)
    truth = plainly(hidden.float(), weight.float(), targets)
    (wanted,) = gradients(truth, torch.ones(ROWS), hidden)
    mine = token_log_probs(hidden, weight, targets, chunk=CHUNK)
    theirs = plainly(hidden, weight, targets)
    assert (mine - truth).abs().max() <= 1.01 * (theirs - truth).abs().max()
    (gradient,) = gradients(mine, torch.ones(ROWS), hidden)
    assert gradient.dtype == torch.bfloat16
    assert near(gradient, wanted, 0.02)


def test_autocast_multiplies_in_its_dtype():
    hidden, weight, targets = example()
    with torch.autocast("cpu", torch.bfloat16):
        mine = token_log_probs(hidden, weight, targets, chunk=CHUNK)
        theirs = plainly(hidden, weight, targets)
    assert torch.equal(mine, theirs)
    assert near(*(gradients(lp, torch.ones(ROWS), hidden)[0] for lp in (mine, theirs)), 0.02)


def test_a_token_that_is_sure_keeps_its_small_gradient():
    """1 - p of 1e-5: a one-hot less a probability rounded to bf16 would be 0."""
    weight = torch.eye(WIDTH, dtype=torch.bfloat16)
    hidden = torch.zeros(1, WIDTH, dtype=torch.bfloat16)
    hidden[0, 3] = 14
    hidden.requires_grad_()
    lp = token_log_probs(hidden, weight, torch.tensor([3]))
    (gradient,) = gradients(lp, torch.ones(1), hidden)
    assert gradient[0, 3].item() == pytest.approx(-torch.expm1(lp).item(), rel=0.01)


def test_a_large_upstream_gradient_does_not_overflow_before_it_is_multiplied():
    hidden, weight, targets = example(torch.float16)
    lp = token_log_probs(hidden, weight, targets)
    (gradient,) = gradients(lp, torch.full((ROWS,), 1e5), hidden)  # over fp16's 65,504
    (one,) = gradients(token_log_probs(hidden, weight, targets), torch.ones(ROWS), hidden)
    small = one.float().abs() < 0.3
    assert near(gradient.float()[small], 1e5 * one.float()[small], 1e-3)


def test_no_rows_and_no_gradients():
    hidden, weight, targets = example()
    nothing = token_log_probs(hidden[:0], weight, targets[:0])
    assert nothing.shape == (0,)
    nothing.sum().backward()
    with torch.no_grad():
        assert near(token_log_probs(hidden, weight, targets), plainly(hidden, weight, targets))


def test_shapes_alone_are_enough():
    with FakeTensorMode():
        hidden, weight, targets = example()
        lp = token_log_probs(hidden, weight, targets, chunk=CHUNK)
        lp.sum().backward()
        assert hidden.grad.shape == (ROWS, WIDTH)


# --- heads of models ---------------------------------------------------------------------------

OTHERS = {
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {"head_dim": 16}),
    "gemma3": (
        "Gemma3TextConfig",
        "Gemma3ForCausalLM",
        {"head_dim": 16, "final_logit_softcapping": 20.0},
    ),
    "cohere": ("CohereConfig", "CohereForCausalLM", {}),
    "granite": ("GraniteConfig", "GraniteForCausalLM", {"logits_scaling": 8.0}),
    "hyperclovax": ("HyperCLOVAXConfig", "HyperCLOVAXForCausalLM", {"logits_scaling": 3.0}),
    "nanochat": ("NanoChatConfig", "NanoChatForCausalLM", {}),
    "opt": ("OPTConfig", "OPTForCausalLM", {"ffn_dim": 48, "word_embed_proj_dim": 16}),
    "bloom": ("BloomConfig", "BloomForCausalLM", {"n_head": 2}),
}
"""Beside the architectures that are tuned: those that do something with the products."""
SHAPED = {
    "gemma2": (30.0, 1.0),
    "gemma3": (20.0, 1.0),
    "cohere": (None, 0.0625),
    "granite": (None, 0.125),
    "hyperclovax": (None, 3.0),
    "nanochat": (15.0, 1.0),
}
DECODERS = [name for name in architectures.WRITE if name != "t5"]


def model_of(name):
    if name not in OTHERS:
        return architectures.build(name)
    config, kind, more = OTHERS[name]
    settings = getattr(transformers, config)(
        vocab_size=architectures.VOCABULARY,
        **architectures.ENDS,
        **(architectures.GROUPED | more),
    )
    torch.manual_seed(0)
    return getattr(transformers, kind)(settings).eval()


IDS = torch.arange(3, 17).reshape(2, 7)


@pytest.mark.parametrize("name", [*DECODERS, *OTHERS])
def test_the_head_makes_the_logits_of_every_architecture(name):
    model = model_of(name)
    head = head_of(model)
    assert (head.softcap, head.scale) == SHAPED.get(name, (None, 1.0))
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(50)  # far into the cap
    hidden = head.body(input_ids=IDS).last_hidden_state
    logits = model(IDS).logits
    assert near(head.logits(hidden), logits)
    targets = torch.arange(14)
    expected = torch.log_softmax(logits.float(), -1).view(14, -1)[torch.arange(14), targets]
    assert near(head.log_probs(hidden.view(14, -1), targets), expected, 1e-5)


def test_heads_that_are_no_product_are_none():
    bert = transformers.BertConfig(
        vocab_size=architectures.VOCABULARY, is_decoder=True, **architectures.LLAMA
    )
    assert head_of(transformers.BertLMHeadModel(bert)) is None  # a layer and a norm before it
    assert head_of(architectures.build("t5")) is None
    assert head_of(architectures.build("bert")) is None


def test_a_step_that_no_config_speaks_of_is_found_out():
    model = architectures.build("llama")
    forward = type(model).forward

    class Odd(type(model)):
        def forward(self, *args, **keywords):
            output = forward(self, *args, **keywords)
            output.logits[..., 7] = -1e9  # a token that is never to be written
            return output

    model.__class__ = Odd
    assert head_of(model) is None


def test_a_cap_that_the_config_speaks_of_and_the_model_ignores():
    model = architectures.build("llama")
    model.config.final_logit_softcapping = 30.0
    assert head_of(model).softcap is None


def test_looking_changes_nothing(tiny_pair):
    model, tokenizer = tiny_pair
    model.train()
    before = state_of(model, tokenizer)
    assert head_of(model) is not None
    assert differences(before, state_of(model, tokenizer)) == []


@pytest.mark.parametrize(
    "how", [{"target_modules": ["lm_head", "q_proj"]}, {"modules_to_save": ["lm_head"]}]
)
def test_a_trained_output_layer_goes_through_its_own_module(how):
    model = architectures.build("llama")
    torch.manual_seed(0)
    peft = get_peft_model(
        model, LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **how)
    ).eval()
    head = head_of(peft)
    assert not head.frozen
    trained = [p for p in peft.parameters() if p.requires_grad]
    targets = torch.arange(14)
    hidden = head.body(input_ids=IDS).last_hidden_state.view(14, -1)
    mine = gradients(head.log_probs(hidden, targets, chunk=4).sum(), None, *trained)
    logs = torch.log_softmax(peft(IDS).logits.view(14, -1), -1)
    theirs = gradients(logs[torch.arange(14), targets].sum(), None, *trained)
    assert all(near(one, other, 1e-5) for one, other in zip(mine, theirs, strict=True))


def test_tied_embeddings_that_train_get_both_gradients():
    model = architectures.build("gemma")  # tied
    head = head_of(model)
    weight = model.get_input_embeddings().weight
    assert not head.frozen
    targets = torch.arange(14)
    hidden = head.body(input_ids=IDS).last_hidden_state.view(14, -1)
    (mine,) = gradients(head.log_probs(hidden, targets, chunk=4).sum(), None, weight)
    logs = torch.log_softmax(model(IDS).logits.view(14, -1), -1)
    (theirs,) = gradients(logs[torch.arange(14), targets].sum(), None, weight)
    assert near(mine, theirs, 1e-5)


def test_a_prompt_before_the_tokens_is_not_the_bodys():
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    assert head_of(get_peft_model(architectures.build("llama"), config)) is None


def test_a_divergence_from_a_teacher_goes_by_chunks():
    head = head_of(architectures.build("gemma"))
    teacher = torch.randn(14, architectures.VOCABULARY)
    hidden = torch.randn(14, architectures.WIDTH, requires_grad=True)

    def divergence(logits, theirs):
        logs = torch.log_softmax(theirs, -1)
        return (logs.exp() * (logs - torch.log_softmax(logits, -1))).sum(-1)

    mine = head.reduce(divergence, hidden, teacher, chunk=4)
    whole = divergence(head.logits(hidden), teacher)
    assert near(mine, whole)
    assert near(*(gradients(d.sum(), None, hidden)[0] for d in (mine, whole)), 1e-5)


def test_a_fast_copy_of_the_output_layer_is_what_is_multiplied_by(monkeypatch):
    monkeypatch.setattr("nbpeft.seam.casting.fast_in_bf16", lambda _: True)
    monkeypatch.setattr("nbpeft.seam.casting.SMALL", 0)
    model = architectures.build("llama").requires_grad_(False)
    head = head_of(model)
    hidden, targets = torch.randn(14, architectures.WIDTH), torch.arange(14)
    weight = head.lm_head.weight
    with frozen_in_fast_dtype(model):
        assert head.frozen
        inside = head.log_probs(hidden, targets)
    assert torch.equal(inside, token_log_probs(hidden, weight.bfloat16(), targets))
    assert torch.equal(head.log_probs(hidden, targets), token_log_probs(hidden, weight, targets))


def test_of_several_values_the_first_has_the_gradient():
    head = head_of(architectures.build("gemma").requires_grad_(False))
    assert head.frozen
    targets = torch.arange(14)
    hidden = torch.randn(14, architectures.WIDTH, requires_grad=True)
    calls = []

    def two(logits, labels):
        calls.append(len(logits))
        own = torch.log_softmax(logits, -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return torch.stack([own, 2 * own.detach()], -1)

    values = head.reduce(two, hidden, targets, chunk=4)
    weights = torch.arange(14.0)
    (mine,) = gradients((weights * values[:, 0]).sum() + values[:, 1].sum(), None, hidden)
    assert calls == [4, 4, 4, 2]  # never again in backward
    whole = two(head.logits(hidden), targets)
    assert near(values, whole)
    (theirs,) = gradients((weights * whole[:, 0]).sum(), None, hidden)
    assert near(mine, theirs, 1e-5)


def test_values_of_a_batch_are_those_of_its_logits():
    model = architectures.build("llama").requires_grad_(False)
    rows = [{"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]},
            {"input_ids": [9, 10], "labels": [-100, 10]}]  # fmt: skip
    beside = torch.tensor([1.0, 2.0, 3.0])

    def reduction(logits, scale):
        return scale * logits.logsumexp(-1)

    found = []
    for layout, scorer in (
        (Packed(), Scorer(head_of(model), Attention(model))),
        (Padded(0), Scorer(head_of(model), Attention(model))),
        (Padded(0), Whole(model)),
    ):
        batch = layout(rows)
        with torch.no_grad(), scorer.over(batch):
            found.append(scorer.values(batch, reduction, beside))
    assert near(found[0], found[1], 1e-5)
    assert near(found[1], found[2], 1e-5)
