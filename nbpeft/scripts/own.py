"""What is nbpeft's own, so that no script of the libraries does the same."""

from __future__ import annotations


class OwnError(Exception):
    """There is no script; the message says, in a line, what of the run is nbpeft's own."""


METHODS = {
    "bottleneck": "bottleneck adapters are nbpeft's own layers: no library has them",
    "dylora": "dylora's nested ranks are nbpeft's own: no library has them",
    "diff": "diff pruning is nbpeft's own: no library has it",
    "head": "a head over features that are computed once is nbpeft's own, fitted by scikit-learn",
    "head-dense": "a head over features that are computed once is nbpeft's own",
}
"""By the name of a method: why it has no writer."""

OBJECTIVES = {
    "rl": "rl's rollouts and rewards over one copy of the weights are nbpeft's own; TRL's "
    "GRPOTrainer and RLOOTrainer sample other answers",
    "context-distillation": "context distillation with a context that is read once is nbpeft's own",
    "knowledge-distillation": "knowledge distillation from kept targets is nbpeft's own",
    "rlaif": "rlaif is a chain of several runs, which is nbpeft's own",
    "constitution": "constitution is a chain of several runs, which is nbpeft's own",
}
"""By the name of an objective: likewise."""
