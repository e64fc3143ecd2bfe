"""Libraries kept from talking: to the user, and to their makers."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from types import ModuleType

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
    use to the hub when they are made; nothing that nbpeft runs does.
    """
    import datasets
    import huggingface_hub.constants as hub
    from tqdm import tqdm
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    bars = datasets.are_progress_bars_disabled()
    model_bars = transformers_logging.is_progress_bar_enabled()
    monitor, telemetry = tqdm.monitor_interval, hub.HF_HUB_DISABLE_TELEMETRY
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        transformers_logging.disable_progress_bar()
        tqdm.monitor_interval = 0  # a bar that is switched off starts its thread all the same
        hub.HF_HUB_DISABLE_TELEMETRY = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tqdm.monitor_interval, hub.HF_HUB_DISABLE_TELEMETRY = monitor, telemetry
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
        if model_bars:
            transformers_logging.enable_progress_bar()
