"""What may be chosen in a field, of the kernel's variables and the shelf."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from nbpeft import session
from nbpeft.listing.glance import Offer, adapters, models, rows, tokenizers


def suggestions(variables: Mapping[str, Any]) -> dict[str, list[str]]:
    """Word -> texts that may stand there."""
    known = list(adapters(session.current().glance()))
    data = _texts(rows("", variables))
    held = _texts(models(variables))
    return {
        "model": held,
        "tokenizer": _texts(tokenizers(variables)),
        "data": data,
        "eval": data,
        "outside": data,
        "from": _texts(known),
        "teacher": [*held, *_texts(known)],
        "target_modules": ["all-linear"],
        "budget": ["5min", "1h"],
    }


def _texts(offers: Iterable[Offer]) -> list[str]:
    """Unquoted: a field's text stands as it is."""
    return [shlex.split(offer.text)[0] for offer in offers if offer.kind != "folder"]
