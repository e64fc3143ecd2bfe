"""Classification: which of some labels a text has.

Cross-entropy over a head's scores, as transformers' classifiers are trained (Devlin et al. 2018,
arXiv:1810.04805, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.errors import listed, quoted
from nbpeft.mounts import Outputs
from nbpeft.objectives import Measure, Objective, Reference, Shown, objectives
from nbpeft.rendering import confusion_png, count, percent

if TYPE_CHECKING:
    from nbpeft.data import Rows


class Classify(Objective):
    """Texts with a label each."""

    def config_class(self) -> type[Any]:
        """The TrainingArguments of transformers, with the length of texts."""
        from nbpeft.objectives._classify_config import ClassifyConfig

        return ClassifyConfig

    def trainer_class(self) -> type[Any]:
        """The Trainer of transformers with the labels' cross-entropy."""
        from nbpeft.objectives._classify import ClassifyTrainer
        from nbpeft.objectives._measuring import measuring

        return measuring(ClassifyTrainer)

    def batch(self, tokenizer: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Padded texts; `quicken` may pack them."""
        from nbpeft.objectives._classify import ClassifyTrainer
        from nbpeft.objectives._pooled import padded_texts

        return padded_texts(ClassifyTrainer, tokenizer)

    def outputs(self, rows: Rows) -> Outputs:
        """A score a label."""
        return Outputs(len(rows.label_names), rows.label_names)

    def quicken(self, trainer: Any, settings: Mapping[str, Any]) -> str:
        """Texts as one packed sequence, where that changes nothing."""
        from nbpeft.objectives._pooled import quicken

        return quicken(trainer, settings)

    def begin(self, trainer: Any, reference: Reference) -> None:
        """Features of a frozen body are computed once."""
        trainer.freeze()

    def findings(self, trainer: Any) -> Mapping[str, Any]:
        """`confusion`: of the held-out rows, row by true label, column by predicted one; `C`: of a
        fit by scikit-learn.
        """
        confusion, strength = trainer.confusion, trainer.strength
        return ({} if confusion is None else {"confusion": confusion.tolist()}) | (
            {} if strength is None else {"C": strength}
        )

    def shown(self, findings: Mapping[str, Any], title: str) -> Shown:
        """How often the commonest label alone would be right, and which is taken for which."""
        fitted = [("C, by cross-validation", f"{findings['C']:g}")] if "C" in findings else []
        if "confusion" not in findings:
            return Shown(tuple(fitted))
        counts, names = findings["confusion"], findings["labels"]
        rows = [sum(row) for row in counts]
        most = max(range(len(rows)), key=rows.__getitem__)
        share = percent(100 * rows[most] / max(1, sum(rows)))
        told = [(f"always {quoted(names[most])}", f"would be right for {share} of them")]
        if len(names) <= FEW:
            taken = [_taken(row, names) for row in counts]
            told += [
                (f"held-out {quoted(name)}", row) for name, row in zip(names, taken, strict=True)
            ]
        return Shown((*told, *fitted), confusion_png(counts, names, title))


def _taken(row: Sequence[int], names: Sequence[str]) -> str:
    """What the rows of one label are taken for, the most frequent first."""
    ranked = sorted(zip(row, names, strict=True), key=lambda item: -item[0])
    return listed(f"{count(n)} as {quoted(name)}" for n, name in ranked if n) or "none"


FEW = 6
"""Labels up to which the table says what each is taken for."""


objectives.add(
    Classify(
        name="classify",
        summary="which of some labels a text has",
        paper="Devlin et al. 2018, arXiv:1810.04805",
        signal="labels",
        gives=frozenset({"pooled features"}),
        reads=frozenset({"decoder", "encoder"}),
        defaults={"remove_unused_columns": False},
        measures=(Measure("accuracy", "accuracy", share=True), Measure("f1", "macro F1")),
    )
)
