"""Learned rescaling of inner activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, listed
from nbpeft.methods import methods
from nbpeft.methods._peft import PeftMethod

if TYPE_CHECKING:
    from torch import nn


class IA3(PeftMethod):
    """IA3 at the keys, the values and the feed-forward, wherever a model has them."""

    def _complete(self, root: nn.Module, settings: dict[str, Any]) -> dict[str, Any]:
        """PEFT's own places for a type of model that it knows, else places found by structure."""
        from nbpeft.tuners.structure import feedforward_outputs, linears, matcher, names_for

        if settings.get("target_modules") is None:
            return settings | _places(root, settings.get("feedforward_modules"))
        if settings.get("feedforward_modules") is None:
            # Feed-forward is scaled where it goes in; PEFT must be told which names those are.
            hit = matcher(settings["target_modules"])
            ends = [p for p in feedforward_outputs(root) if p in linears(root) and hit(p)]
            return settings | {"feedforward_modules": names_for(root, ends) if ends else []}
        return settings


def _places(root: nn.Module, feedforward: Any) -> dict[str, Any]:
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as TARGETS

    from nbpeft.tuners import structure

    all_linears = structure.linears(root)
    kind = root.config.model_type  # type: ignore[union-attr]
    known = TARGETS.get(kind, [])
    # The tables name what older versions of a model had, Mixtral's `w2` for one.
    if known and all(any(map(structure.matcher([name]), all_linears)) for name in known):
        return {
            "target_modules": list(known),
            "feedforward_modules": FEEDFORWARD[kind] if feedforward is None else feedforward,
        }
    keys = structure.keys_and_values(root)
    ends = [path for path in structure.feedforward_outputs(root) if path in all_linears]
    if not keys:
        raise RequestError(
            "ia3 finds no keys and values in this model; name them (and what ends the "
            "feed-forward): target_modules: [k, v, wo] and feedforward_modules: [wo]. Its linear "
            f"layers are: {listed(structure.last_names(all_linears))}."
        )
    return {
        "target_modules": structure.names_for(root, keys + ends),
        "feedforward_modules": feedforward
        if feedforward is not None
        else (structure.names_for(root, ends) if ends else []),
    }


methods.add(
    IA3(
        name="ia3",
        family="rescaling",
        summary="learned scales on keys, values and feed-forward activations",
        paper="Liu et al. 2022, arXiv:2205.05638",
        config="IA3Config",
        learning_rate=3e-3,
        aliases={"target_modules": "target_modules"},
    )
)
