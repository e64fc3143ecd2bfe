"""--loss-on goes from the request to the labels, and is kept with the adapter."""

from __future__ import annotations

import pytest

import nbpeft
from nbpeft.request import Request
from nbpeft.typed import from_cell

TWO = [
    {
        "messages": [
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "A ship."},
            {"role": "user", "content": "Who else?"},
            {"role": "assistant", "content": "A sailor."},
        ]
    }
] * 4


def test_which_tokens_are_trained_is_asked_for_and_kept(tune):
    trained = {}
    for loss_on in ("all", "answers", "last"):
        run = tune(f"on-{loss_on}", data=TWO, eval=0, max_steps=1, loss_on=loss_on)
        assert Request.from_dict(run.record.request).loss_on == loss_on
        trained[loss_on] = run.plan.trained_tokens
    assert trained["all"] == run.plan.tokens - len(TWO)
    assert trained["all"] > trained["answers"] > trained["last"] > 0


def test_a_cell_says_it_with_a_flag():
    request, _ = from_cell("p --data x --loss-on last", "")
    assert request.loss_on == "last"
    with pytest.raises(nbpeft.NbPeftError, match="'first': it must be one of all, answers, last"):
        from_cell("p --data x --loss-on first", "")
