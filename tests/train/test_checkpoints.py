"""A kernel that is killed while it trains: the state that was put on the shelf goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import torch
from conftest import differences, state_of
from safetensors.torch import load_file

import nbpeft
from nbpeft.config import settings
from nbpeft.errors import AdapterError
from nbpeft.events import Noted
from nbpeft.methods import methods
from nbpeft.places.states import Checkpoints

WORDS = {"max_steps": 6, "dropout": 0.1, "learning_rate": 1e-3, "eval": 8}
KILLED = """
import os, signal, sys
import nbpeft
from nbpeft.config import settings
from nbpeft.places import watch

settings().checkpoint_minutes = 1e-9
on_step_end = watch.Watch.on_step_end

def at_step(watch, args, state, control, **words):
    if state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return on_step_end(watch, args, state, control, **words)

watch.Watch.on_step_end = at_step
model, tokenizer = nbpeft.load_tiny()
nbpeft.finetune("part", nbpeft.load_data("pirate"), model=model, tokenizer=tokenizer, fit="off",
                batch_size=4, **%r)
"""


@pytest.fixture
def often():
    """After each step."""
    settings().checkpoint_minutes = 1e-9
    yield
    settings().checkpoint_minutes = 10


class Killed(BaseException):
    """As good as SIGKILL, to a run: nothing is kept after it."""


def killed(tune, monkeypatch, step, name="part", **words):
    """Run until the kernel would be gone, within `step`, and begin a new one."""
    original = Checkpoints.on_step_end

    def at_step(checkpoints, args, state, control, **named):
        if state.global_step == step:
            raise Killed
        return original(checkpoints, args, state, control, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "on_step_end", at_step)
        with pytest.raises(Killed):
            tune(name, **(WORDS | words))
    nbpeft.session._current = None


def assert_equal(run, whole):
    assert run.record.losses == whole.record.losses
    for path in whole.record.path.glob("*.safetensors"):
        one, other = load_file(path), load_file(run.record.path / path.name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_kernel_that_is_killed_loses_a_step_and_not_the_run(tune, working_folder):
    whole = tune("whole", **WORDS)
    done = subprocess.run([sys.executable, "-c", KILLED % WORDS], check=False, cwd=working_folder)
    assert done.returncode == -signal.SIGKILL
    assert "part" not in nbpeft.adapters()  # no adapter of a run that came to no end
    note = "part: a run that came to no end, kept at step 4; %finetune part --resume goes on"
    assert note in repr(nbpeft.adapters())
    run = tune("part", **WORDS, resume=True)
    assert (run.metrics["steps"], run.record.partial) == (6, False)
    assert_equal(run, whole)
    assert not list((working_folder / "adapters" / "part").glob(".unfinished-*"))
    with pytest.raises(AdapterError, match="part@1 is finished"):
        tune("part", **WORDS, resume=True)


@pytest.mark.parametrize(
    "method", [m for m in methods.names() if not methods.get(m).needs - {"causal logits"}]
)
def test_every_method_goes_on_without_an_adapter(tune, often, monkeypatch, method):
    words = {"method": method, "max_steps": 4, "dropout": None, "learning_rate": 1e-2}
    whole = tune("whole", **(WORDS | words))
    killed(tune, monkeypatch, 3, **words)
    assert_equal(tune("part", **(WORDS | words), resume=True), whole)


def test_only_the_last_state_is_kept(tune, often, monkeypatch, working_folder):
    killed(tune, monkeypatch, 5)
    assert len(list((working_folder / "adapters" / "part").glob(".unfinished-*"))) == 1
    assert "kept at step 4" in repr(nbpeft.adapters())


def test_it_changes_nothing_of_the_run(tune, often, working_folder):
    before = state_of(tune.model, tune.tokenizer)
    kept = tune("kept", **WORDS)
    settings().checkpoint_minutes = 0
    assert_equal(tune("plain", **WORDS), kept)
    assert differences(before, state_of(tune.model, tune.tokenizer)) == []
    assert not list((working_folder / "adapters").glob("*/.*-*"))


def test_states_are_kept_by_the_clock(tune, monkeypatch, working_folder):
    settings().checkpoint_minutes = 10
    now = iter(range(0, 10**6, 180))  # three minutes from one look to the next
    seen = []
    made, put = Checkpoints.__init__, nbpeft.session.shelf.Shelf.put_unfinished
    monkeypatch.setattr(
        Checkpoints,
        "__init__",
        lambda self, job, outcome: made(self, job, outcome, lambda: next(now)),
    )
    monkeypatch.setattr(
        nbpeft.session.shelf.Shelf,
        "put_unfinished",
        lambda shelf, record, resume: (
            seen.append(record.metrics["steps"]), put(shelf, record, resume)
        ),
    )  # fmt: skip
    tune("it", **WORDS | {"max_steps": 10})
    assert seen == [4, 8]


def test_another_model_is_refused(tune, often, monkeypatch):
    killed(tune, monkeypatch, 3)
    with torch.no_grad():
        next(tune.model.parameters()).add_(1)
    with pytest.raises(AdapterError, match="part@1 was trained on another model"):
        tune("part", **WORDS, resume=True)


def test_a_new_run_of_the_name_takes_its_place(tune, often, monkeypatch, working_folder):
    killed(tune, monkeypatch, 3)
    tune("part", **WORDS)
    assert not list((working_folder / "adapters" / "part").glob(".unfinished-*"))


def test_a_link_is_not_followed(tune, often, monkeypatch, working_folder, tmp_path):
    killed(tune, monkeypatch, 3)
    (state,) = (working_folder / "adapters" / "part").glob(".unfinished-*")
    away = tmp_path / "away"
    (state / "resume" / "trained.safetensors").rename(away)
    (state / "resume" / "trained.safetensors").symlink_to(away)
    with pytest.raises(AdapterError, match="no adapter 'part'"):
        tune("part", **WORDS, resume=True)


@pytest.mark.parametrize("told", [
    {"name": "other"}, {"metrics": {}}, {"metrics": {"steps": "<b>4</b>"}}, {"metrics": []},
])  # fmt: skip
def test_a_state_that_is_not_ours_is_passed_over(tune, often, monkeypatch, working_folder, told):
    killed(tune, monkeypatch, 3)
    (state,) = (working_folder / "adapters" / "part").glob(".unfinished-*")
    record = json.loads((state / "nbpeft.json").read_text())
    (state / "nbpeft.json").write_text(json.dumps(record | told))
    elsewhere = working_folder / "adapters" / "no name of ours" / ".unfinished-1"
    (elsewhere / "resume").mkdir(parents=True)
    (elsewhere / "nbpeft.json").write_text(json.dumps(record | {"name": "no name of ours"}))
    assert "came to no end" not in repr(nbpeft.adapters())
    with pytest.raises(AdapterError, match="no adapter 'part'"):
        tune("part", **WORDS, resume=True)


def test_a_full_disk_is_said_once_and_ends_nothing(
    tune, often, events, monkeypatch, working_folder
):
    def full(*_args, **_words):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(nbpeft.session.shelf.shutil, "copytree", full)
        assert tune("it", **WORDS).metrics["steps"] == 6
    assert {path.name for path in (working_folder / "adapters" / "it").iterdir()} == {".lock", "1"}
    said = [e.text for e in events if isinstance(e, Noted) and "can't be kept" in e.text]
    assert said == ["the run's state can't be kept while it goes on (No space left on device)"]
