"""The trainer of distillation: at each learned token, the student's next-token distribution goes
towards the teacher's.

What the teacher says is asked once and kept for all epochs (`_store`), unless the student writes
the answers itself: then it is asked in each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nbpeft.objectives._lessons import Conversations, Lesson, Place, given, joined, trained
from nbpeft.objectives._policy import NUMBER, Policy
from nbpeft.objectives._store import KeptTargets, Shape

if TYPE_CHECKING:
    import torch

    from nbpeft.objectives._matching import Matching
    from nbpeft.objectives._teaching import Teaching, Writing
    from nbpeft.seam.probe import Choice


class Taught:
    """The lessons of one split, by row, and what the teacher says of their tokens."""

    def __init__(self, lessons: Mapping[int, Sequence[Lesson]] | None, rows: Any) -> None:
        self._lessons = lessons
        counts = [sum(lesson.tokens for lesson in self.of(row)) for row in self._light(rows)]
        # Where each row's learned tokens begin, and how many there are.
        *self._first, self.tokens = accumulate(counts, initial=0)
        self.targets: KeptTargets | None = None

    def of(self, row: Mapping[str, Any]) -> Sequence[Lesson]:
        """A row's lessons."""
        return given(row) if self._lessons is None else self._lessons[row[NUMBER]]

    def read(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
        """The targets of the learned tokens of rows, in the order of the rows."""
        assert self.targets is not None
        firsts = [self._first[row[NUMBER]] for row in rows]
        counts = [sum(lesson.tokens for lesson in self.of(row)) for row in rows]
        spans = [slice(first, first + n) for first, n in zip(firsts, counts, strict=True)]
        return self.targets.read(spans)

    def _light(self, rows: Any) -> Any:
        """The rows, or where their lessons are known their numbers alone."""
        return rows if self._lessons is None else ({NUMBER: n} for n in range(len(rows)))


class Distilling(Policy):
    """Before a Trainer whose batches are rows as they are: see the module's text."""

    divergence: Any
    """Of `nbpeft.objectives._divergences`: (…) -> (tokens, 3) loss, KL, loss on the labels;"""
    forward: Any
    """the same by forward KL, for held-out rows; None where that is what is learned by."""
    conversations: Conversations | None = None
    """Where answers are written in the run."""
    writing: Writing | None = None
    """How the student writes, where it does."""
    teaching: Teaching | None = None
    """None where a step is only traced, or the teacher's text is all that is learned."""
    taught: Mapping[str, Taught]
    """By 'train' and 'eval'; empty where the student writes, or a step is only traced."""
    pools: Mapping[str, Sequence[str]]
    """Likewise: what users go on with."""
    shape: Shape | None = None
    """What is kept of a distribution; None where the teacher's text is all that is learned."""
    longest_answer: int = 0
    matching: Matching | None = None
    asks = False
    """Whether rows are prompts."""
    layout: Any
    told: Mapping[str, Any] = MappingProxyType({})
    """What the teacher's part came to."""
    outside: Sequence[dict[str, Any]] = ()
    """Rows of what isn't learned, and their loss before the first step."""
    outside_before = 0.0

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.taught, self.pools = {}, {}

    def take(self, choice: Choice) -> None:
        """Go the way that was chosen from here on."""
        from nbpeft.seam.packing import Packed, Padded
        from nbpeft.seam.scores import Whole

        self.choice = choice
        self.scorer = choice.scorer or Whole(self.model)
        self.layout = Packed() if choice.way == "packed" else Padded(choice.filler)

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any) -> torch.Tensor:
        """Bring the rows' lessons together, and learn from them."""
        batch = self.lessons(inputs["asked"].rows, "train")
        return super().training_step(model, batch, *args)

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *args: Any, **words: Any
    ) -> tuple[torch.Tensor, None, None]:
        """A held-out batch."""
        batch = self.lessons(inputs["asked"].rows, "eval")
        return super().prediction_step(model, batch, *args, **words)

    def lessons(self, rows: Sequence[Mapping[str, Any]], split: str) -> dict[str, Any]:
        """A batch of the seam, with the teacher's `targets` of its learned tokens."""
        taught = self.taught.get(split)
        if taught is not None:
            lessons = [lesson for row in rows for lesson in taught.of(row)]
            targets = () if self.shape is None else taught.read(rows)
        elif self.teaching is not None:
            lessons = self._by_student(rows, split)
            targets = self._asked(lessons)
        else:
            lessons = self._longest(rows)
            targets = self._nothing(lessons)
        batch = self.layout([lesson.student() for lesson in lessons])
        inputs: dict[str, Any] = self._prepare_inputs(batch)  # type: ignore[attr-defined]
        inputs["targets"] = tuple(target.to(self.args.device) for target in targets)
        if self.matching is not None:
            inputs["states"] = self.matching.of_teacher(inputs)
        return inputs

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean over the batch's learned tokens."""
        divergence = self.divergence
        if not self.model.training and self.forward is not None:
            divergence = self.forward
        labels = inputs["labels"]
        with self.accelerator.autocast():
            if self.matching is None:
                values = self.scorer.values(inputs, divergence, labels, *inputs["targets"])
                beside: Any = 0.0
            else:
                values, beside = self.matching.values(inputs, divergence)
        self.measure("nll", values[:, -1])
        if self.shape is not None and (self.forward is None or not self.model.training):
            self.measure("kl", values[:, 1])  # else it is another divergence
        self.count(sum(inputs["lengths"]))
        loss = values[:, 0].sum() / max(1, len(values)) + beside
        return (loss, {}) if return_outputs else loss

    def _by_student(self, rows: Sequence[Mapping[str, Any]], split: str) -> list[Lesson]:
        """Answers as the student gives them now."""
        assert self.conversations is not None
        assert self.writing is not None
        writing = self.writing

        def write(places: Sequence[Place], prompts: Sequence[list[int]]) -> Sequence[list[int]]:
            return writing.written(self.model, places, prompts)

        held = self.conversations.held(rows, self.pools[split], write, by_teacher=False)
        return [x for row in rows for turns in held[row[NUMBER]] for x in joined(turns)]

    def _asked(self, lessons: Sequence[Lesson]) -> tuple[torch.Tensor, ...]:
        """What the teacher says of them, asked now."""
        assert self.teaching is not None
        assert self.shape is not None
        return self.shape.parted(self.teaching.summaries(lessons))

    def _longest(self, rows: Sequence[Mapping[str, Any]]) -> list[Lesson]:
        """As long as answers may be."""
        if not self.asks:
            return [lesson for row in rows for lesson in given(row)]
        ids = [0] * self.longest_answer
        each = self.args.num_generations
        prompts = [list(row["input_ids"]) for row in rows for _ in range(each)]
        return [Lesson(p + ids, [-100] * len(p) + ids, [], []) for p in prompts]

    def _nothing(self, lessons: Sequence[Lesson]) -> tuple[torch.Tensor, ...]:
        """Targets of the right shape."""
        import torch

        if self.shape is None:
            return ()
        n = sum(trained(lesson.labels) for lesson in lessons)
        logs = torch.zeros(n, self.shape.logs)
        if self.shape.top is None:
            return (logs,)
        return logs, torch.zeros(n, self.shape.top, dtype=torch.long)
