"""Samples, speed and memory while a run goes on: told as events, and without a trace in the run."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import nbpeft
from nbpeft.config import settings
from nbpeft.events import Evaluated, Finished, Noted, Progressed, Sampled, Started
from nbpeft.places import sampling, watch

WORDS = {"max_steps": 6, "dropout": 0.1, "learning_rate": 1e-3, "eval": 4}


@pytest.fixture
def quiet_settings():
    yield settings()
    settings().samples = True


def weights(run):
    return load_file(run.record.path / "adapter_model.safetensors")


def test_the_weights_are_the_same_to_the_bit_with_samples_and_without(
    tune, quiet_settings, monkeypatch, events
):
    """Also where generating draws random numbers and leaves modules in train mode."""
    greedy, asked = sampling._greedy, []

    def draws(model, tokenizer, ids):
        asked.append({module.training for module in model.modules()})
        assert not torch.is_grad_enabled()
        text = greedy(model, tokenizer, ids)
        _ = torch.rand(7), np.random.rand(7), random.random()
        model.train()
        return text

    monkeypatch.setattr(sampling, "_greedy", draws)
    monkeypatch.setattr(sampling, "SHARE", 1e9)
    monkeypatch.setattr(watch, "evaluation_steps", lambda steps, *_: {2, 4, steps})
    looked = weights(tune("looked", **WORDS))
    assert asked == [{False}] * 4
    quiet_settings.samples = False
    alone = weights(tune("alone", **WORDS))
    assert len(asked) == 4
    assert looked.keys() == alone.keys()
    assert all(torch.equal(looked[key], alone[key]) for key in looked)


def test_looking_puts_every_modules_own_mode_back(tiny_pair):
    model, _ = tiny_pair
    model.train()
    model.model.layers[2].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()

    def interrupted():
        with sampling._looking(model):
            assert not any(module.training for module in model.modules())
            torch.rand(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_the_first_and_the_last_step_are_sampled_and_the_last_table_shows_both(tune, chats, events):
    tune("pirate", data=chats, max_steps=40, learning_rate=3e-3, eval=4)
    samples = [event for event in events if isinstance(event, Sampled)]
    assert (samples[0].step, samples[-1].step) == (0, 40)
    assert len({sample.prompt for sample in samples}) == 1
    assert not samples[0].text.startswith("Arr,")
    assert samples[-1].text.startswith("Arr,")
    kinds = [type(event) for event in events]
    assert kinds.index(Started) < kinds.index(Sampled) < kinds.index(Progressed)
    (finished,) = (event for event in events if isinstance(event, Finished))
    summary = dict(finished.summary)
    assert summary["sample prompt"] == samples[0].prompt
    assert summary["answer before"] == samples[0].text
    assert summary["answer after"] == samples[-1].text
    assert "tokens/s" in summary["speed"]
    assert "this process" in summary["peak memory"]


def test_a_sample_is_what_the_adapter_answers(tune, chats, events):
    """The last one, as the comparison asks it afterwards."""
    tune("pirate", data=chats, max_steps=20, learning_rate=3e-3, eval=4)
    *_, last = (event for event in events if isinstance(event, Sampled))
    answers = nbpeft.compare(
        ["pirate"], [last.prompt], model=tune.model, tokenizer=tune.tokenizer,
        max_new_tokens=sampling.NEW_TOKENS,
    )  # fmt: skip
    assert answers.answers == ((last.text,),)


def test_speed_leaves_out_what_is_no_step_and_memory_is_this_process(tune, events, monkeypatch):
    """On a clock that ticks once a look, and a thousand times an answer."""
    clock = SimpleNamespace(now=0)

    def tick(ticks=1):
        clock.now += ticks
        return clock.now

    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=tick))
    monkeypatch.setattr(watch, "evaluation_steps", lambda steps, *_: {2, 4, steps})
    monkeypatch.setattr(sampling, "SHARE", 1e9)
    monkeypatch.setattr(sampling, "_greedy", lambda *_: f"{tick(1000)}")
    tune("one", **WORDS)
    steps = [event for event in events if isinstance(event, Progressed)]
    assert steps[-1].seconds > 3000
    assert steps[-1].tokens / steps[-1].tokens_per_second < 30
    assert 50e6 < steps[0].memory <= steps[0].peak_memory <= steps[-1].peak_memory < 50e9


def test_no_held_out_rows_no_loss_but_samples(tune, events):
    tune("one", max_steps=3, eval=0)
    assert not any(isinstance(event, Evaluated) for event in events)
    sampled = [event.step for event in events if isinstance(event, Sampled)]
    assert (sampled[0], sampled[-1]) == (0, 3)


def test_between_the_ends_samples_stay_within_their_share(tune, events, monkeypatch):
    monkeypatch.setattr(sampling, "SHARE", 0.0)
    monkeypatch.setattr(watch, "evaluation_steps", lambda steps, *_: {2, 4, steps})
    tune("one", **WORDS)
    assert [event.step for event in events if isinstance(event, Sampled)] == [0, 6]


def test_a_model_that_cannot_generate_costs_a_line_and_not_the_run(tune, events, monkeypatch):
    def fails(model, tokenizer, ids):
        raise RuntimeError("no cache\nfor this model")

    monkeypatch.setattr(sampling, "_greedy", fails)
    assert tune("one", **WORDS).metrics["steps"] == 6
    notes = [event.text for event in events if isinstance(event, Noted)]
    assert notes == ["no sample completions: generating failed (no cache for this model)"]
    assert not any(isinstance(event, Sampled) for event in events)
    (finished,) = (event for event in events if isinstance(event, Finished))
    assert "sample prompt" not in dict(finished.summary)


def test_prompts_beyond_the_window_are_not_put(tune, events):
    tune.model.config.max_position_embeddings = 45  # five tokens of prompt
    tune("one", max_steps=2, eval=0, max_length=45)
    assert not any(isinstance(event, Sampled | Noted) for event in events)


def test_a_resumed_run_has_no_answer_from_before(tune, events, stopped_at):
    with stopped_at(2):
        tune("one", **WORDS)
    first = [event.step for event in events if isinstance(event, Sampled)]
    assert first == [0]
    events.clear()
    tune("one", **WORDS, resume=True)
    assert [event.step for event in events if isinstance(event, Sampled)] == [6]
    (finished,) = (event for event in events if isinstance(event, Finished))
    assert "answer before" not in dict(finished.summary)
    assert "answer after" in dict(finished.summary)
