"""The user's variables as a run sees them that begins later than it was asked for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import ItemsView, Iterator, Mapping, MutableMapping
from typing import Any

from nbpeft.bindings import Bindings
from nbpeft.prepare import model_of
from nbpeft.request import Request
from nbpeft.session.models import Found, find_tokenizer


class Names(MutableMapping[str, Any]):
    """The variables as they are, but for some, which are what they were; safe to go through while
    cells set others.
    """

    def __init__(self, live: Mapping[str, Any], held: Mapping[str, Any]) -> None:
        self._live = live
        self._held = dict(held)

    def __getitem__(self, name: str) -> Any:
        return self._held[name] if name in self._held else self._live[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._held.pop(name, None)
        if isinstance(self._live, MutableMapping):
            self._live[name] = value

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"A run takes no variable away, not {name}.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def items(self) -> ItemsView[str, Any]:
        """All of them at this moment."""
        return self._now().items()

    def _now(self) -> dict[str, Any]:
        return {**self._live, **self._held}


def held(request: Request, bindings: Bindings) -> tuple[Found, Bindings]:
    """(the model, what the request names, as it is now).

    ModelError where no model or tokenizer is found.
    """
    variables, tokenizer = bindings.namespace, bindings.tokenizer
    model = model_of(request, bindings)
    if tokenizer is None:
        tokenizer = find_tokenizer(variables, request.tokenizer).value
    words = set(re.findall(r"\w+", " ".join(map(str, request.to_dict().values()))))
    named = {name: variables[name] for name in words & set(variables)}
    variables = Names(variables, named)
    return model, dataclasses.replace(
        bindings, namespace=variables, model=model.value, tokenizer=tokenizer
    )
