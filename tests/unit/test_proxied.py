"""LoRA on bare parameters: what PEFT sets aside in a forward isn't taken for a write."""

from __future__ import annotations

import architectures
import pytest
import torch
from peft import LoraConfig, get_peft_model

from nbpeft.errors import RunError
from nbpeft.guard import Guard


@pytest.fixture
def experts():
    """A mixture with LoRA on its experts, and the base parameter under one of them."""
    config = LoraConfig(target_modules=[], target_parameters=["mlp.experts.down_proj"])
    model = get_peft_model(architectures.build("mixtral"), config)
    return model, model.model.model.layers[0].mlp.experts.get_base_layer().down_proj


def test_a_forward_is_no_write(experts):
    model, weight = experts
    before = weight._version
    with Guard(model):
        model(torch.tensor([[3, 4]]))
        assert weight._version > before
    assert weight._version == before


def test_a_changed_value_is(experts):
    model, weight = experts
    guard = Guard(model)
    guard.__enter__()
    model(torch.tensor([[3, 4]]))
    with torch.no_grad():
        weight[0, 0, 0] += 1.0
    with pytest.raises(RunError, match=r"wrote into the base model's own weights"):
        guard.__exit__(None, None, None)
