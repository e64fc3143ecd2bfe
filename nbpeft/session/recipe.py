"""How LoRA adapters are combined: the options of `a+b`, declared once for all front doors."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError
from nbpeft.request import option

Combination = Literal[
    "cat", "linear", "svd", "ties", "ties_svd", "dare_linear", "dare_ties", "dare_linear_svd",
    "dare_ties_svd", "magnitude_prune", "magnitude_prune_svd",
]  # fmt: skip
SAME_RANK = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")
"""Those that work on the matrices as they are; the others make new ones of any rank."""
PRUNING = ("ties", "dare", "magnitude_prune")

# Yadav et al. 2023, arXiv:2306.01708 (TIES); Yu et al. 2023, arXiv:2311.03099 (DARE).


@dataclass(frozen=True)
class Recipe:
    """How LoRA adapters are combined. The fields are the words that users type."""

    weights: list[float] | None = option(
        "of a+b: how much of each (default: 1 of each)", shown="X,X"
    )
    combination: Combination = option(
        "of a+b, PEFT's combination_type: cat and svd add the adapters' changes themselves, cat "
        "exactly; linear, ties, dare_linear, … mix their matrices",
        "cat",
        shown="TYPE",
    )
    density: float | None = option(
        "of a+b by ties, dare or magnitude_prune: the share of values that is kept", shown="X"
    )
    svd_rank: int | None = option(
        "of a+b by svd: the rank that comes out (default: the largest)", shown="N"
    )

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Recipe:
        """From typed words; RequestError for a value that can't be."""
        hints = typing.get_type_hints(cls)
        recipe = cls(**{word: coerce(word, value, hints[word]) for word, value in words.items()})
        recipe._check()
        return recipe

    def _check(self) -> None:
        prunes = self.combination.startswith(PRUNING)
        if prunes and self.density is None:
            raise RequestError(
                f"{self.combination} wants the share of values to keep: --density 0.5."
            )
        for word, given, fits in (
            ("density", self.density, prunes),
            ("svd_rank", self.svd_rank, self.combination.endswith("svd")),
        ):
            if given is not None and not fits:
                raise RequestError(f"{word} has no meaning for {self.combination}; leave it out.")
        if self.density is not None and not 0 < self.density <= 1:
            raise RequestError(f"density must be above 0 and at most 1, not {self.density:g}.")
        if self.svd_rank is not None and self.svd_rank < 1:
            raise RequestError(f"svd_rank must be at least 1, not {self.svd_rank}.")

    def how(self) -> dict[str, Any]:
        """As PEFT's `add_weighted_adapter` takes it, but for the weights."""
        words = {"density": self.density, "svd_rank": self.svd_rank}
        given = {word: value for word, value in words.items() if value is not None}
        return {"combination_type": self.combination, **given}

    def given(self) -> dict[str, Any]:
        """Ready for JSON; `of` reads it back."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


def recipe_options() -> tuple[dataclasses.Field[Any], ...]:
    """The declared options, in the order of the help."""
    return dataclasses.fields(Recipe)
