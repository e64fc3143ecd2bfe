"""Adapters of the Hugging Face hub: the config and the safetensors are fetched, nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from nbpeft.errors import AdapterError, quoted
from nbpeft.quiet import quiet
from nbpeft.session.names import HUB

FILES = ("adapter_config.json", "adapter_model.safetensors")


def download(address: str) -> Path:
    """The folder in the hub's cache with the adapter of hub:owner/name.

    Raises:
        AdapterError: the hub can't be reached, or has no such repository.
    """
    name = address.removeprefix(HUB)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise AdapterError(f"{quoted(address)} names no adapter on the hub: type hub:owner/name.")
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            return Path(snapshot_download(name, allow_patterns=list(FILES), etag_timeout=10))
    except Exception as error:  # what the hub's client raises has no common root
        raise AdapterError(f"{quoted(address)} can't be had: {_why(error)}") from error


def _why(error: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "it is gated; accept its terms on its page and log in with huggingface_hub.login()."
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it is private; check the name, or log in."
    if isinstance(error, LocalEntryNotFoundError):
        return "the hub can't be reached and it was not downloaded before; give a folder."
    if isinstance(error, HfHubHTTPError):
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"the hub answered {quoted(reason, 120)}; try again later."
    return f"the hub can't be reached ({type(error).__name__}); you seem to be offline."
