"""Runs in the background: the same weights, a model that is nobody else's meanwhile, one at a time.

Threads are held at a step by events, never by sleeping.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import os
import signal
import threading
import traceback
import warnings
import weakref
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from conftest import PROBE, differences, logits, state_of
from safetensors.torch import load_file

import nbpeft
from nbpeft import stop
from nbpeft.background import queue as queues
from nbpeft.background.fence import fenced
from nbpeft.background.job import Job
from nbpeft.bindings import Bindings
from nbpeft.events import Finished, Noted, Started
from nbpeft.magics.finetune import finetune
from nbpeft.magics.jobs import peft_jobs
from nbpeft.places import watch
from nbpeft.prepare import look_over, prepare
from nbpeft.request import Request

SECONDS = 120


@pytest.fixture(autouse=True)
def _no_jobs_left(monkeypatch):
    """A queue of the test's own; what it left open is ended."""
    own = queues.Queue()
    for module in ("starting", "listing"):
        monkeypatch.setattr(f"nbpeft.background.{module}.queue", own)
    yield
    own.end()
    assert not own.open


@pytest.fixture
def held(monkeypatch):
    """`with held(at=2) as it:` a background run waits at the end of that step.

    `it.reached` is set then, and `it.go` lets it, and all after it, go on.
    """
    original = watch.Watch.on_step_end

    @contextlib.contextmanager
    def hold(at):
        it = SimpleNamespace(reached=threading.Event(), go=threading.Event())

        def on_step_end(self, args, state, control, **words):
            beside = threading.current_thread() is not threading.main_thread()
            if beside and state.global_step == at and not it.go.is_set():
                it.reached.set()
                assert it.go.wait(SECONDS)
            return original(self, args, state, control, **words)

        with monkeypatch.context() as patched:
            patched.setattr(watch.Watch, "on_step_end", on_step_end)
            try:
                yield it
            finally:
                it.go.set()
                for job in nbpeft.jobs():
                    with contextlib.suppress(BaseException):
                        job.wait(SECONDS)

    return hold


def behind(tune, name, **words):
    return tune(name, background=True, **words)


