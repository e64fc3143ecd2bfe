"""A run with a budget of time: how many steps it makes, and that all that goes by them is right."""

from __future__ import annotations

import pytest

import nbpeft
from nbpeft.errors import RequestError
from nbpeft.events import Noted, Progressed, Started
from nbpeft.places import budget, kernel, watch
from nbpeft.places.budget import seconds_of

WORDS = {"max_steps": None, "batch_size": 4, "budget": "100s", "learning_rate": 1e-3}


class Clock:
    """Time as the test has it: so many seconds a step, and for each look at held-out rows."""

    def __init__(self, step=1.0, look=0.0):
        self.now, self.step, self.look = 0.0, step, look

    def __call__(self):
        return self.now


@pytest.fixture
def clocked(monkeypatch):
    """`clocked(step=2.0)`: runs go by that clock."""

    def use(**words):
        clock = Clock(**words)

        class Clocked(budget.Budget):
            def __init__(self, job, watch):
                super().__init__(job, watch, clock)

            def on_log(self, args, state, control, logs=None, **named):
                if "loss" in logs:
                    step = clock.step
                    clock.now += step(state.global_step) if callable(step) else step
                return super().on_log(args, state, control, logs=logs, **named)

            def on_evaluate(self, *_args, **_named):
                clock.now += clock.look

        monkeypatch.setattr(kernel, "Budget", Clocked)
        return clock

    return use


@pytest.mark.parametrize(("text", "seconds"), [
    ("90s", 90), ("15min", 900), ("15m", 900), ("1h30m", 5400), ("2h", 7200), ("1h0m5s", 3605),
])  # fmt: skip
def test_times_as_they_are_typed(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "0s", "-5s", "1.5h", "15 min", "5s1h", "a", "1hh"])
def test_other_times_are_refused(tune, text):
    with pytest.raises(RequestError, match="such as 15min, 1h30m or 90s"):
        tune("p", **WORDS | {"budget": text or " "})


def rows_of(chats):
    """Of one length, so that all steps are alike."""
    return chats.select([0] * 40)


def test_as_many_steps_as_fit(tune, chats, clocked, events):
    clock = clocked(step=2.0)
    run = tune("p", **WORDS, data=rows_of(chats), eval=0)
    assert run.metrics["steps"] == 48
    assert 90 <= clock.now <= 100
    assert run.plan.steps == 0
    assert [e.steps for e in events if isinstance(e, Started)] == [0]
    steps = [e.steps for e in events if isinstance(e, Progressed)]
    assert (steps[0], steps[-1]) == (0, 48)
    assert steps.index(48) <= budget.TIMED + 1
    assert "48 steps fit into 1 min 40 s" in [e.text for e in events if isinstance(e, Noted)]


def test_the_learning_rate_falls_as_in_a_run_of_that_many_steps(tune, chats, clocked, events):
    clocked(step=2.0)
    words = WORDS | {"data": rows_of(chats), "eval": 0, "warmup_steps": 4}
    tune("p", **words)
    rates = [e.learning_rate for e in events if isinstance(e, Progressed)]
    del events[:]
    tune("q", **words | {"budget": None, "max_steps": len(rates)})
    plain = [e.learning_rate for e in events if isinstance(e, Progressed)]
    assert rates[8:] == plain[8:]


def test_looking_at_held_out_rows_is_in_the_time(tune, chats, clocked):
    clock = clocked(step=1.0, look=8.0)
    run = tune("p", **WORDS, data=chats.select(range(44)), eval=4)
    assert 60 <= clock.now <= 105  # rows are of several lengths
    assert run.metrics["steps"] <= 105 - 8 * len(run.record.held_out)
    assert len(run.record.held_out) > 1
    assert run.record.held_out[-1][0] == run.metrics["steps"]


def test_the_first_batches_may_be_longer_than_most(tune, chats, clocked):
    longest = sorted(range(len(chats)), key=lambda i: -len(str(chats[i])))
    data = chats.select([*longest[:40], *longest[-160:]])
    tokens = {}
    original = watch.Watch.on_log

    def noting(watch, args, state, control, logs=None, **named):
        tokens[state.global_step] = (logs or {}).get("num_tokens", 0)
        return original(watch, args, state, control, logs=logs, **named)

    watch.Watch.on_log = noting
    try:
        clock = clocked(step=lambda n: 0.02 * (tokens.get(n, 0) - tokens.get(n - 1, 0)))
        tune("p", **WORDS, data=data, eval=0)
    finally:
        watch.Watch.on_log = original
    assert 75 <= clock.now <= 105


def test_epochs_and_steps_stay_the_most(tune, chats, clocked):
    clocked(step=0.1)
    words = WORDS | {"data": rows_of(chats), "eval": 0}
    assert tune("p", **words | {"max_steps": 12}).metrics["steps"] == 12
    assert tune("q", **words, epochs=2).metrics["steps"] == 20


def test_steps_that_take_longer_than_the_budget(tune, chats, clocked):
    clocked(step=70.0)
    run = tune("p", **WORDS, data=chats.select(range(44)), eval=4)
    assert run.metrics["steps"] == 2
    assert not run.record.partial
    assert run.record.held_out[-1][0] == 2


@pytest.mark.parametrize("method", ["adalora", "diff"])
def test_methods_that_go_by_steps(tune, chats, clocked, method):
    clocked(step=4.0)
    words = WORDS | {"data": rows_of(chats), "eval": 0, "method": method}
    run = tune("p", **words)
    assert run.metrics["steps"] == 24
    whole = tune("q", **words | {"budget": None, "max_steps": 24})
    if method == "adalora":
        counts = [sum(p.numel() for p in nbpeft.attach(name, model=tune.model).parameters())
                  for name in ("p", "q")]  # fmt: skip
        assert counts[0] == counts[1]
    assert run.record.size == pytest.approx(whole.record.size, rel=0.02)


def test_a_stopped_run_goes_on_with_its_number(tune, chats, clocked, stopped_at):
    words = WORDS | {"data": rows_of(chats), "eval": 0, "dropout": None}
    clocked(step=4.0)
    whole = tune("whole", **words)
    clocked(step=4.0)
    with stopped_at(10, match="step 10 of 24"):
        tune("part", **words)
    clocked(step=50.0)
    resumed = tune("part", **words, resume=True)
    assert resumed.metrics["steps"] == 24
    assert resumed.record.losses == whole.record.losses


def test_the_plan_says_so(tune, chats):
    from nbpeft.rendering import plan_table

    plan = tune("p", **WORDS, data=rows_of(chats), dry_run=True).plan
    assert "as many as fit into 100s" in plan_table(plan).text()
    assert "1000000" not in plan_table(plan).text()
    plan = tune("p", **WORDS | {"max_steps": 7}, data=rows_of(chats), dry_run=True).plan
    assert "as many as fit into 100s, at most 7" in plan_table(plan).text()
