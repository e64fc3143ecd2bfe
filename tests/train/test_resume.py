"""Stop keeps what there is; --resume goes on to the weights of a run that was never stopped."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from safetensors.torch import load_file

import nbpeft
from nbpeft.errors import NbPeftError
from nbpeft.methods import methods
from nbpeft.places import watch

WORDS = {"max_steps": 6, "dropout": 0.1, "learning_rate": 1e-3, "eval": 8}


def stopped(tune, monkeypatch, step, name="part", **words):
    """Run until SIGINT comes in `step`."""
    original = watch.Watch.on_step_end

    def at_step(watch, args, state, control, **kwargs):
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return original(watch, args, state, control, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(watch.Watch, "on_step_end", at_step)
        with pytest.raises(nbpeft.Stopped) as end:
            tune(name, **(WORDS | words))
    return str(end.value)


def weights(record):
    return load_file(record.path / "adapter_model.safetensors")


def test_resuming_comes_to_the_same_weights(tune, monkeypatch):
    whole = tune("whole", **WORDS).record
    message = stopped(tune, monkeypatch, step=2)
    assert "step 2 of 6" in message
    part = nbpeft.adapters()["part"]
    assert part.partial
    assert part.metrics["steps"] == 2
    nbpeft.attach("part", model=tune.model)  # usable as it is
    nbpeft.attach(None, model=tune.model)

    resumed = tune("part", **WORDS, resume=True).record
    assert not resumed.partial
    one, other = weights(whole), weights(resumed)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert resumed.losses == whole.losses


@pytest.mark.parametrize(
    "method", [m for m in methods.names() if not methods.get(m).needs - {"causal logits"}]
)
def test_every_method_goes_on_bit_for_bit(tune, monkeypatch, method):
    words = {"method": method, "max_steps": 4, "dropout": None, "learning_rate": 1e-2}
    whole = tune("whole", **(WORDS | words)).record
    stopped(tune, monkeypatch, step=2, **words)
    resumed = tune("part", **(WORDS | words), resume=True).record
    assert resumed.losses == whole.losses
    for path in whole.path.glob("*.safetensors"):
        one, other = load_file(path), load_file(resumed.path / path.name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_resuming_needs_nothing_said_again(tune, monkeypatch):
    stopped(tune, monkeypatch, step=2)
    nbpeft.session._current = None  # a new kernel
    run = nbpeft.finetune("part", tune_data(tune), model=tune.model, tokenizer=tune.tokenizer,
                          resume=True)  # fmt: skip
    assert run.metrics["steps"] == 6


def test_resuming_with_another_setting_or_other_rows_is_refused(tune, monkeypatch, chats):
    stopped(tune, monkeypatch, step=2)
    with pytest.raises(NbPeftError, match="learning_rate"):
        tune("part", **WORDS | {"learning_rate": 1e-2}, resume=True)
    with pytest.raises(NbPeftError, match="rows"):
        tune("part", **WORDS, data=chats.select(range(100)), resume=True)


def test_a_finished_run_is_not_resumed(tune):
    tune("whole", **WORDS)
    with pytest.raises(NbPeftError, match="finished"):
        tune("whole", resume=True)


def test_the_kept_state_holds_no_pickle_that_would_be_trusted(tune, monkeypatch):
    stopped(tune, monkeypatch, step=2)
    resume = nbpeft.adapters()["part"].path / "resume"
    names = {p.name for p in resume.iterdir()}
    assert "training_args.bin" not in names
    for path in resume.glob("*.pt*"):
        with torch.serialization.safe_globals(_numpy_globals()):
            torch.load(path, weights_only=True)


def _numpy_globals():
    import numpy as np

    core = np._core.multiarray._reconstruct
    return [core, np.ndarray, np.dtype, type(np.dtype(np.uint32))]


def tune_data(tune):
    return nbpeft.load_data("pirate")
