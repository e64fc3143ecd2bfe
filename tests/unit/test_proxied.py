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
    """A mixture with LoRA on its experts."""
    config = LoraConfig(target_modules=[], target_parameters=["mlp.experts.down_proj"])
    return get_peft_model(architectures.build("mixtral"), config)


def test_a_forward_is_no_write(experts):
    weight = dict(experts.named_parameters())[
        "base_model.model.model.layers.0.mlp.experts.base_layer.down_proj"
    ]
    before = weight._version
    with Guard(experts):
        experts(torch.tensor([[3, 4]]))
        assert weight._version > before
    assert weight._version == before


def test_a_changed_value_is(experts):
    weight = dict(experts.named_parameters())[
        "base_model.model.model.layers.0.mlp.experts.base_layer.down_proj"
    ]
    with pytest.raises(RunError, match=r"wrote into the base model's own weights"), Guard(experts):
        experts(torch.tensor([[3, 4]]))
        with torch.no_grad():
            weight[0, 0, 0] += 1.0
