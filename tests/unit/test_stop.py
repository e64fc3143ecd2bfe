"""Stop: the first interrupt is a wish, the second breaks off, and only where nothing can break."""

import os
import signal
import threading

import pytest

from nbpeft.stop import Stop


def interrupt():
    """What the notebook's Stop button does to the kernel."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def _handler_is_put_back():
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    before = signal.getsignal(signal.SIGINT)
    yield
    left, _ = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGINT, found)
    assert left is before


def test_the_first_interrupt_is_only_noted():
    with Stop() as stop:
        assert not stop.asked
        with stop.interruptible():
            interrupt()
            reached = True
        assert reached
        assert stop.asked


def test_the_second_breaks_off_a_step():
    with Stop() as stop:
        with pytest.raises(KeyboardInterrupt), stop.interruptible():  # noqa: PT012
            interrupt()
            interrupt()
            pytest.fail("the step went on")
        assert stop.asked


def test_the_third_does_not_break_what_cleans_up_after_the_second():
    cleaned = False
    with Stop() as stop, pytest.raises(KeyboardInterrupt), stop.interruptible():  # noqa: PT012
        interrupt()
        try:
            interrupt()
        finally:
            interrupt()
            cleaned = True
    assert cleaned


def test_outside_of_a_step_any_number_is_only_noted():
    with Stop() as stop:
        for _ in range(3):
            interrupt()
        with stop.interruptible():
            pass
        for _ in range(3):
            interrupt()
        assert stop.asked


def test_one_before_the_step_and_one_in_it_break_it_off():
    with Stop() as stop:
        interrupt()
        with pytest.raises(KeyboardInterrupt), stop.interruptible():
            interrupt()


def test_after_the_run_an_interrupt_is_python_s_again():
    stop = Stop()
    with stop:
        pass
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert not stop.asked


def test_the_handler_is_put_back_after_an_error_too():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError), Stop():  # noqa: PT012
        assert signal.getsignal(signal.SIGINT) is not before
        raise RuntimeError
    assert signal.getsignal(signal.SIGINT) is before


def test_ask_is_the_same_wish_from_any_thread():
    with Stop() as stop:
        thread = threading.Thread(target=stop.ask)
        thread.start()
        thread.join()
        assert stop.asked
        with pytest.raises(KeyboardInterrupt), stop.interruptible():
            interrupt()


def test_off_the_main_thread_signals_are_left_alone():
    seen = []

    def work():
        with Stop() as stop:
            seen.append(signal.getsignal(signal.SIGINT))
            stop.ask()
            seen.append(stop.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT), True]


def test_while_preparing_the_first_interrupt_breaks_off():
    with Stop() as stop:
        with pytest.raises(KeyboardInterrupt), stop.interruptible(at_once=True):
            interrupt()
        assert stop.asked
