"""Prompts that a model writes itself: what it takes users to ask (Magpie: Xu et al. 2024,
arXiv:2406.08464).

A chat model is given what opens a user's turn and nothing else; what it goes on with is a prompt.
Without a chat template a text of its own is begun, of which the first line is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nbpeft.chains.kept import Kept
from nbpeft.data import Rendering
from nbpeft.errors import RunError, Stopped
from nbpeft.events import Events, Noted
from nbpeft.generating import end_ids, new_tokens
from nbpeft.guard import process_state_kept
from nbpeft.objectives._rollouts import writing
from nbpeft.quiet import quiet
from nbpeft.rendering import count
from nbpeft.stop import Stop

AT_ONCE = 16
TRIES = 20
"""Times as many texts as prompts are wanted, after which it is given up."""
MARK = "{the user's words}"
STAGE = "prompts"


@dataclass(frozen=True)
class Asking:
    """How a model is made to ask."""

    tokenizer: Any
    rendering: Rendering
    longest: int
    """Tokens of a prompt."""

    def opening(self) -> list[int]:
        """What stands before a user's words."""
        text = self._parts()[0]
        ids = self.tokenizer(text, add_special_tokens=not text, verbose=False)["input_ids"]
        if ids:
            return list(ids)
        starts = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, 0)
        return [next(i for i in starts if i is not None)]

    def written(self, model: Any) -> list[str]:
        """A few prompts; '' where what was written is none."""
        with writing(model):
            found = new_tokens(
                model,
                self.tokenizer,
                [self.opening()] * AT_ONCE,
                max_new_tokens=self.longest,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=0.95,
            )
        ends = set(end_ids(model, self.tokenizer))
        return [self._text(ids, ended=bool(ids) and ids[-1] in ends) for ids in found]

    def _text(self, ids: Sequence[int], *, ended: bool) -> str:
        """What a user said; nothing where it doesn't come to an end."""
        closing = self._parts()[1].strip()
        raw = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        if closing and closing in raw:
            raw, ended = raw.partition(closing)[0], True
        for token in self.tokenizer.all_special_tokens:
            raw = raw.partition(token)[0]
        if self.rendering.kind not in ("chat", "plain"):
            raw, ended = raw.strip().partition("\n")[0], True
        return " ".join(raw.split()) if ended else ""

    def _parts(self) -> tuple[str, str]:
        """What a template writes before and after a user's words."""
        if self.rendering.kind not in ("chat", "plain"):
            return "", ""
        chat = [{"role": "user", "content": MARK}]
        before, _, after = self.rendering.chats(self.tokenizer, [chat])[0].partition(MARK)
        return before, after


def prompts(  # noqa: PLR0917  what writing them takes
    name: str, kept: Kept, wanted: int, asking: Asking, answering: Any, seed: int,
    events: Events, stop: Stop,
) -> list[dict[str, Any]]:  # fmt: skip
    """As many different prompts as are wanted, each kept as soon as it is there.

    Args:
        answering: `with answering() as model:`, who writes.

    Raises:
        Stopped: the user stopped it; what is written so far is kept.
        RunError: the model writes too few that differ.
    """
    import torch

    rows = kept.rows(STAGE)
    known = {row["prompt"] for row in rows}
    tries = max([0, *(row["tries"] for row in rows)])
    told = len(rows)
    while len(rows) < wanted:
        if stop.asked:
            raise Stopped(
                f"{name} was stopped: {len(rows)} of {wanted} prompts are kept; go on with "
                f"%distill {name} --resume."
            )
        if tries >= TRIES * wanted:
            raise RunError(
                f"The model wrote {count(len(rows))} different prompts in {count(tries)} tries, "
                f"and {count(wanted)} are wanted: type --count {max(1, len(rows))}, or give "
                "prompts of your own with --prompts X."
            )
        with quiet(), process_state_kept(), stop.interruptible(), answering() as model:
            torch.manual_seed(seed + tries)
            texts = asking.written(model)
        tries += AT_ONCE
        new = [text for text in dict.fromkeys(texts) if text and text not in known]
        made = [{"prompt": text, "tries": tries} for text in new[: wanted - len(rows)]]
        known.update(new)
        rows += made
        kept.add(STAGE, made)
        if len(rows) - told >= wanted / 4:
            told = len(rows)
            events.emit(Noted(f"the model writes prompts: {len(rows)} of {wanted}"))
    return rows
