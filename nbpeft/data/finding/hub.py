"""Rows from the Hugging Face hub; nothing that comes with them is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbpeft.errors import DataError, quoted
from nbpeft.quiet import quiet

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def read_hub(address: str) -> Dataset | DatasetDict:
    """The data set `owner/name` or, with `owner/name:split`, one split of it.

    Raises:
        DataError: the hub can't be reached, or has no such data set, split or plain files.
    """
    name, _, split = address.partition(":")
    if name.count("/") != 1 or not all(name.split("/")):
        raise DataError(
            f"{quoted('hub:' + address)} names no data set on the hub; type hub:owner/name or "
            "hub:owner/name:split."
        )
    import datasets
    from huggingface_hub import HfApi, constants

    try:
        if not constants.HF_HUB_OFFLINE:
            # asked first because load_dataset tries an unreachable hub for half a minute, aloud
            HfApi().dataset_info(name, timeout=10)
        with quiet():
            return datasets.load_dataset(name, split=split or None)
    except Exception as error:  # what the hub's client raises has no common root
        raise DataError(f"{quoted('hub:' + address)} can't be read: {_why(error, name)}") from error


def _why(error: Exception, name: str) -> str:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, GatedRepoError):
        return "it is gated; accept its terms on its page and log in with huggingface_hub.login()."
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such data set, or it is private; check the name, or log in."
    if isinstance(error, HfHubHTTPError):
        return f"the hub answered {quoted(reason, 120)}; try again later."
    if isinstance(error, ValueError | RuntimeError):
        return (
            f"{quoted(reason, 200)}; load it yourself (rows = datasets.load_dataset({name!r}, …)) "
            "and give --data rows."
        )
    return (
        f"the hub can't be reached ({type(error).__name__}); you seem to be offline: give a "
        "file or tiny:NAME, or set HF_HUB_OFFLINE=1 to use what was downloaded before."
    )