def weights(record):
    return load_file(record.path / "adapter_model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_the_cell_goes_on_and_the_weights_are_those_of_the_foreground(tune, held):
    words = {"max_steps": 4, "dropout": 0.1, "learning_rate": 1e-3}
    front = tune("front", **words)
    before, base = state_of(tune.model, tune.tokenizer), logits(tune.model)
    with held(at=2) as it:
        job = behind(tune, "back", **words)
        assert it.reached.wait(SECONDS)
        assert (job.state, job.where) == ("running", "step 1 of 4")
        assert job.result is None
        it.go.set()
        run = job.wait(SECONDS)
    assert (job.state, job.result, run.record.label) == ("done", run, "back@1")
    assert same(weights(front.record), weights(run.record))
    assert "background" not in run.record.request
    left = differences(before, state_of(tune.model, tune.tokenizer))
    assert left in ([], ["random"])
    assert torch.equal(logits(tune.model), base)


def test_nobody_else_gets_an_answer_of_a_model_that_is_being_tuned(tune, held):
    words = {"max_steps": 3, "learning_rate": 1e-3}
    alone = tune("alone", **words).record
    said = r"model is being tuned in the background by back \(step 1 of 3\): wait with %peft_jobs"
    calls = [
        lambda: tune.model(input_ids=PROBE),
        lambda: tune.model.model(input_ids=PROBE),
        lambda: tune.model.generate(input_ids=PROBE, max_new_tokens=2),
        lambda: tune("other"),
        lambda: nbpeft.attach("alone", model=tune.model),
        lambda: nbpeft.compare(
            ["base", "alone"], ["Hi"], model=tune.model, tokenizer=tune.tokenizer
        ),
        lambda: nbpeft.merge("alone", "merged", model=tune.model),
        lambda: nbpeft.fit(data="tiny:pirate", model=tune.model, tokenizer=tune.tokenizer),
        lambda: nbpeft.session.current().handle(tune.model),
    ]
    with held(at=2) as it:
        job = behind(tune, "back", **words)
        assert it.reached.wait(SECONDS)
        for call in calls:
            with pytest.raises(nbpeft.NbPeftError, match=said):
                call()
        assert list(nbpeft.adapters()) == ["alone"]
        assert nbpeft.describe("alone", model=tune.model).record == alone
        nbpeft.memory(free=True)
        assert list(nbpeft.session.current().known(tune.model).mounts) == ["alone@1"]
        it.go.set()
        run = job.wait(SECONDS)
    assert same(weights(alone), weights(run.record))
    assert not tune.model._forward_pre_hooks
    assert not tune.model.model._forward_pre_hooks
    assert nbpeft.attach("back", model=tune.model) is tune.model


def test_a_second_run_waits_for_the_first_and_sees_what_that_made(tune, held):
    with held(at=1) as it:
        first = behind(tune, "first")
        second = behind(tune, "second", from_="first", attach=True)
        third = behind(tune, "third")
        assert it.reached.wait(SECONDS)
        assert [j.state for j in nbpeft.jobs()] == ["running", "waiting", "waiting"]
        third.stop()
        assert (third.state, third.result) == ("stopped", None)
        it.go.set()
        second.wait(SECONDS)
    assert first.state == "done"
    assert second.result.record.parent == "first@1"
    assert nbpeft.adapters().attached == {"second@1"}
    assert "third" not in nbpeft.adapters()
    with pytest.raises(nbpeft.Stopped, match="third was taken from the queue; nothing is changed"):
        third.wait()


def test_what_a_waiting_run_can_t_be_is_refused_in_its_cell(tune, held):
    wrong = [
        ({"method": "nosuch"}, "nosuch"),
        ({"data": "nosuch"}, "nosuch"),
        ({"nosuch": 3}, "nosuch"),
        ({"reward": "len"}, "takes no reward"),
    ]
    with held(at=1) as it:
        behind(tune, "first")
        assert it.reached.wait(SECONDS)
        for words, message in wrong:
            with pytest.raises(nbpeft.NbPeftError, match=message):
                behind(tune, "second", **words)
        assert len(nbpeft.jobs()) == 1


def test_the_rows_of_a_waiting_run_are_those_that_it_was_asked_with(tune, held, monkeypatch):
    variables = {"rows": nbpeft.load_data("pirate").select(range(8))}
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: variables)
    with held(at=1) as it:
        behind(tune, "first")
        second = behind(tune, "second", data="rows", eval=0)
        variables["rows"] = []
        it.go.set()
        assert second.wait(SECONDS).plan.train_rows == 8


def test_what_prepares_badly_is_the_cell_s_error_and_no_job(tune):
    with pytest.raises(nbpeft.NbPeftError, match="nosuch"):
        behind(tune, "wrong", data="nosuch")
    assert nbpeft.jobs() == ()
    tune.model(input_ids=PROBE)


def test_stop_keeps_what_there_is_and_resume_goes_on(tune, held):
    whole = tune("whole", max_steps=4).record
    with held(at=2) as it:
        job = behind(tune, "part", max_steps=4)
        assert it.reached.wait(SECONDS)
        job.stop()
        it.go.set()
        with pytest.raises(nbpeft.Stopped, match="part"):
            job.wait(SECONDS)
    assert job.state == "stopped"
    assert nbpeft.adapters()["part"].partial
    assert not torch.equal(
        *(next(iter(weights(nbpeft.adapters()[n]).values())) for n in ("part", "whole"))
    )
    done = behind(tune, "part", max_steps=4, resume=True).wait(SECONDS)
    assert same(weights(done.record), weights(whole))


def test_the_button_s_stop_reaches_it(tune, held, events):
    with held(at=1) as it:
        job = behind(tune, "part")
        assert it.reached.wait(SECONDS)
        (run,) = {event.run for event in events if isinstance(event, Started)}
        assert stop.ask(run)
        it.go.set()
        with pytest.raises(nbpeft.Stopped):
            job.wait(SECONDS)
    assert [event.stopped for event in events if isinstance(event, Finished)] == [True]


