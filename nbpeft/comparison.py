"""The same prompts put to several adapters: a row a prompt, a column an adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.data import Rendering, default_rendering
from nbpeft.errors import RequestError
from nbpeft.guard import random_state, restore_random_state
from nbpeft.quiet import quiet
from nbpeft.rendering import Table
from nbpeft.session.models import Handle
from nbpeft.session.session import BASE_WORDS, Session

if TYPE_CHECKING:
    import pandas as pd

Prompt = str | list[dict[str, Any]]

BATCH = 8
"""Prompts in one generate."""


@dataclass(frozen=True)
class Comparison:
    """Answers side by side; shown as a table, and as a DataFrame by `to_pandas`."""

    columns: tuple[str, ...]
    """The adapters, as they were named; 'base' is the model without any."""
    prompts: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    """A row a prompt, a column an adapter."""

    def to_pandas(self) -> pd.DataFrame:
        """A frame with a column `prompt` and one an adapter."""
        import pandas as pd

        rows = [dict(zip(self.columns, answers, strict=True)) for answers in self.answers]
        return pd.DataFrame(
            [{"prompt": p, **row} for p, row in zip(self.prompts, rows, strict=True)],
            columns=["prompt", *self.columns],
        )

    def table(self) -> Table:
        """The table that is shown; every text in it is escaped there."""
        return Table(
            title="comparison: " + ", ".join(self.columns),
            header=("prompt", *self.columns),
            rows=tuple(
                (prompt, *answers)
                for prompt, answers in zip(self.prompts, self.answers, strict=True)
            ),
        )

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()


def compare(
    session: Session,
    handle: Handle,
    tokenizer: Any,
    names: Sequence[str],
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 64,
) -> Comparison:
    """Answer every prompt as every adapter, greedily, in eval mode, one random state for all.

    Each adapter is asked as it was trained (its template); the base as the first of them. What
    was attached, modes and random states are as before, whatever happens.

    Parameters: `names`, adapters (NAME, NAME@VERSION, 'base'); `prompts`, texts or chats (lists of
    {role, content}); `max_new_tokens`, of each answer.
    Raises AdapterError for a name that isn't there, RequestError for no name or no prompt.
    """
    if not names or not prompts:
        raise RequestError(
            "A comparison wants names and prompts: %%peft_compare base NAME, then a prompt a line."
        )
    renderings = _renderings(session, handle, tokenizer, names)
    random = random_state()
    columns = []
    try:
        for name in names:
            restore_random_state(random)
            with session.answering_as(handle.root, name) as model, quiet():
                columns.append(
                    _answers(model, tokenizer, renderings[name], prompts, max_new_tokens)
                )
    finally:
        restore_random_state(random)
    shown = tuple(p if isinstance(p, str) else _chat_text(p) for p in prompts)
    return Comparison(tuple(names), shown, tuple(zip(*columns, strict=True)))


def _renderings(
    session: Session, handle: Handle, tokenizer: Any, names: Sequence[str]
) -> dict[str, Rendering]:
    """How each column is asked; an unknown name is refused here, before anything is generated."""
    found: dict[str, Rendering] = {}
    for name in names:
        if name in BASE_WORDS:
            continue
        kept: Mapping[str, Any] = session.record(handle, name).data
        if "rendering" in kept:
            found[name] = Rendering.from_dict(kept["rendering"])
    first = next(iter(found.values()), default_rendering(tokenizer))
    return {name: found.get(name, first) for name in names}


def _answers(
    model: Any, tokenizer: Any, rendering: Rendering, prompts: Sequence[Prompt], new_tokens: int
) -> list[str]:
    ids = [rendering.prompt_ids(tokenizer, prompt) for prompt in prompts]
    # By length, so that a batch holds little padding.
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    answers: dict[int, str] = {}
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        texts = _generate(model, tokenizer, [ids[i] for i in chosen], new_tokens)
        answers.update(zip(chosen, texts, strict=True))
    return [answers[i] for i in range(len(ids))]


def _generate(model: Any, tokenizer: Any, batch: list[list[int]], new_tokens: int) -> list[str]:
    """Greedy answers; padded on the left, as generation goes on from the right."""
    import torch

    ends = _end_ids(model, tokenizer)
    filler = next((i for i in (tokenizer.pad_token_id, *ends) if i is not None), 0)
    longest = max(map(len, batch))
    ids = torch.tensor([[filler] * (longest - len(row)) + row for row in batch])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in batch])
    device = next(model.parameters()).device
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=new_tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=filler,
            eos_token_id=ends or None,
        )
    texts: list[str] = tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
    return [text.strip() for text in texts]


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: the model's own and the tokenizer's."""
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    return list(dict.fromkeys(i for i in (*own, tokenizer.eos_token_id) if i is not None))


def _chat_text(messages: list[dict[str, Any]]) -> str:
    return "\n".join(f"{m['role']}: {m['content']}" for m in messages)
