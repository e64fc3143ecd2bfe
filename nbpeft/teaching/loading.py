"""A teacher that isn't in the kernel: its folder, or its repository on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbpeft.errors import ModelError, quoted
from nbpeft.quiet import quiet
from nbpeft.session.names import HUB


def is_address(given: str) -> bool:
    """Whether this is a path or hub:owner/name, and no name of a variable or an adapter."""
    if given.startswith((HUB, ".", "~")) or "/" in given or "\\" in given:
        return True
    return bool(given) and Path(given, "config.json").is_file()


def loaded(address: str, device: Any) -> tuple[Any, Any]:
    """(model, tokenizer) at a path or hub:owner/name, in the precision that they were saved in.

    Safetensors only, and no code that a repository brings.

    Raises:
        ModelError: there is no model, it is pickled, it wants its own code, or the hub can't be
            reached.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = _where(address)
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                where, dtype="auto", use_safetensors=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    except Exception as error:  # what transformers and the hub raise has no common root
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"The teacher {quoted(address)} can't be loaded: {quoted(reason, 160)[1:-1]}. Load it "
            "into a variable, and type its name."
        ) from error
    return model.to(device).eval(), tokenizer


def tokenizer_at(address: str) -> Any | None:
    """The tokenizer in a folder; None where there is none."""
    from transformers import AutoTokenizer

    folder = Path(address).expanduser()
    if not folder.is_dir():
        return None
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception:  # noqa: BLE001  whatever a broken folder makes transformers raise
        return None


def _where(address: str) -> str:
    if address.startswith(HUB):
        return address.removeprefix(HUB)
    folder = Path(address).expanduser()
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"There is no model at {quoted(address)}: a folder with config.json and "
            "model.safetensors is wanted; the hub is written as hub:owner/name."
        )
    return str(folder)
