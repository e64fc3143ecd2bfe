"""%peft_attach NAME --method M: an untrained adapter, for the user's own loop or Trainer."""

from __future__ import annotations

import re
import types

import pytest
import torch
from conftest import PROBE, logits
from IPython.core.interactiveshell import InteractiveShell
from test_mounts import train_by_hand

import nbpeft
import nbpeft.session
from nbpeft.config import NbPeft
from nbpeft.errors import ModelError


@pytest.fixture
def shell(tiny_pair, fresh_session):
    """A notebook's shell that holds the tiny pair."""
    NbPeft.clear_instance()
    InteractiveShell.clear_instance()
    # Else its module would be `__main__` for the tests that follow, with the model in it.
    shell = InteractiveShell.instance(user_module=types.ModuleType("a_notebook"))
    shell.run_line_magic("load_ext", "nbpeft")
    shell.user_ns["model"], shell.user_ns["tokenizer"] = tiny_pair
    yield shell
    InteractiveShell.clear_instance()
    NbPeft.clear_instance()


@pytest.mark.parametrize(
    ("method", "by_step"), [("lora", False), ("full", False), ("adalora", True), ("diff", True)]
)
def test_what_only_a_run_does_is_said(shell, capsys, method, by_step):
    shell.run_line_magic("peft_attach", f"mine --method {method}")
    said = capsys.readouterr().out
    assert (f"what {method} does around each step, only %%finetune does" in said) == by_step


def test_options_of_the_method_are_flags(shell):
    shell.run_line_magic("peft_attach", "mine --method lora --rank 2 --target-modules q_proj,v_proj"
                         " --use-rslora true")  # fmt: skip
    model = shell.user_ns["model"]
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert own
    assert all(re.search(r"(q|v)_proj\.lora_[AB]", name) for name in own)
    assert {min(p.shape) for p in own.values()} == {2}
    assert model.model.layers[0].self_attn.q_proj.use_rslora["default"]


def test_or_keys_of_a_body(shell):
    shell.run_cell_magic("peft_attach", "mine --method prompt", "num-virtual-tokens: 5\n")
    assert shell.user_ns["model"].peft_config["default"].num_virtual_tokens == 5


def test_a_head_is_in_no_name_of_the_model_and_the_line_says_where_it_is(shell, capsys):
    before = shell.user_ns["model"]
    shell.run_line_magic("peft_attach", "h --method head --labels 3")
    assert shell.user_ns["model"] is before
    assert "classifier = nbpeft.attach('h') is what to train" in capsys.readouterr().out
    classifier = nbpeft.attach("h")
    own = [p for p in classifier.parameters() if p.requires_grad]
    assert sum(p.numel() for p in own) == 3 * (128 + 1)


def test_a_dry_run_counts_and_makes_nothing(shell, capsys):
    model = shell.user_ns["model"]
    names = [name for name, _ in model.named_parameters()]
    shown = shell.run_line_magic("peft_attach", "mine --method lora --rank 2 --dry-run")
    assert [name for name, _ in model.named_parameters()] == names
    assert nbpeft.adapters() == {}
    shell.run_line_magic("peft_attach", "mine --method lora --rank 2")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    base = shown.total_parameters
    assert (shown.trainable_parameters, shown.trainable_percent) == (trained, 100 * trained / base)
    assert f"{trained:,}" in repr(shown)


def test_a_dry_run_on_a_model_without_weights():
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("gpt2", n_layer=2, n_embd=64, n_head=2)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    count = nbpeft.attach("x", model=model, method="lora", rank=3, target_modules="c_attn",
                          dry_run=True)  # fmt: skip
    assert count.trainable_parameters == 2 * 3 * (64 + 3 * 64)
    with pytest.raises(ModelError, match="meta"):
        nbpeft.attach("x", model=model, method="lora", target_modules="c_attn")


def test_what_a_loop_trained_is_saved_and_back_in_another_kernel(tiny_pair, monkeypatch):
    model, _ = tiny_pair
    nbpeft.attach("mine", model=model, method="lora", rank=4)
    train_by_hand(model)
    trained = logits(model)
    path = nbpeft.save("mine", model=model).path
    assert (path / "adapter_model.safetensors").is_file()
    nbpeft.attach(None, model=model)
    assert not torch.equal(logits(model), trained)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert torch.equal(logits(nbpeft.attach("mine", model=model)), trained)


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_transformers_own_trainer_trains_it(tiny_pair, monkeypatch, tmp_path, method):
    from transformers import Trainer, TrainingArguments

    model, _ = tiny_pair
    before = {n: p.clone() for n, p in model.named_parameters()}
    answering = nbpeft.attach("mine", model=model, method=method)
    rows = [{"input_ids": row, "labels": row} for row in PROBE]
    arguments = TrainingArguments(str(tmp_path), max_steps=2, learning_rate=1e-2, report_to=[],
                                  use_cpu=True, save_strategy="no", disable_tqdm=True)  # fmt: skip
    untrained = logits(answering)
    Trainer(answering, arguments, train_dataset=rows).train()
    trained = logits(answering)
    assert not torch.equal(trained, untrained)
    nbpeft.save("mine", model=model)
    nbpeft.attach(None, model=model)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    monkeypatch.setattr(nbpeft.session, "_current", None)
    assert torch.equal(logits(nbpeft.attach("mine", model=model)), trained)
