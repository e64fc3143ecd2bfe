"""The guard, one thing at a time: what is changed inside is as before outside."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nbpeft.errors import RunError
from nbpeft.guard import Guard


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, vocab_size=16)).eval()


@pytest.fixture
def tokenizer():
    words = Tokenizer(WordLevel({"a": 0, "<unk>": 1, "</s>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")


CHANGES = {
    "a flag": lambda m: m.lm_head.weight.requires_grad_(False),
    "a gradient": lambda m: setattr(m.lm_head.weight, "grad", torch.ones_like(m.lm_head.weight)),
    "a mode": lambda m: m.train(),
    "a patched forward": lambda m: setattr(m, "forward", lambda **_: None),
    "a hook": lambda m: m.register_forward_hook(lambda *_: None),
    "a submodule": lambda m: setattr(m, "lm_head", torch.nn.Identity()),
    "another parameter": lambda m: m.register_parameter("extra", torch.nn.Parameter(torch.ones(1))),
    "moved data": lambda m: setattr(m.lm_head.weight, "data", m.lm_head.weight.data.clone()),
    "a config entry": lambda m: setattr(m.config, "use_cache", not m.config.use_cache),
    "a generation setting": lambda m: setattr(m.generation_config, "pad_token_id", 7),
    "Python's random state": lambda _: random.random(),
    "NumPy's random state": lambda _: np.random.rand(),
    "torch's random state": lambda _: torch.rand(1),
    "the environment": lambda _: os.environ.update(NBPEFT_TEST="1"),
    "grad mode": lambda _: torch.set_grad_enabled(False),
}


def state(model):
    return {
        "tensors": [
            (n, p.requires_grad, p.grad, p.data_ptr()) for n, p in model.named_parameters()
        ],
        "modules": [(n, id(m), m.training, *m.__dict__) for n, m in model.named_modules()],
        "hooks": [len(m._forward_hooks) for m in model.modules()],
        "configs": (model.config.to_dict(), model.generation_config.to_dict()),
        "random": (random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()),
        "process": (dict(os.environ), torch.is_grad_enabled()),
    }


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("fails", [False, True])
def test_what_is_changed_inside_is_back_outside(model, change, fails):
    before = state(model)
    try:
        with Guard(model):
            CHANGES[change](model)
            assert state(model) != before, "the test sees the change"
            if fails:
                raise KeyboardInterrupt  # noqa: TRY301  Stop
    except KeyboardInterrupt:
        pass
    assert state(model) == before


def test_the_tokenizer_is_back_too(model, tokenizer):
    with Guard(model, tokenizer=tokenizer):
        tokenizer.pad_token = "</s>"
        tokenizer.padding_side = "left"
        tokenizer.backend_tokenizer.enable_truncation(3)
        tokenizer.backend_tokenizer.enable_padding(pad_id=2)
    assert tokenizer.pad_token is None
    assert tokenizer.padding_side == "right"
    assert tokenizer.backend_tokenizer.truncation is None
    assert tokenizer.backend_tokenizer.padding is None


def test_padding_that_the_user_had_set_stays(model, tokenizer):
    tokenizer.backend_tokenizer.enable_padding(pad_id=2, length=5)
    with Guard(model, tokenizer=tokenizer):
        tokenizer.backend_tokenizer.no_padding()
    assert tokenizer.backend_tokenizer.padding["length"] == 5


def write(model, then=None):
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    if then:
        raise then


def test_a_base_weight_that_was_written_is_told(model):
    with pytest.raises(RunError, match="weight"), Guard(model):
        write(model)


def test_an_adapters_own_weights_may_be_written(model):
    with Guard(model, writable=[model.lm_head.weight]):
        write(model)


def test_an_error_is_not_hidden_by_what_was_written(model):
    with pytest.raises(KeyError), Guard(model):
        write(model, then=KeyError)
