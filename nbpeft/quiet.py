"""Libraries kept from talking: to the user, and to their makers."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from nbpeft.beside import beside

LOGGERS = (
    "transformers", "peft", "trl", "accelerate", "bitsandbytes", "datasets",
    "torch.utils.checkpoint",
)  # fmt: skip


def import_peft() -> ModuleType:
    """PEFT, whose first import says nothing.

    It takes bitsandbytes along, which warns of kernels that it can do without; Python would print
    that below the user's cell.
    """
    logger = logging.getLogger("bitsandbytes")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import peft
    finally:
        logger.setLevel(level)
    return peft


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No library's warnings, bars or log lines inside, and no telemetry; all as before after.

    What is the user's business nbpeft says itself, once, in the plan. TRL's trainers report their
    use to the hub when they are made; nothing that nbpeft runs does. While a background run goes
    on, bars and log lines are off for the user's cells too; their warnings are not.
    """
    _silence.begin()
    try:
        with _no_warnings():
            yield
    finally:
        _silence.end()


class _Silence:
    """The libraries' own switches: off from whoever asks first to whoever is last, in any order.

    Two runs in two threads end in any order; each putting back what it found would leave the
    libraries mute for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self._put_back: Callable[[], None] | None = None

    def begin(self) -> None:
        with self._lock:
            if self._put_back is None:
                self._put_back = _switched_off()
            self._asked += 1

    def end(self) -> None:
        with self._lock:
            self._asked -= 1
            if not self._asked and self._put_back is not None:
                self._put_back()
                self._put_back = None


_silence = _Silence()


def _switched_off() -> Callable[[], None]:
    """Switch the libraries' lines, bars and telemetry off; returns what puts them back."""
    import datasets
    import huggingface_hub.constants as hub
    from tqdm import tqdm
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    model_bars = transformers_logging.is_progress_bar_enabled()
    monitor, telemetry = tqdm.monitor_interval, hub.HF_HUB_DISABLE_TELEMETRY

    def put_back() -> None:
        tqdm.monitor_interval, hub.HF_HUB_DISABLE_TELEMETRY = monitor, telemetry
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
        if model_bars:
            transformers_logging.enable_progress_bar()

    for logger in loggers:
        logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    tqdm.monitor_interval = 0  # a bar that is switched off starts its thread all the same
    hub.HF_HUB_DISABLE_TELEMETRY = True
    return put_back


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """None inside; in a background run's thread only that thread's, which Python can't say."""
    if beside() is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        return
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    own = ("ignore", _InThisThread(), Warning, None, 0)
    filters.insert(0, own)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's cell has put its own back meanwhile
            warnings.filters.remove(own)  # type: ignore[attr-defined]


class _InThisThread:
    """Stands for the pattern of a warning's text, and matches all those of one thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def match(self, _text: str) -> bool:
        return threading.get_ident() == self._thread
