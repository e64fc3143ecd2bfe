"""From a request to a plan: everything is found, read and checked, and nothing is changed."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nbpeft.architectures import Architecture, architecture_of, window_of
from nbpeft.bindings import Bindings, given, rows_of
from nbpeft.config import settings as configured
from nbpeft.data import read_mix
from nbpeft.defaults import own
from nbpeft.errors import ModelError, RequestError
from nbpeft.guard import process_state_kept
from nbpeft.heading import trained
from nbpeft.lineage import check_same_rows, inherited, merged, parent_of, resumed_of
from nbpeft.methods import Method, methods
from nbpeft.objectives import Objective, objectives
from nbpeft.optimizers import check_optimizer, optimizer_notes
from nbpeft.places import Place, places
from nbpeft.places.budget import UNKNOWN
from nbpeft.plan import Plan
from nbpeft.quiet import quiet
from nbpeft.registry import check_pair
from nbpeft.request import Request
from nbpeft.session.models import Found, Handle, find_model, find_tokenizer, root_of
from nbpeft.session.names import check_name
from nbpeft.session.record import Record
from nbpeft.session.session import Session
from nbpeft.settings import Fields, Settings, resolve
from nbpeft.standing import counting, standing, wanted
from nbpeft.surrounding import refuse_signals, surroundings

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.data import Rows
    from nbpeft.mounts import Outputs


WRITTEN = "auto"
"""Data that the model writes itself, for objectives that take a count."""


@dataclass(frozen=True)
class Prepared:
    """A run that may begin."""

    request: Request
    method: Method
    objective: Objective
    place: Place
    handle: Handle
    tokenizer: Any
    settings: Settings
    rows: Rows
    plan: Plan
    parent: Record | None
    """The adapter that this run goes on from (`--from`)."""
    resumed: Record | None
    """The stopped run that this one finishes (`--resume`)."""
    outputs: Outputs | None = None
    """What the head gives that is trained; None where none is."""
    lean: bool = False
    """Whether memory is too short for what only makes it faster."""


def prepare(request: Request, session: Session, bindings: Bindings) -> Prepared:
    """Find, read and check all that a run needs. Raises an NbPeftError, and changes nothing."""
    check_name(request.name)
    if request.fields and not request.resume:  # a mistyped --model should not end at "which model?"
        Fields(methods.get(request.method), objectives.get(request.objective)).check(request.fields)
    model = model_of(request, bindings)
    handle = session.handle(model.value)
    resumed = resumed_of(request, session, handle) if request.resume else None
    if resumed is not None:
        request = merged(request, Request.from_dict(resumed.request))
    method, objective = methods.get(request.method), objectives.get(request.objective)
    place = places.get(request.place)
    check_pair(method, objective)
    architecture = architecture_of(handle.root)
    refuse_model(handle.root, objective, architecture)
    objective = objective.on(architecture)
    refuse_signals(request, objective)
    parent = parent_of(request, session, handle, method)
    tokenizer = _tokenizer(request, bindings)
    going_on = resumed or parent
    before = None if going_on is None else going_on.state
    state = wanted(handle, method, request.quantize, before)
    with quiet(), counting(handle, state):
        chosen = resolve(
            request,
            method,
            objective,
            configured=configured().defaults,
            own=own(handle.root, request),
            inherited=inherited(parent, resumed),
        )
        _check_trainer(objective, chosen, handle.root)
        stands = standing(handle, method, chosen.method, state, in_place=request.in_place)
        here = surroundings(request, bindings, session, handle, tokenizer, stands.state, chosen)
        objective = objective.bound(here)
        rows = rows_of(request, bindings, objective, tokenizer, chosen)
        what = trained(method, handle.root, chosen, objective.outputs(rows), parent)
    check_same_rows(resumed, rows)
    steps = what.iterations or steps_of(len(rows.train), chosen.trainer)
    chosen = replace(what.settings, method=method.scheduled(what.settings.method, steps))
    plan = Plan(
        name=request.name,
        version=session.next_version(request.name),
        method=method.name,
        objective=objective.name,
        model=model.name,
        settings=tuple(s for s in chosen.shown if s.value != UNKNOWN),
        train_rows=len(rows.train),
        held_out_rows=0 if rows.held_out is None else len(rows.held_out),
        tokens=rows.tokens,
        trained_tokens=rows.trained_tokens,
        steps=0 if steps == UNKNOWN else steps,
        budget=request.budget,
        trainable_parameters=what.survey.trainable_parameters,
        total_parameters=handle.total_parameters,
        extra_bytes=what.survey.extra_bytes,
        state=stands.state,
        weights=stands.weights,
        notes=(*rows.notes, *stands.notes, *what.notes, *_notes(handle, chosen, parent, resumed)),
    )
    return Prepared(
        request=request,
        method=method,
        objective=objective,
        place=place,
        handle=handle,
        tokenizer=tokenizer,
        settings=chosen,
        rows=rows,
        plan=plan,
        parent=parent,
        resumed=resumed,
        outputs=what.outputs,
    )


def look_over(request: Request, bindings: Bindings) -> None:
    """Check what needs no look into the model: that may be in use, and another one afterwards.

    Raises what `prepare` would of names, options, pairs and data.
    """
    check_name(request.name)
    root = root_of(model_of(request, bindings).value)
    _tokenizer(request, bindings)
    places.get(request.place)
    if request.resume:  # what it was begun as is known when it goes on
        return
    method, objective = methods.get(request.method), objectives.get(request.objective)
    Fields(method, objective).check(request.fields)
    check_pair(method, objective)
    architecture = architecture_of(root)
    refuse_kind(root, objective, architecture)
    refuse_signals(request, objective.on(architecture))
    if not ("count" in objective.takes and request.data == WRITTEN):
        read_mix(given(request, bindings), bindings.namespace)


def steps_of(rows: int, trainer: Mapping[str, Any]) -> int:
    """Optimizer steps in all, counted as transformers' Trainer counts them on one device."""
    if trainer.get("max_steps", -1) > 0:
        return int(trainer["max_steps"])
    batches = math.ceil(rows / trainer.get("per_device_train_batch_size", 8))
    batches *= trainer.get("num_iterations", 1)  # steps that learn from the same answers
    updates = max(1, math.ceil(batches / trainer.get("gradient_accumulation_steps", 1)))
    return math.ceil(trainer.get("num_train_epochs", 3) * updates)


