"""Background runs without a run: their list, their place in a cell, what threads may not share."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest
import torch
from test_views_notebook import Frontend
from test_views_terminal import Clock, train

from nbpeft.background import listing
from nbpeft.background import queue as queues
from nbpeft.background.job import Job
from nbpeft.background.names import Names
from nbpeft.beside import Beside, running
from nbpeft.errors import ModelError, RequestError, Stopped
from nbpeft.events import Finished, Noted, Progressed, Started
from nbpeft.guard import Guard
from nbpeft.quiet import quiet
from nbpeft.session.turn import Turn
from nbpeft.views import Corner, NotebookView

FINISHED = Finished("pirate@1", stopped=False, summary=(("loss", "1.456"),), picture=b"PNG")


@pytest.fixture
def jobs(monkeypatch):
    """Makes jobs of what each of them does; the earlier goes on until `go` is set."""
    queue, go = queues.Queue(), threading.Event()
    monkeypatch.setattr(listing, "queue", queue)

    def make(name, work=None):
        def waits(events):
            events().emit(Started(name, 10))
            events().emit(Progressed(4, 10, 2.0, 1e-3, 8.0, 0))
            assert go.wait(60)

        job = Job(name, "model", work or waits, queue)
        queue.add(job)
        job.start()
        return job

    make.go = go
    yield make
    go.set()
    queue.end()


def thread(call):
    """What a call gives, or raises, in another thread."""
    found = []

    def run():
        try:
            found.append(call())
        except BaseException as error:  # noqa: BLE001  raised here
            found.append(error)

    other = threading.Thread(target=run)
    other.start()
    other.join(60)
    return found[0]


def test_the_list_says_how_far_each_is(jobs):
    first, _ = jobs("first"), jobs("second")
    assert first.begun.wait(60)
    while first.where != "step 4 of 10":
        pass
    assert list(listing.jobs().table().rows) == [
        ("first", "running", "step 4 of 10", "12.0 s"),
        ("second", "waiting", "", ""),
    ]
    jobs.go.set()


def test_what_an_error_says_is_shown_and_does_nothing(jobs):
    def fails(_events):
        raise OSError("<b>\x1b[31mred")

    job = jobs("<i>bad", fails)
    with pytest.raises(OSError, match="red"):
        job.wait(60)
    table = listing.jobs()
    assert (job.state, job.left) == ("failed", "")
    assert "<b>" not in table._repr_mimebundle_()["text/html"]
    assert "<i>" not in table._repr_mimebundle_()["text/html"]
    assert "\x1b" not in repr(table)
    assert table.untold == ()


def test_they_are_found_by_name_and_stopped_from_the_last(jobs):
    ran = []
    first, second = jobs("first"), jobs("second", lambda _: ran.append(1))
    with pytest.raises(RequestError, match="Did you mean second"):
        listing.jobs().of("secnd")
    assert listing.jobs().of("second") == (second,)
    listing.jobs().stop()
    assert (first.state, first.is_asked, second.state) == ("running", True, "stopped")
    jobs.go.set()
    first._thread.join(60)
    assert not ran


def test_one_after_another_in_the_order_of_their_coming(jobs):
    ran = []
    every = [jobs("a"), *(jobs(name, lambda _, n=name: ran.append(n)) for name in "bcd")]
    jobs.go.set()
    for job in every[:1]:
        job._over.wait(60)
    for job in every[1:]:
        job._over.wait(60)
    assert ran == ["b", "c", "d"]


def test_a_cell_that_is_done_shows_all_of_a_run_in_its_own_displays():
    clock = Clock()
    cell = Frontend(clock)
    corner = Corner(cell)
    view = NotebookView(corner.publish, clock)
    view(Noted("waits for <b>another"))
    opened = len(cell.outputs)
    view(Noted("second line"))
    view(Started("pirate", 20))
    train(view, clock, 20, 0.1)
    view(FINISHED)
    assert len(cell.outputs) == opened == 4
    above, live, below, picture = cell.outputs
    assert above["text/plain"].splitlines() == [
        "[nbpeft] waits for <b>another",
        "[nbpeft] second line",
    ]
    assert "<b>" not in above["text/html"]
    assert live["image/png"].startswith(b"\x89PNG")
    assert "pirate@1 is trained and kept" in below["text/plain"]
    assert picture["image/png"] == b"PNG"
    before = len(cell.messages)
    corner.again()
    assert [bundle for *_, bundle in cell.messages[before:]] == cell.outputs


def test_one_thread_has_a_turn_and_a_run_waits_for_it():
    turn, asked = Turn(), threading.Event()
    with turn.used(), turn.used():
        assert turn.is_mine
        with pytest.raises(ModelError, match="another cell"):
            raise thread(lambda: turn.used().__enter__())
        asked.set()
        with pytest.raises(Stopped, match="nothing is changed"):
            raise thread(lambda: turn.taken(str, asked).__enter__())
    assert not turn.is_mine
    entered, leave = threading.Event(), threading.Event()

    def run():
        with turn.taken(lambda: "taken by a run", threading.Event()), turn.used():
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=run)
    other.start()
    assert entered.wait(60)
    with pytest.raises(ModelError, match="taken by a run"):
        turn.used().__enter__()
    leave.set()
    other.join(60)
    with turn.used():
        assert turn.is_mine


def test_libraries_talk_again_whichever_run_ends_first():
    with quiet():  # the libraries set their levels when they are imported
        logger = logging.getLogger("transformers")
    level, filters = logger.level, list(warnings.filters)
    first, second = quiet(), quiet()
    first.__enter__()

    def beside():
        with running(Beside(print)):
            second.__enter__()

    thread(beside)
    first.__exit__(None, None, None)
    assert logger.level == logging.ERROR
    thread(lambda: second.__exit__(None, None, None))
    assert logger.level == level
    assert [f for f in warnings.filters if f not in filters] == []


def test_a_background_run_s_warnings_are_nobody_s_and_the_user_s_are_theirs():
    def warns():
        with running(Beside(print)), quiet():
            assert thread(lambda: heard("of another thread")) == ["of another thread"]
            return heard("of the run")

    def heard(text):
        said = []
        show, warnings.showwarning = warnings.showwarning, lambda w, *_, **__: said.append(str(w))
        try:
            warnings.warn(text, UserWarning, stacklevel=1)
        finally:
            warnings.showwarning = show
        return said

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert thread(warns) == []


def test_what_is_as_it_was_is_never_emptied_while_a_model_is_put_back():
    """Another thread may be going through it: the hooks that refuse it, say."""

    class Whole(dict):
        def clear(self):
            raise AssertionError("it was empty for a moment")

    model = torch.nn.Linear(2, 2)
    model.hooks = Whole(a=1)
    with Guard(model):
        model.train()
    assert model.hooks == {"a": 1}


def test_random_states_are_put_back_in_the_foreground_only():
    model = torch.nn.Linear(2, 2)
    state = torch.get_rng_state()
    with Guard(model, random=False):
        torch.rand(3)
    assert not torch.equal(torch.get_rng_state(), state)
    state = torch.get_rng_state()
    with Guard(model):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_names_are_what_they_were_and_others_what_they_are():
    live = {"rows": [1], "other": 1}
    names = Names(live, {"rows": live["rows"]})
    live |= {"rows": [2], "other": 2, "new": 3}
    assert dict(names) == {"rows": [1], "other": 2, "new": 3}
    for _ in names.items():
        live[f"more{len(live)}"] = 0  # a cell that runs meanwhile
    names["made"] = 4
    assert live["made"] == 4
