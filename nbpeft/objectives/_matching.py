"""What a student that was cut from its teacher matches beside logits: hidden states, attention.

After TinyBERT (Jiao et al. 2020, arXiv:1909.10351): the mean squared difference of the hidden
states after each layer, and of the attention weights within it. A student's layer answers to the
teacher's at the same part of the depth, its last to the last. Both models read whole padded rows,
as hidden states and weights are wanted at every token.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError
from nbpeft.rendering import count

if TYPE_CHECKING:
    import torch

States = dict[str, list["torch.Tensor"]]
"""'hidden': (rows, tokens, d) after each layer; 'attention': (rows, heads, tokens, tokens)."""
SIZES = {"hidden": ("hidden_size", "values"), "attention": ("num_attention_heads", "heads")}


def layer_map(student: int, teacher: int) -> tuple[int, ...]:
    """Which of the teacher's layers, from 0, each of the student's answers to."""
    return tuple(round((i + 1) * teacher / student) - 1 for i in range(student))


def refuse_unlike(match: Sequence[str], student: Any, teacher: Any) -> None:
    """Refuse to match what has another size; RequestError.

    Args:
        student, teacher: models of transformers.
    """
    for what in match:
        name, unit = SIZES[what]
        sizes = [getattr(m.config.get_text_config(decoder=True), name) for m in (student, teacher)]
        if sizes[0] != sizes[1]:
            raise RequestError(
                f"match {what} is for students that were cut from their teacher: this one has "
                f"{count(sizes[0])} {unit} a layer, and the teacher {count(sizes[1])}. Leave match "
                "out, or make the student with nbpeft.make_student(model, layers=2)."
            )


@dataclass(frozen=True)
class Matching:
    """Forwards that give what is matched."""

    model: Any
    """The student, as it is trained."""
    answering: Callable[[], AbstractContextManager[Any]]
    """Makes the teacher answer."""
    match: Sequence[str]
    weight: float
    autocast: Callable[[], AbstractContextManager[Any]]

    def of_teacher(self, inputs: dict[str, Any]) -> States:
        """The teacher's states over a padded batch."""
        import torch

        with self.answering() as model, torch.no_grad(), self.autocast():
            return self._states(self._seen(model, inputs))

    def values(self, inputs: dict[str, Any], divergence: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """((learned tokens, 3) as `_divergences.divergence` has them, () what else is matched)."""
        seen = self._seen(self.model, inputs)
        logits = seen.logits.flatten(0, 1).index_select(0, inputs["scored"]).float()
        values = divergence(logits, inputs["labels"], *inputs["targets"])
        own, teachers = self._states(seen), inputs["states"]
        apart = [
            apart_of(mine, teachers[what], inputs["attention_mask"]) for what, mine in own.items()
        ]
        return values, self.weight * sum(apart[1:], apart[0])

    def _seen(self, model: Any, inputs: dict[str, Any]) -> Any:
        wanted = {
            "output_hidden_states": "hidden" in self.match,
            "output_attentions": "attention" in self.match,
        }
        around = attending(model) if "attention" in self.match else contextlib.nullcontext()
        with around:
            return model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                use_cache=False,
                **wanted,
            )

    def _states(self, seen: Any) -> States:
        found: States = {}
        if "hidden" in self.match:
            found["hidden"] = list(seen.hidden_states[1:])  # the embeddings come first
        if "attention" in self.match:
            found["attention"] = list(seen.attentions)
        return found


def apart_of(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], mask: torch.Tensor
) -> torch.Tensor:
    """() the mean squared difference of states at tokens that are no padding, over the layers.

    Args:
        student, teacher: (rows, tokens, d) or (rows, heads, tokens, tokens) a layer.
        mask: (rows, tokens), 1 where a token stands.
    """
    total = mask.sum().float()
    wanted = [teacher[number] for number in layer_map(len(student), len(teacher))]
    parts = []
    for mine, theirs in zip(student, wanted, strict=True):
        off = (mine.float() - theirs.float().to(mine.device)) ** 2
        # Of attention, a token's weights over all that it sees.
        off = off.sum(-1).mean(1) if off.ndim == 4 else off.mean(-1)
        parts.append((off * mask).sum() / total)
    return sum(parts[1:], parts[0]) / len(parts)


def attending(model: Any) -> AbstractContextManager[None]:
    """Inside, attention gives its weights, which fast kernels never hold."""
    from nbpeft.seam.attention import configs_with_attention, implemented_by

    return implemented_by("eager", configs_with_attention(model))
