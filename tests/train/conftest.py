"""What the training tests share: a fresh session each, and a way to note all that may change."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import logging
import os
import random
import signal
import threading
import warnings

import numpy as np
import pytest
import torch
import trl
from accelerate.state import AcceleratorState, GradientState, PartialState

import nbpeft
import nbpeft.session
from nbpeft.objectives import objectives
from nbpeft.places import watch


@pytest.fixture(scope="session", autouse=True)
def _libraries():
    """Their objects, half a million, are put out of the garbage collector's sight once.

    A run collects garbage two or three times (transformers' trainer does, and nbpeft at its end),
    which takes a third of a second each over all of them: more than two steps of the tiny model.
    """
    for name in ("matplotlib.pyplot", "pandas", "sklearn.metrics", "peft"):
        importlib.import_module(name)
    for trainer in ("SFT", "DPO", "KTO", "Reward", "GRPO"):
        getattr(trl, f"{trainer}Trainer")  # trl imports each where it is asked for
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_session(monkeypatch):
    """A session of the test's own, as a new kernel has."""
    monkeypatch.setattr(nbpeft.session, "_current", None)


@pytest.fixture(scope="session")
def chats():
    """The embedded pirate chats."""
    return nbpeft.load_data("pirate")


LEARNED_FROM = {
    "text": "stories",
    "preferences": "polite",
    "ratings": "ratings",
    "labels": "sentiment",
    "prompts": "questions",
}
"""The embedded data of each signal but answers."""


@pytest.fixture
def tune(tiny_pair, chats):
    """`tune("name", max_steps=3, …)` on the test's own tiny model; `.model`, `.tokenizer`."""
    model, tokenizer = tiny_pair

    def call(name, **words):
        if words.get("method") == "bitfit" and not has_biases(call.model):
            call.model = biased(call.model)
        objective = objectives.get(words.get("objective", "sft"))
        data = chats if objective.signal == "answers" else f"tiny:{LEARNED_FROM[objective.signal]}"
        settings = {"data": data, "max_steps": 3, "eval": 8, "batch_size": 4}
        settings |= {"fit": "off"} | words  # whether it fits is a second's work, and tested apart
        return nbpeft.finetune(name, model=call.model, tokenizer=tokenizer, **settings)

    call.model, call.tokenizer = model, tokenizer
    return call


def has_biases(model):
    return any(name.endswith("bias") for name, _ in model.named_parameters())


def biased(model):
    """The same model with biases of zero in its linear layers (Llama has none)."""
    config = copy.deepcopy(model.config)
    config.attention_bias = config.mlp_bias = True
    with_biases = type(model)(config)
    missing, _ = with_biases.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        for name, parameter in with_biases.named_parameters():
            if name in missing and name.endswith("bias"):
                parameter.zero_()
    return with_biases.eval()


@pytest.fixture
def events(monkeypatch):
    """What the views of the test's runs are told."""
    told = []
    monkeypatch.setattr("nbpeft.views.choose", lambda: told.append)
    return told


@pytest.fixture
def stopped_at(monkeypatch):
    """`with stopped_at(2):` a run is asked to stop once that step is done, and does."""

    @contextlib.contextmanager
    def stop(step, match=""):
        original = watch.Watch.on_step_end

        def on_step_end(watch, args, state, control, **words):
            if state.global_step == step:
                watch.job.stop.ask()
            return original(watch, args, state, control, **words)

        with monkeypatch.context() as patched:
            patched.setattr(watch.Watch, "on_step_end", on_step_end)
            with pytest.raises(nbpeft.Stopped, match=match):
                yield

    return stop


PROBE = torch.arange(4, 28).reshape(2, 12)


def logits(model):
    """The model's logits on fixed tokens, in eval mode; modes are put back."""
    modes = [(m, m.training) for m in model.modules()]
    with torch.no_grad():
        result = model.eval()(input_ids=PROBE).logits.clone()
    for module, mode in modes:
        module.training = mode
    return result


def state_of(model, tokenizer):
    """All that training might leave behind, as plain values: compare two with `differences`."""
    modules = dict(model.named_modules())
    state = {"threads": {t.name for t in threading.enumerate() if t.is_alive()}}
    for path, module in modules.items():
        here = f"module {path or 'root'}"
        state[f"{here} is"] = id(module)
        for name, value in module.__dict__.items():
            hooks = "hook" in name and isinstance(value, dict | None)
            if name in ("_parameters", "_buffers", "_modules") or hooks:
                state[f"{here}.{name}"] = {k: id(v) for k, v in dict(value or {}).items()}
            else:
                state[f"{here}.{name}"] = repr(value) if not callable(value) else id(value)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state[f"{name} value"] = tensor.detach().numpy().tobytes()
        state[f"{name} flags"] = (tensor.requires_grad, tensor.grad is None)
        state[f"{name} place"] = tensor.data_ptr()
    state["config"] = model.config.to_dict()
    state["generation_config"] = model.generation_config.to_dict()
    state["tokenizer"] = {k: repr(v) for k, v in tokenizer.__dict__.items()}
    backend = tokenizer.backend_tokenizer
    state["tokenizer backend"] = (backend.padding, backend.truncation, len(tokenizer))
    state["random"] = (random.getstate(), repr(np.random.get_state()), random_bytes())
    state["environment"] = dict(os.environ)
    state["signal"] = signal.getsignal(signal.SIGINT)
    state["grad"] = torch.is_grad_enabled()
    state["warnings"] = list(warnings.filters)
    state["loggers"] = {
        name: logging.getLogger(name).level for name in ("transformers", "peft", "trl", "datasets")
    }
    for kind in (AcceleratorState, GradientState, PartialState):
        state[kind.__name__] = sorted(kind._shared_state)
    return state


def random_bytes():
    return torch.get_rng_state().numpy().tobytes()


def differences(before, after):
    """The names of what differs; empty when nothing does. Threads may end when they like."""
    found = [k for k in {**before, **after} if before.get(k, "absent") != after.get(k, "absent")]
    return [k for k in found if k != "threads" or after[k] - before[k]]


def beside_places(names):
    """Of `differences`: those that are more than where weights lie, which were read again."""
    return [name for name in names if not name.endswith(".weight place")]
