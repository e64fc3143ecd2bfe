"""Optimizers by name: what is said of paged ones, and that trying one changes nothing."""

from __future__ import annotations

import pytest
import torch
from transformers import TrainingArguments
from transformers.training_args import OptimizerNames

from nbpeft.optimizers import check_optimizer, optimizer_notes

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NAMES = [name.value for name in OptimizerNames]


@pytest.mark.parametrize("optim", [name for name in NAMES if name.startswith("paged_")])
def test_what_a_paged_one_is_on_a_cpu_has_a_name(optim):
    (note,) = optimizer_notes(optim, CPU)
    assert note.startswith(f"{optim} pages nothing on a CPU: it works as ")
    plain = note.split()[-2]
    assert plain in NAMES
    assert not plain.startswith("paged_")


def test_nothing_is_said_where_it_pages_or_is_not_paged():
    assert optimizer_notes("paged_adamw_8bit", CUDA) == []
    assert optimizer_notes("adamw_8bit", CPU) == []
    assert optimizer_notes("", CPU) == []


@pytest.mark.parametrize("optim", ["adamw_torch", "sgd", "adafactor", "rmsprop"])
def test_trying_one_leaves_the_random_state_and_its_settings(tmp_path, optim):
    arguments = TrainingArguments(
        output_dir=str(tmp_path), optim=optim, use_cpu=True, optim_target_modules=["q_proj"]
    )
    before = torch.get_rng_state()
    check_optimizer(arguments, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert arguments.optim_target_modules == ["q_proj"]
