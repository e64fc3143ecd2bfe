"""How things stand, in the few words that a status bar and a sidebar have room for."""

from __future__ import annotations

from typing import Any

from nbpeft import session
from nbpeft.listing.adapters import Adapters
from nbpeft.precision import AS_LOADED
from nbpeft.rendering import bytes_size, nats, plain
from nbpeft.room import memory_in_use
from nbpeft.session.record import Record

MOST = 100
"""Adapters that are listed, the newest ones."""


def now() -> dict[str, Any]:
    """What the models answer as, the memory in use (of the GPU, or of this process), the adapters.

    Plain values for JSON, every text made safe; only the newest version of each name. `own` are
    nbpeft's, which can be renamed and deleted; those of a user's PeftModel can't.
    """
    known = session.current()
    attached = known.attached()
    adapters = Adapters(known.glance(), attached)
    newest = [record for name, record in adapters.items() if name == record.name]
    newest.sort(key=lambda record: record.created, reverse=True)
    return {
        "attached": _safe(", ".join(attached)) or "base",
        "memory": bytes_size(memory_in_use()),
        "adapters": [
            {
                "name": record.name,
                "about": _safe(_about(record)),
                "attached": record.label in adapters.attached,
                "versions": sum(record.name == other.name for other in adapters.values()),
                "own": record.version > 0,
            }
            for record in newest[:MOST]
        ],
    }


def _about(record: Record) -> str:
    """'sft · lora · held-out loss 0.024', as far as it is known."""
    state = f" ({record.state})" if record.state != AS_LOADED else ""
    loss = record.metrics.get("held_out_loss")
    parts = [record.objective, record.method + state]
    parts += [] if loss is None else [f"held-out loss {nats(loss)}"]
    return " · ".join([*parts, *(["partial"] if record.partial else [])])


def _safe(text: str) -> str:
    return plain(text, 100, one_line=True)
