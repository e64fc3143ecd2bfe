"""The columns of a comparison: who answers, and how it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.architectures import architecture_of, window_of
from nbpeft.comparison.answers import Sampling
from nbpeft.comparison.request import Prompt
from nbpeft.data import Rendering, default_rendering
from nbpeft.data.prompting import PLAIN, Way
from nbpeft.errors import RequestError
from nbpeft.session.models import Handle
from nbpeft.session.record import Record
from nbpeft.session.session import BASE_WORDS, Session


@dataclass(frozen=True, eq=False)
class Column:
    """One that answers: an adapter, or the base (no record)."""

    name: str
    """As it is shown."""
    adapter: str
    """As the session knows it."""
    record: Record | None
    state: str
    """The precision of the base that it stands on."""
    rendering: Rendering
    """How prompts are written for it,"""
    way: Way = PLAIN
    """and what is put around them."""

    def prompt_ids(self, tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
        """The prompts as they are put to it."""
        put = (self.way.put(prompt, self.rendering) for prompt in prompts)
        return [self.rendering.prompt_ids(tokenizer, prompt) for prompt in put]


def columns_of(
    session: Session,
    handle: Handle,
    tokenizer: Any,
    names: Sequence[str],
    ways: Sequence[Way],
) -> list[Column]:
    """The columns of a comparison: adapters by name, and the base in each way of asking.

    An unknown name is refused here (AdapterError), before anything is loaded or generated.
    """
    records = {name: None if name in BASE_WORDS else session.record(handle, name) for name in names}
    renderings = {
        name: Rendering.from_dict(record.data["rendering"])
        for name, record in records.items()
        if record is not None and "rendering" in record.data
    }
    plain = default_rendering(tokenizer, apart=architecture_of(handle.root) == "encoder-decoder")
    first = next(iter(renderings.values()), plain)
    columns = [
        Column(
            name,
            name,
            record,
            handle.precision.home if record is None else record.state,
            renderings.get(name, first),
        )
        for name, record in records.items()
    ]
    # The base's other columns stand beside the base as it is, or else first.
    place = next((i + 1 for i, c in enumerate(columns) if c.adapter in BASE_WORDS), 0)
    more = [
        Column(
            f"base+{way.label}",
            "base",
            None,
            handle.precision.home,
            first,
            way.fitting(first, tokenizer),
        )
        for way in ways
    ]
    return [*columns[:place], *more, *columns[place:]]


def check_window(handle: Handle, column: Column, ids: list[list[int]], how: Sampling) -> None:
    """Refuse what is put around prompts where that makes them longer than the model reads."""
    window = window_of(handle.root)
    writes_apart = architecture_of(handle.root) == "encoder-decoder"
    room = (window or 0) - (0 if writes_apart else how.max_new_tokens)
    longest = max(map(len, ids))
    if window is None or column.way is PLAIN or longest <= room:
        return
    new = "" if writes_apart else f" and {how.max_new_tokens} new ones"
    raise RequestError(
        f"{column.name}: a prompt of {longest:,} tokens{new} is more than the model's window of "
        f"{window:,} holds; {column.way.shorter()}."
    )