def test_a_failure_is_kept_told_in_its_cell_and_raised_by_waiting(tune, monkeypatch, events):
    base, before = logits(tune.model), state_of(tune.model, tune.tokenizer)

    def fails(*_, **__):
        raise OSError("the disk is on fire")

    with monkeypatch.context() as patched:
        patched.setattr(watch.Watch, "on_step_end", fails)
        job = behind(tune, "bad")
        with pytest.raises(OSError, match="on fire") as raised:
            job.wait(SECONDS)
    assert (job.state, job.error) == ("failed", raised.value)
    with pytest.raises(OSError, match="on fire"):
        peft_jobs("--wait bad")
    peft_jobs("--wait")  # of that one everybody knows
    assert job.error.__traceback__ is not None
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(job.error.__traceback__)]
    assert not any("ready" in found or "trainer" in found for found in frames)
    assert "the disk is on fire" in repr(nbpeft.jobs())
    assert torch.equal(logits(tune.model), base)
    left = differences(before, state_of(tune.model, tune.tokenizer))
    assert set(left) <= {"random"}


def test_a_run_that_fails_at_its_turn_says_so_in_its_cell(tune, held, events):
    with held(at=1) as it:
        behind(tune, "first")
        second = behind(tune, "second", from_="nosuch")
        it.go.set()
        with pytest.raises(nbpeft.NbPeftError, match="nosuch"):
            peft_jobs("--wait")
    assert second.state == "failed"
    told = [event.text for event in events if isinstance(event, Noted)]
    assert any("second waits for first" in text for text in told)
    assert any(text.startswith("second failed: ") and "nosuch" in text for text in told)


def test_waiting_can_be_broken_off_and_the_run_goes_on(tune, held):
    with held(at=1) as it:
        job = behind(tune, "run")
        assert it.reached.wait(SECONDS)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        press = functools.partial(signal.pthread_kill, threading.main_thread().ident, signal.SIGINT)
        threading.Timer(0.2, press).start()
        with pytest.raises(nbpeft.Stopped, match="run goes on in the background"):
            job.wait()
        signal.signal(signal.SIGINT, before)
        it.go.set()
        assert job.wait(SECONDS).record.name == "run"


def test_a_run_waits_until_the_model_is_free_and_not_within_the_block(tune):
    session = nbpeft.session.current()
    with session.answering_as(tune.model, None), pytest.raises(nbpeft.NbPeftError, match="block"):
        behind(tune, "inside")
    entered, leave = threading.Event(), threading.Event()

    class Slow(torch.nn.Module):
        def forward(self, x):
            entered.set()
            assert leave.wait(SECONDS)
            return x

    # A forward pass in another thread, which the run must let end before it touches the model.
    handle = session.handle(tune.model)
    tune.model.model.norm, norm = Slow(), tune.model.model.norm
    passing = threading.Thread(target=lambda: tune.model(input_ids=PROBE))
    passing.start()
    assert entered.wait(SECONDS)
    started = threading.Event()

    def fence():
        with fenced(handle, lambda: "busy", threading.Event()):
            started.set()

    fencing = threading.Thread(target=fence)
    fencing.start()
    assert not started.wait(0.3)
    leave.set()
    assert started.wait(SECONDS)
    passing.join(SECONDS)
    fencing.join(SECONDS)
    tune.model.model.norm = norm
    assert not tune.model._forward_pre_hooks


def test_a_model_that_a_run_asks_for_is_the_run_s_until_it_is_over(tune):
    """A teacher, a judge: what answers in the run has its adapters swapped there."""
    session, teacher = nbpeft.session.current(), copy.deepcopy(tune.model)
    reached, go = threading.Event(), threading.Event()

    def work(_events):
        session.handle(tune.model)
        session.handle(teacher)
        reached.set()
        assert go.wait(SECONDS)

    queue = queues.Queue()
    job = Job("back", "student", work, queue)
    queue.add(job)
    job.start()
    assert reached.wait(SECONDS)
    with pytest.raises(nbpeft.NbPeftError, match="student is being tuned in the background by ba"):
        tune.model(input_ids=PROBE)
    with pytest.raises(nbpeft.NbPeftError, match="This model is needed by the background run back"):
        teacher(input_ids=PROBE)
    copy.deepcopy(teacher)(input_ids=PROBE)  # hooks and all, and nobody's
    go.set()
    job.join(SECONDS)
    teacher(input_ids=PROBE)
    assert not teacher._forward_pre_hooks


