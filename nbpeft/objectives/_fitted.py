"""A head of one layer over features that stay as they are: fitted at once, by scikit-learn.

Its loss is convex, so that it has one best value, and no learning rate is asked for. To those who
look on it is a run like any other, whose steps are the iterations of scikit-learn's solver
(L-BFGS; scikit-learn.org/stable/modules/linear_model.html#logistic-regression).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.objectives._measuring import Measuring

if TYPE_CHECKING:
    import numpy as np
    import torch

ITERATIONS = 1000
"""The most there are where nothing is said; a few dozen are taken."""


class Fitted(Measuring):
    """Before a Trainer: `train` fits the head, where `at_once` is set."""

    at_once = False

    # The trainer's own.
    train_dataset: Any
    state: Any
    control: Any
    callback_handler: Any
    data_collator: Any
    eval_dataset: Any
    watch: Any
    _prepare_inputs: Any
    compute_loss: Any
    evaluate: Any

    def fit(self, rows: Sequence[dict[str, Any]], iterations: int) -> int:
        """Fit the head to rows with features; the iterations that it took."""
        raise NotImplementedError

    def train(self, resume_from_checkpoint: Any = None, **words: Any) -> Any:
        """Fit, with the events of a run around it; or train in steps."""
        if not self.at_once:
            base: Any = super()
            return base.train(resume_from_checkpoint=resume_from_checkpoint, **words)
        most = self.args.max_steps if self.args.max_steps > 0 else ITERATIONS
        state, told = self.state, self.callback_handler
        state.max_steps = most
        self.control = told.on_train_begin(self.args, state, self.control)
        self._evaluate()
        state.global_step = state.max_steps = self.fit(self.train_dataset, most)
        self.log({"loss": self._loss(), "learning_rate": 0.0})
        self._evaluate()
        self.control = told.on_train_end(self.args, state, self.control)
        return None

    def _evaluate(self) -> None:
        if self.eval_dataset is not None:
            self.evaluate()

    def _loss(self) -> float:
        """Over all rows, which are measured meanwhile."""
        import torch

        batch = self._prepare_inputs(self.data_collator(self.train_dataset))
        self.model.train()
        with torch.no_grad():
            return float(self.compute_loss(self.model, batch))


@dataclass(frozen=True)
class Line:
    """What a logistic regression came to."""

    weight: np.ndarray[Any, Any]
    """(classes, width), or (1, width) for two."""
    bias: np.ndarray[Any, Any]
    """(classes) or (1)."""
    classes: np.ndarray[Any, Any]
    iterations: int


def logistic(
    features: torch.Tensor, classes: Sequence[int], iterations: int, *, centred: bool = True
) -> Line:
    """Fit classes to features (rows, width), each of which is brought to one scale meanwhile.

    Args:
        centred: whether there is a bias, and features are centred.
    """
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rows = features.double().numpy()
    mean = rows.mean(0) if centred else np.zeros(rows.shape[1])
    scale = np.sqrt(((rows - mean) ** 2).mean(0))
    scale[scale == 0] = 1.0
    model = LogisticRegression(max_iter=iterations, fit_intercept=centred)
    with warnings.catch_warnings():
        # As many iterations as the user gave are no mistake.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((rows - mean) / scale, classes)
    weight = model.coef_ / scale
    return Line(weight, model.intercept_ - weight @ mean, model.classes_, int(model.n_iter_.max()))
