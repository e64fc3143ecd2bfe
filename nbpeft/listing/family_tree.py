"""What can be trained: every method, by its family, as a picture."""

from __future__ import annotations

from typing import Any, get_args

from nbpeft.methods import Family, methods
from nbpeft.rendering import WIDTH, tree_png, tree_text

ROOT = "what is trained"


class FamilyTree(dict[str, dict[str, str]]):
    """Family -> {method: what it trains}; shows itself as a picture, and as text."""

    def __repr__(self) -> str:
        return tree_text(ROOT, self)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data = {"text/plain": repr(self), "image/png": tree_png(ROOT, self)}
        return data, {"image/png": {"width": round(1.35 * WIDTH)}}


def family_tree() -> FamilyTree:
    """Every method that `--method` takes, by its family."""
    return FamilyTree(
        {
            family: {m.name: m.summary for m in methods if m.family == family}
            for family in get_args(Family)
            if any(m.family == family for m in methods)
        }
    )
