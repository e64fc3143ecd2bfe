"""The model is as it was: after success, errors, interrupts, and a shelf that can't be written."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time

import pytest
import torch
from conftest import differences, logits, state_of

import nbpeft
from nbpeft.data import Rows
from nbpeft.errors import AdapterError
from nbpeft.mounts.modules import ModulesMount
from nbpeft.places import kernel, watch
from nbpeft.seam.packing import Packed


@pytest.fixture
def unchanged(tune):
    """`with unchanged():` around a run: afterwards nothing differs."""

    class Unchanged:
        def __enter__(self):
            tune.model.config.pad_token_id = None  # what TRL would fill in
            self.before = state_of(tune.model, tune.tokenizer)
            self.logits = logits(tune.model)

        def __exit__(self, kind, error, trace):
            assert differences(self.before, state_of(tune.model, tune.tokenizer)) == []
            assert torch.equal(logits(tune.model), self.logits)

    return Unchanged


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_checkpointing": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora"},
        {"bias": "all", "use_dora": True},
        {"modules_to_save": ["embed_tokens"]},
    ],
    ids=str,
)
def test_after_success_then_attach_and_detach(tune, unchanged, settings):
    with unchanged():
        tune("one", **settings)
        nbpeft.attach("one", model=tune.model)
        nbpeft.attach(None, model=tune.model)


def test_with_the_model_in_train_mode_frozen_in_part_and_with_gradients(tune, unchanged):
    tune.model.train()
    tune.model.lm_head.weight.requires_grad_(False)
    tune.model.model.norm.weight.grad = torch.ones_like(tune.model.model.norm.weight)
    with unchanged():
        tune("one")


@pytest.mark.parametrize("asked", [False, True])
def test_checkpointing_is_what_the_run_says_and_afterwards_what_it_was(
    tune, unchanged, monkeypatch, asked
):
    """An earlier training of the user's has left it on: a run that doesn't ask is slower by it."""
    tune.model.gradient_checkpointing_enable()
    seen = []
    original = watch.Watch.on_step_end

    def look(watch, *args, **words):
        seen.append(tune.model.is_gradient_checkpointing)
        return original(watch, *args, **words)

    monkeypatch.setattr(watch.Watch, "on_step_end", look)
    with unchanged():
        tune("one", gradient_checkpointing=asked)
    assert seen == [asked] * 3
    assert tune.model.is_gradient_checkpointing


def test_after_an_error_in_the_data_loader_at_step_3(tune, unchanged, monkeypatch):
    calls = []

    def fails(self, rows):
        calls.append(len(rows))
        if calls.count(4) == 5:  # of the run; a trial before it has fewer rows
            raise OSError("the disk went away")
        return original(self, rows)

    original = Packed.__call__
    monkeypatch.setattr(Packed, "__call__", fails)
    with unchanged(), pytest.raises(OSError, match="went away"):
        tune("one", eval=0, max_steps=8)
    assert dict(nbpeft.adapters()) == {}


def test_after_an_error_the_memory_of_the_run_is_free(tune, monkeypatch):
    def fails(watch, args, state, control, **kwargs):
        raise RuntimeError("step")

    monkeypatch.setattr(watch.Watch, "on_step_end", fails)
    import gc

    gc.collect()
    before = sum(t.numel() for t in gc.get_objects() if isinstance(t, torch.Tensor))
    with pytest.raises(RuntimeError) as kept:  # the traceback stays alive, as in a notebook
        tune("one")
    gc.collect()
    after = sum(t.numel() for t in gc.get_objects() if isinstance(t, torch.Tensor))
    assert kept.value is not None
    assert after - before < 10_000, "a LoRA is 245,760, its optimizer twice that"


@pytest.mark.parametrize("seed", range(20))
def test_after_an_interrupt_at_a_random_moment(tune, unchanged, seed):
    """SIGINT from outside, once or twice, anywhere from mounting to saving."""
    random_delay = random.Random(seed).uniform(0.05, 0.9)
    twice = seed % 2

    def interrupt():
        time.sleep(random_delay)
        os.kill(os.getpid(), signal.SIGINT)
        if twice:
            time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

    with unchanged():
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt), joined(thread):
            tune("one", max_steps=400, batch_size=2)


@contextlib.contextmanager
def joined(thread):
    """Wait for the thread at the end, so that no late interrupt meets another test."""
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("step", [1, 2])
def test_after_a_keyboard_interrupt_raised_inside_a_step(tune, unchanged, monkeypatch, step):
    def raises(watch, args, state, control, **kwargs):
        watch.in_step = True
        if state.global_step == step - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.Watch, "on_pre_optimizer_step", raises)
    with unchanged(), pytest.raises(nbpeft.Stopped):
        tune("one")


def test_after_an_error_while_saving(tune, unchanged, monkeypatch):
    def full(self, root, folder):
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        raise OSError("No space left on device")

    with unchanged():
        with monkeypatch.context() as patched:
            patched.setattr(ModulesMount, "save", full)
            with pytest.raises(AdapterError, match="No space left"):
                tune("one", learning_rate=1e-2)
        assert list(nbpeft.adapters()) == ["one"]
        assert nbpeft.adapters()["one"].path is None
        assert not list(nbpeft.session.current().shelf.folder.rglob("*.safetensors"))

    # Nothing was lost: it can be used, and saved when there is room.
    base = logits(tune.model)
    nbpeft.attach("one", model=tune.model)
    tuned = logits(tune.model)
    assert not torch.equal(tuned, base)
    saved = nbpeft.save("one", model=tune.model)
    assert (saved.path / "adapter_model.safetensors").stat().st_size > 500_000
    nbpeft.attach(None, model=tune.model)
    nbpeft.session._current = None
    nbpeft.attach("one", model=tune.model)
    assert torch.equal(logits(tune.model), tuned)


def test_what_was_attached_before_is_attached_again(tune, monkeypatch):
    tune("first", attach=True, learning_rate=1e-2)
    tuned = logits(tune.model)
    tune("second", learning_rate=1e-2)
    assert torch.equal(logits(tune.model), tuned)

    def fails(watch, args, state, control, **kwargs):
        raise RuntimeError("step")

    monkeypatch.setattr(watch.Watch, "on_step_end", fails)
    with pytest.raises(RuntimeError):
        tune("third")
    assert torch.equal(logits(tune.model), tuned)
    assert nbpeft.session.current().attached() == ["first@1"]


def test_a_comparison_changes_nothing(tune, unchanged):
    tune("one", learning_rate=1e-2)
    tune.model.train()
    with unchanged():
        nbpeft.compare(
            ["base", "one"], ["Who are you?"], model=tune.model, tokenizer=tune.tokenizer
        )


def test_a_refused_request_changes_nothing(tune, unchanged):
    with unchanged():
        for words in ({"rank": -1}, {"target_modules": ["q_prj"]}, {"optim": "sgdd"}, {"x": 1}):
            with pytest.raises(nbpeft.NbPeftError) as refused:
                tune("one", **words)
            assert "\n" not in str(refused.value)


def test_rows_are_what_the_seam_takes(tune):
    """The rows that reach the trainer hold ids and labels, and nothing of the user's."""
    from nbpeft.objectives import objectives

    seen = []
    original = kernel.Kernel.train

    def spy(self, job):
        seen.append(job.rows)
        return original(self, job)

    kernel.Kernel.train = spy
    try:
        tune("one")
    finally:
        kernel.Kernel.train = original
    assert isinstance(seen[0], Rows)
    assert set(seen[0].train.column_names) == {"input_ids", "labels"}
    assert "causal logits" in objectives.get("sft").gives


def test_nothing_is_reported_to_anybody(tune, monkeypatch):
    """TRL's trainers tell the hub of every use, online and where nobody has said no."""
    import huggingface_hub.constants
    import huggingface_hub.utils._telemetry as telemetry

    sent = []
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.setattr(telemetry, "_start_telemetry_thread", lambda: sent.append(1))
    monkeypatch.setenv("WANDB_PROJECT", "x")
    tune("one")
    assert sent == []
    assert huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY is False