def test_the_user_s_own_warnings_environment_and_trainers_go_on_meanwhile(tune, held, monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)  # of whatever ran before
    with held(at=1) as it:
        job = behind(tune, "back", max_steps=2)
        assert it.reached.wait(SECONDS)
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
        monkeypatch.setenv("MINE", "kept")
        assert AcceleratorState._shared_state == {}
        mine = Accelerator(cpu=True, gradient_accumulation_steps=7)
        it.go.set()
        job.wait(SECONDS)
    assert os.environ["MINE"] == "kept"
    assert mine.gradient_accumulation_steps == 7
    assert type(vars(AcceleratorState)["_shared_state"]) is dict
    AcceleratorState._reset_state(reset_partial_state=True)
    assert "_InThisThread" not in repr(warnings.filters)


def test_another_model_is_tuned_in_the_foreground_meanwhile(tune, held):
    """Accelerate's singletons would mix up their steps; one accumulates gradients, one doesn't."""
    other = copy.deepcopy(tune.model)
    words = {"data": "tiny:pirate", "max_steps": 3, "eval": 8, "batch_size": 4, "fit": "off"}
    words |= {"model": other, "tokenizer": tune.tokenizer}
    alone = nbpeft.finetune("alone", **words).record
    with held(at=2) as it:
        job = behind(tune, "back", max_steps=4, gradient_accumulation_steps=2)
        assert it.reached.wait(SECONDS)
        front = nbpeft.finetune("front", **words).record
        it.go.set()
        back = job.wait(SECONDS).record
    assert same(weights(front), weights(alone))
    again = tune("again", max_steps=4, gradient_accumulation_steps=2).record
    assert same(weights(back), weights(again))


def test_a_chain_goes_to_the_background_too(tune, monkeypatch):
    variables = {}
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: variables)
    job = behind(
        tune, "style", objective="context-distillation", data="auto", count=6, eval=2,
        context="Answer as a pirate.", max_steps=2,
    )  # fmt: skip
    assert job.wait(SECONDS).record.objective == "context-distillation"
    assert len(variables["style_prompts"]) == 6


def test_a_model_that_is_dropped_is_freed_once_its_run_is_over(tune):
    other = copy.deepcopy(tune.model)
    job = nbpeft.finetune(
        "run", "tiny:pirate", model=other, tokenizer=tune.tokenizer, max_steps=1, eval=0,
        fit="off", background=True,
    )  # fmt: skip
    kept = weakref.ref(other)
    job.wait(SECONDS)
    job._thread.join(SECONDS)
    del other
    gc.collect()
    assert kept() is None


def test_as_a_magic(tune, held, monkeypatch):
    variables = {"model": tune.model, "tokenizer": tune.tokenizer}
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: variables)
    with held(at=1) as it:
        assert finetune("one --data tiny:pirate --max-steps 2 --background --eval 0") is None
        assert it.reached.wait(SECONDS)
        finetune("two --data tiny:pirate", "background: true\nmax_steps: 1")
        table = peft_jobs("").table()
        assert [row[:2] for row in table.rows] == [("one", "running"), ("two", "waiting")]
        with pytest.raises(nbpeft.NbPeftError, match=r"no background run 'tow'\. Did you mean two"):
            peft_jobs("--stop tow")
        with pytest.raises(nbpeft.NbPeftError, match="NAME, or all"):
            peft_jobs("--stop")
        peft_jobs("--stop all")
        it.go.set()
        with pytest.raises(nbpeft.Stopped):
            peft_jobs("--wait one")
    assert [job.state for job in nbpeft.jobs()] == ["stopped", "stopped"]


def test_a_run_may_wait_while_another_counts_its_adapter_on_the_meta_device(tune, chats):
    tune.model.extra = torch.nn.Parameter(torch.empty(1, device="meta"))
    request = Request("next", max_steps=1)
    bindings = Bindings(model=tune.model, tokenizer=tune.tokenizer, data=chats)
    look_over(request, bindings)
    with pytest.raises(nbpeft.NbPeftError, match="meta device"):
        prepare(request, nbpeft.session.current(), bindings)
