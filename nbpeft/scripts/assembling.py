"""The parts of a script put together, in the order that a reader follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbpeft.precision.base import AS_LOADED
from nbpeft.scripts import own
from nbpeft.scripts.arguments import arguments_of, notes
from nbpeft.scripts.heads import head_of
from nbpeft.scripts.methods import METHODS, Trained
from nbpeft.scripts.models import Named, model_of, named, tokenizer_of
from nbpeft.scripts.objectives import OBJECTIVES, Learned
from nbpeft.scripts.order import BY_LENGTH, SAMPLER, grouped
from nbpeft.scripts.own import OwnError
from nbpeft.scripts.rows import parted, splitting
from nbpeft.scripts.samples import Way
from nbpeft.scripts.script import Script
from nbpeft.scripts.training import saved, subclass, trainer
from nbpeft.scripts.writing import assigned, imported, names, quoted

if TYPE_CHECKING:
    from nbpeft.prepare import Prepared


def script_of(ready: Prepared) -> Script:
    """The plain script that trains what a prepared run would, to the same losses.

    Nothing is changed and nothing is trained. Where the libraries have no equal, the script has no
    text and `own` says what of the run is nbpeft's own.
    """
    try:
        learned, trained = _written(ready)
        return _assembled(ready, learned, trained)
    except OwnError as reason:
        return Script("", (str(reason),))


def _written(ready: Prepared) -> tuple[Learned, Trained]:
    """What writes the objective and the method, and whether they go together.

    Raises:
        OwnError: they don't, or one of them has no writer.
    """
    method, objective = ready.method.name, ready.objective.name
    if objective not in OBJECTIVES:
        told = f"the objective {objective} is nbpeft's own: TRL has no trainer that does the same"
        raise OwnError(own.OBJECTIVES.get(objective, told))
    if method not in METHODS:
        told = f"the method {method} is nbpeft's own: PEFT has nothing that does the same"
        raise OwnError(own.METHODS.get(method, told))
    learned, trained = OBJECTIVES[objective], METHODS[method](ready)
    if trained.soft and not learned.soft:
        raise OwnError(f"{learned.trainer} doesn't take soft prompts: {objective} is nbpeft's own")
    if trained.members and not learned.penalized:
        raise OwnError(
            f"{method}'s penalty beside the loss of {learned.trainer} is nbpeft's own: PEFT adds "
            "it to the model's own loss only"
        )
    return learned, trained


def _assembled(ready: Prepared, learned: Learned, trained: Trained) -> Script:
    parts = parted(ready.rows)
    way = learned.way(ready, parts.train)
    rows, before = splitting(ready, parts, way.steps)
    naming = named(ready)
    by_length = learned.grouped and grouped(ready, soft=trained.soft, head=learned.head)
    members = [
        *learned.members,
        *([SAMPLER.replace("COLUMN", learned.lengths)] if by_length else []),
        *trained.members,
    ]
    kind = "Tuner" if members else learned.trainer
    tokenizer = tokenizer_of(ready, _tokenizer_name(naming))
    head = head_of(ready, trained) if learned.head else None
    model = model_of(ready, *(head.model if head else ("AutoModelForCausalLM", {})))
    quantized = ready.plan.state != AS_LOADED
    # Transformers' own trainer takes no config of an adapter.
    wrapped = trained.config and (quantized or learned.module == "transformers")
    evaluated = parts.held_out is not None
    arguments = arguments_of(ready, learned, way)
    blocks = [
        _names(naming, trained),
        f"{tokenizer.code}\n{model.code}",
        _spaced(way.defined),
        "\n".join([rows.code, *_after(way, held_out=evaluated)]),
        head.code if head else "",
        trained.code if not trained.callbacks else f"{trained.code}\n",
        assigned("args", learned.config, arguments),
        _spaced(BY_LENGTH.replace("SEED", _seed_of(ready)) if by_length else ""),
        _spaced(subclass(kind, learned.trainer, members) if members else ""),
        trainer(kind, learned, trained, wrapped=wrapped, quantized=quantized, evaluated=evaluated),
        f"trainer.train()\n{saved(ready, learned, trained)}",
    ]
    imports = (
        names(learned.module, learned.trainer, learned.config)
        | tokenizer.imports
        | model.imports
        | rows.imports
        | way.imports
        | trained.imports
        | learned.imports
        | (LENGTH_IMPORTS if by_length else frozenset())
        | (head.imports if head else frozenset())
        | (WRAPPING if wrapped else frozenset())
    )
    head_lines = [*_heading(ready, [*naming.before, *before]), imported(imports)]
    text = "\n\n".join(block for block in [*head_lines, *blocks] if block)
    return Script(_tidy(text), notes(ready))


WRAPPING = names("peft", "get_peft_model") | names("transformers", "set_seed")
LENGTH_IMPORTS = names("torch") | names(
    "transformers.trainer_pt_utils", "LengthGroupedSampler", "get_length_grouped_indices"
)


def _heading(ready: Prepared, before: list[str]) -> list[str]:
    title = (
        f'"""{ready.method.name} by {ready.objective.name}, in plain transformers, peft and trl."""'
    )
    if not before:
        return [title]
    lines = "\n".join(f"#     {line}" for line in dict.fromkeys(before))
    return [title, f"# Write these in the notebook first, beside this script:\n#\n{lines}"]


def _names(naming: Named, trained: Trained) -> str:
    lines = [f"MODEL = {quoted(naming.model)}"]
    apart = naming.tokenizer != naming.model
    if apart or "TOKENIZER" in trained.code:
        lines.append(f"TOKENIZER = {quoted(naming.tokenizer) if apart else 'MODEL'}")
    return "\n".join(lines)


def _tokenizer_name(naming: Named) -> str:
    return "MODEL" if naming.tokenizer == naming.model else "TOKENIZER"


def _seed_of(ready: Prepared) -> str:
    given = ready.settings.trainer
    seed = given.get("data_seed")
    return str(given.get("seed", 42) if seed is None else seed)


def _after(way: Way, *, held_out: bool) -> list[str]:
    """What is done to rows once they are parted."""
    bound = ("train", "held_out") if held_out else ("train",)
    return [line.replace("ROWS", name) for name in bound for line in way.last]


def _spaced(code: str) -> str:
    """A definition with the two lines around it that PEP 8 wants."""
    return f"\n{code}\n" if code else ""


def _tidy(text: str) -> str:
    """No more than two blank lines, and one at the end."""
    while "\n\n\n\n" in text:
        text = text.replace("\n\n\n\n", "\n\n\n")
    return text.strip() + "\n"
