"""The two recipes of CONTRIBUTING, followed; and the hooks that a method of one's own has."""

from __future__ import annotations

import dataclasses
import re
import sys
import types

import pytest
import torch

import nbpeft
from nbpeft.magics.help import finetune_help
from nbpeft.methods import methods
from nbpeft.objectives import objectives


@pytest.fixture
def recipe(root, monkeypatch):
    """Run the code block of CONTRIBUTING that is headed by a file's name, as that file would be."""

    def run(path):
        text = (root / "CONTRIBUTING.md").read_text()
        code = re.search(rf"```python\n# {re.escape(path)}\n(.*?)```", text, re.DOTALL)
        assert code, path
        module = types.ModuleType(path[:-3].replace("/", "."))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(code[1], path, "exec"), module.__dict__)  # noqa: S102  our own file

    yield run
    for registry, name in ((methods, "loha"), (objectives, "lines")):
        registry._entries.pop(name, None)


def test_add_a_method(recipe, tune):
    methods.names()  # the built-in ones come first, as in a kernel
    recipe("nbpeft/methods/loha.py")
    record = tune("one", method="loha", learning_rate=1e-2).record
    assert record.method == "loha"
    assert 0 < record.trainable_parameters < 500_000
    assert "loha" in finetune_help()
    nbpeft.attach("one", model=tune.model)
    assert any("hada_w1_a" in name for name, p in tune.model.named_parameters() if p.requires_grad)


def test_add_an_objective(recipe, tune):
    objectives.names()
    recipe("nbpeft/objectives/lines.py")
    run = tune("one", objective="lines", data=nbpeft.load_data("stories"), max_length=64)
    assert run.record.objective == "lines"
    assert run.plan.trained_tokens > 0.9 * run.plan.tokens
    assert "the next token of each line" in " ".join(finetune_help().split())


@pytest.fixture
def lora_with_hooks():
    """LoRA with a penalty on its weights, which counts its steps and sees their gradients."""
    seen = []

    class Hooked(type(methods.get("lora"))):
        def penalty(self, model):
            return 1e3 * sum(p.square().sum() for p in model.parameters() if p.requires_grad)

        def after_step(self, model, step):
            gradients = [p.grad for p in model.parameters() if p.requires_grad]
            seen.append((step, all(g is not None for g in gradients)))

    lora = methods.get("lora")
    values = {f.name: getattr(lora, f.name) for f in dataclasses.fields(lora)}
    methods.add(Hooked(**values | {"name": "hooked"}))
    yield seen
    methods.remove("hooked")


def test_a_methods_hooks_are_called(lora_with_hooks, tune):
    plain = tune("plain", eval=0, learning_rate=1e-2).record
    hooked = tune("hooked", method="hooked", eval=0, learning_rate=1e-2).record
    assert lora_with_hooks == [(1, True), (2, True), (3, True)]

    def size(record):
        from safetensors.torch import load_file

        tensors = load_file(record.path / "adapter_model.safetensors").values()
        return sum(float(t.square().sum()) for t in tensors)

    assert size(hooked) < size(plain), "the penalty pulls the weights to zero"
    assert hooked.metrics["loss"] > plain.metrics["loss"] + 100, "and is part of the loss"
    assert torch.isfinite(torch.tensor(hooked.metrics["loss"]))
