"""A context into weights: what it made the model do is learned, and needn't be said any more."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import window_of
from nbpeft.data.context import context_of
from nbpeft.data.prompting import PLAIN, Way
from nbpeft.errors import RequestError
from nbpeft.objectives import Objective, Shown, objectives
from nbpeft.objectives._distilled import MEASURES, Distillation
from nbpeft.rendering import calls_png, count, even_after

if TYPE_CHECKING:
    from nbpeft.data import Rows
    from nbpeft.feedback import Surroundings


@dataclass(frozen=True, kw_only=True)
class ContextDistillation(Distillation):
    """Teacher: the model as it was at the run's start, with the context. Student: without it."""

    context: Way = PLAIN
    """Once it is bound to a kernel."""
    window: int | None = None
    """Tokens that the model reads at most."""

    @property
    def way(self) -> Way:
        """The context."""
        return self.context

    @property
    def asks(self) -> bool:
        """Always: a context shows in answers."""
        return True

    def bound(self, around: Surroundings) -> Objective:
        """With the context; RequestError where there is none."""
        request = around.request
        if request.context is None:
            raise RequestError(
                "context-distillation needs a context: write it below %%distill NAME --prompts X, "
                "or give context: in the body."
            )
        if around.settings.get("match"):
            raise RequestError(
                "match is of a teacher's layers, for knowledge-distillation: with a context they "
                "read other texts; leave it out."
            )
        root: Any = around.handle.root
        return self.knowing(
            around,
            context=context_of(request.context),
            window=window_of(root),
            vocabulary=root.get_output_embeddings().weight.shape[0],
        )

    def accepted(self, rows: Rows, tokenizer: Any) -> Rows:
        """Prompts; RequestError where the context leaves no room for the longest of them."""
        if self.turns > 1 and rows.rendering.kind not in ("chat", "plain"):
            raise RequestError(
                f"turns {self.turns} needs chats, and the tokenizer has no chat template: leave "
                "turns out."
            )
        way = self.context.fitting(rows.rendering, tokenizer)
        splits = [rows.train, *([] if rows.held_out is None else [rows.held_out])]
        every = [row for split in splits for row in split.select_columns(["input_ids", "prompt"])]
        longest = max(every, key=lambda row: len(row["input_ids"]))
        put = rows.rendering.prompt_ids(tokenizer, way.put(longest["prompt"], rows.rendering))
        own = len(longest["input_ids"])
        if self.window is not None and len(put) + self.longest > self.window:
            raise RequestError(
                f"The context has {count(len(put) - own)} tokens: with the longest prompt "
                f"({count(own)}) and an answer of up to {count(self.longest)} it is over the "
                f"model's window of {count(self.window)}; shorten it, or type a smaller "
                "max_completion_length."
            )
        told = (
            f"the teacher is asked with the context before each prompt, {count(len(put) - own)} "
            "tokens; the student without it"
        )
        return dataclasses.replace(rows, notes=(*rows.notes, told, *way.notes))

    def shown(self, findings: Mapping[str, Any], title: str) -> Shown:
        """The tokens that a call is spared, and what that comes to over many calls."""
        shown = super().shown(findings, title)
        if "taught_tokens" not in findings:
            return shown
        before, after = findings["taught_tokens"], findings["prompt_tokens"]
        spent = findings.get("read", 0) + STEP * findings.get("trained_tokens", 0)
        saved = f"{_whole(before - after)} tokens a call ({_whole(before)} → {_whole(after)})"
        even = even_after(before, after, spent)
        if even is not None:
            saved += f"; training is paid back after {count(even)} calls"
        picture = calls_png(before, after, spent, title)
        return Shown((("context saved", saved), *shown.rows), picture)


STEP = 3
"""What a token of a training step costs, a token that is read being one: two more in backward."""


def _whole(tokens: float) -> str:
    return count(round(tokens))


objectives.add(
    ContextDistillation(
        name="context-distillation",
        summary="the model answers as it did with a context, without being given it",
        paper="Askell et al. 2021, arXiv:2112.00861",
        gives=frozenset({"causal logits"}),
        learning_rate_factor=2.0,
        signal="prompts",
        unit="nats per token",
        defaults={"remove_unused_columns": False},
        aliases={"loss": "loss_type"},
        takes=frozenset({"context", "turns", "outside", "count"}),
        measures=MEASURES[:1],
    )
)
