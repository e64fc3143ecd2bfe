"""Which names of a notebook hold what, while a soft prompt is attached: in a real kernel."""

from __future__ import annotations

import pytest
from kernels import Kernel

SETUP = """
%load_ext nbpeft
import nbpeft
model, tokenizer = nbpeft.load_tiny()
lm, kept = model, [model]
ids = tokenizer("Who are you?", return_tensors="pt").input_ids
base = model(input_ids=ids).logits
"""


@pytest.fixture
def kernel(working_folder):
    kernel = Kernel(working_folder)
    yield kernel
    kernel.stop()


def test_the_names_of_a_model_hold_the_wrapper_and_then_the_model_again(kernel):
    kernel.run(SETUP)
    said = kernel.printed("%peft_attach soft --method prompt --num-virtual-tokens 4")
    assert said.count("\n") == 1
    assert "model, lm are a wrapper that puts the prompt first" in said
    assert kernel.value("type(model).__name__") == "PeftModelForCausalLM"
    assert kernel.value("model is lm") is True
    assert kernel.value("kept[0] is model.get_base_model() and kept[0] is not model") is True
    assert kernel.value("tuple(model(input_ids=ids).logits.shape)[1] - ids.shape[1]") == 4
    # Another soft prompt: the names go from wrapper to wrapper.
    kernel.run("one = model")
    kernel.printed("%peft_attach more --method prompt --num-virtual-tokens 2")
    assert kernel.value("tuple(lm(input_ids=ids).logits.shape)[1] - ids.shape[1]") == 2
    # A LoRA changes the model itself: the names hold it again.
    said = kernel.printed("%peft_attach low --method lora")
    assert "model, lm, one are the model again" in said
    assert kernel.value("model is lm is kept[0] is one") is True
    kernel.printed("%peft_attach soft")
    said = kernel.printed("%peft_attach --none")
    assert "model, lm, one are the model again" in said
    assert kernel.value("model is lm is kept[0]") is True
    assert kernel.value("(model(input_ids=ids).logits == base).all().item()") is True


def test_the_wrapper_is_the_model_to_whatever_comes_next(kernel):
    kernel.run(SETUP)
    kernel.printed("%peft_attach soft --method prompt")
    kernel.printed("%%peft_attach low --method lora\nrank: 2")
    kernel.run("nbpeft.attach('soft')")
    assert kernel.value("sorted(nbpeft.adapters())") == ["low", "soft"]
    assert "soft@1" in kernel.value("repr(nbpeft.describe('soft'))")