def model_of(request: Request, bindings: Bindings) -> Found:
    """The model that is meant, and its variable."""
    if bindings.model is not None:
        name = next((n for n, v in bindings.namespace.items() if v is bindings.model), "model")
        return Found(name, bindings.model)
    return find_model(bindings.namespace, request.model)


def _tokenizer(request: Request, bindings: Bindings) -> Any:
    if bindings.tokenizer is not None:
        return bindings.tokenizer
    return find_tokenizer(bindings.namespace, request.tokenizer).value


def refuse_model(root: nn.Module, objective: Objective, architecture: Architecture) -> None:
    """Refuse a model that the objective doesn't train, or whose weights aren't there."""
    refuse_kind(root, objective, architecture)
    if any(p.is_meta for p in root.parameters()):
        raise ModelError(
            "Some of the model's weights are on the meta device (offloaded): they can't be "
            "trained; load it without offloading."
        )


def refuse_kind(root: nn.Module, objective: Objective, architecture: Architecture) -> None:
    """Refuse a model that the objective doesn't train."""
    if architecture not in objective.reads:
        raise ModelError(_not_trained(root, objective, architecture))


def _not_trained(root: nn.Module, objective: Objective, architecture: Architecture) -> str:
    """Why the objective can't train such a model, and what can."""
    what = {
        "decoder": "writes on from a text",
        "encoder-decoder": "reads a text and writes another (an encoder-decoder)",
        "encoder": "reads text and writes none (an encoder, or a body without its head)",
    }[architecture]
    others = [other.name for other in objectives if architecture in other.reads]
    if others:
        advice = f"--objective {' or '.join(others)} trains such a model"
    else:
        advice = "no objective here trains such a model yet"
    if "causal logits" in objective.gives and architecture == "encoder":
        advice += ", and one that writes is loaded with AutoModelForCausalLM.from_pretrained"
    return f"{type(root).__name__} {what}, which {objective.name} doesn't train: {advice}."


def _check_trainer(objective: Objective, chosen: Settings, root: nn.Module) -> None:
    """Build the trainer's config once, so that it refuses now what it would refuse later."""
    window = window_of(root)
    wanted = chosen.trainer.get("max_length")
    if window and wanted and wanted > window:
        raise RequestError(f"max_length {wanted} is over the model's window of {window} tokens.")
    for name in ("per_device_train_batch_size", "num_train_epochs", "max_length", "learning_rate"):
        if chosen.trainer.get(name, 1) <= 0:
            raise RequestError(f"{name} must be above 0, not {chosen.trainer[name]}.")
    device = next(root.parameters()).device
    with tempfile.TemporaryDirectory() as folder, process_state_kept():
        try:
            arguments = objective.config_class()(
                **chosen.trainer,
                output_dir=folder,
                report_to="none",
                use_cpu=device.type == "cpu",
            )
        except (ValueError, TypeError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise RequestError(f"The trainer refuses these settings: {reason}") from None
        objective.check(arguments)
        check_optimizer(arguments, device)


def _notes(
    handle: Handle, chosen: Settings, parent: Record | None, resumed: Record | None
) -> list[str]:
    notes = []
    if parent is not None:
        notes.append(f"goes on from {parent.label}")
    if resumed is not None:
        done = int(resumed.metrics.get("steps", 0))
        notes.append(f"goes on with {resumed.label}, which was stopped after step {done}")
    import torch

    device = next(handle.root.parameters()).device
    notes += optimizer_notes(chosen.trainer.get("optim", ""), device)
    if torch.cuda.is_available() and device.type == "cpu":
        notes.append("the model is on the CPU though a GPU is there: model.to('cuda') is faster")
    return notes
