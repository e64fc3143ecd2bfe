"""What is trained, in plain PEFT or transformers: a table of methods by name.

A method that isn't in the table has no writer: it is nbpeft's own (`own.METHODS` says why).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.methods._parameters import ParametersMethod
from nbpeft.methods._peft import PeftMethod
from nbpeft.scripts.own import OwnError
from nbpeft.scripts.writing import Code, assigned, call, changed, literal, names, quoted

if TYPE_CHECKING:
    from nbpeft.prepare import Prepared


@dataclass(frozen=True)
class Trained:
    """What a script has of a method."""

    code: str = ""
    """Of PEFT's config, or of what is marked to be trained."""
    imports: frozenset[tuple[str, str]] = frozenset()
    config: bool = False
    """Whether the trainer is given PEFT's config, and wraps the model itself."""
    whole: bool = False
    """Whether the base's own weights are trained, so that a reference is a second model."""
    soft: bool = False
    """Whether a prompt is put before the tokens."""
    members: tuple[str, ...] = ()
    """Methods of the trainer's subclass."""
    callbacks: tuple[str, ...] = ()
    """Classes of callbacks, defined in `code`."""
    goes_on: bool = False
    """Whether it goes on from an adapter in a folder."""


def adapter(ready: Prepared) -> Trained:
    """A config of PEFT's, with all that differs from its defaults."""
    if ready.parent is not None:
        return _from_folder(ready)
    kind, words = config_words(ready)
    refuse_starts(words)
    nested = {type(v).__name__ for v in words.values() if dataclasses.is_dataclass(v)}
    return Trained(
        assigned("config", kind, words),
        names("peft", kind, *sorted(nested)),
        config=True,
    )


def soft_prompt(ready: Prepared) -> Trained:
    """Vectors before the input; their text, if there is one, is read by the tokenizer."""
    if ready.parent is not None:
        raise OwnError(
            "going on from a soft prompt trains it as it is stored, which is nbpeft's own"
        )
    kind, words = config_words(ready)
    text = ready.settings.method.get("prompt_tuning_init_text")
    if text:
        words |= {
            "prompt_tuning_init": "TEXT",
            "prompt_tuning_init_text": text,
            "tokenizer_name_or_path": Code("TOKENIZER"),
        }
    code = assigned("config", kind, words)
    return Trained(code, names("peft", kind), config=True, soft=True)


def adalora(ready: Prepared) -> Trained:
    """AdaLoRA, with what PEFT leaves to the training loop."""
    if ready.parent is not None:
        raise OwnError("going on from an adalora adapter keeps its ranks, which is nbpeft's own")
    kind, words = config_words(ready)
    shared = ready.settings.trainer.get("gradient_accumulation_steps", 1) > 1
    weight = "config.orth_reg_weight"
    weight += " / self.current_gradient_accumulation_steps" if shared else ""
    return Trained(
        f"{assigned('config', kind, words)}\n\n\n{ALLOCATE}",
        names("peft", kind) | names("transformers", "TrainerCallback") | names("torch"),
        config=True,
        members=(PENALTY.replace("WEIGHT", weight),),
        callbacks=("Allocate",),
    )


ALLOCATE = '''class Allocate(TrainerCallback):
    """Ranks go where gradients say they matter; PEFT leaves that to the training loop."""

    def on_optimizer_step(self, args, state, control, model=None, **words):
        model.base_model.update_and_allocate(state.global_step + 1)'''

PENALTY = '''    def compute_loss(self, model, *words, **more):
        """With AdaLoRA's penalty on factors that aren't orthogonal."""
        result = super().compute_loss(model, *words, **more)
        if not model.training:
            return result
        gaps = []
        for name, factor in model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                factor = factor if "lora_A" in name else factor.T
                gram = factor @ factor.T
                gaps.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram)).to(gram)))
        weight = WEIGHT
        penalty = weight * torch.stack(gaps).mean()
        return (result[0] + penalty, *result[1:]) if type(result) is tuple else result + penalty'''


def full(ready: Prepared) -> Trained:
    """All of the base's weights."""
    _refuse_from(ready)
    return Trained(whole=True)


def selected(ready: Prepared) -> Trained:
    """Some of the base's own parameters, by name."""
    _refuse_from(ready)
    method, root = ready.method, ready.handle.root
    assert isinstance(method, ParametersMethod)
    config = method.config(**ready.settings.method)
    chosen = method.chosen(root, config)
    every = [name for name, _ in root.named_parameters()]
    biases = [name for name in every if name.rpartition(".")[2].endswith("bias")]
    if chosen == biases:
        head = ' or name == "score.weight"' if ready.outputs is not None else ""
        test = f'name.endswith("bias"){head}'
        return Trained(f"{FROZEN}\n    parameter.requires_grad = {test}", whole=True)
    head_too = ("score.",) if ready.outputs is not None else ()
    trained = literal((*_parts(chosen), *head_too), 0, len("TRAINED = "))
    return Trained(
        f"TRAINED = {trained}\n{FROZEN}\n    parameter.requires_grad = name.startswith(TRAINED)",
        whole=True,
    )


FROZEN = "for name, parameter in model.named_parameters():"


def _parts(chosen: list[str]) -> tuple[str, ...]:
    """The modules that parameters are of, as few as can be told apart."""
    layers = [".".join(n.split(".")[: _depth(n)]) + "." for n in chosen]
    return tuple(dict.fromkeys(layers))


def _depth(name: str) -> int:
    """Up to the number of a layer, else to the parameter's module."""
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    return numbers[0] + 1 if numbers else len(parts) - 1


def config_words(ready: Prepared) -> tuple[str, dict[str, Any]]:
    """(the name of PEFT's config, its fields that aren't at their default) of a fresh adapter."""
    method = ready.method
    assert isinstance(method, PeftMethod)  # the table has no others here
    config = method.peft_config(ready.handle.root, ready.settings.method)
    given = {name: v for name, v in changed(config).items() if name not in SET_BY_PEFT}
    words = {name: _plain(v) for name, v in given.items()}
    if ready.outputs is not None:
        words["task_type"] = "SEQ_CLS"
    return type(config).__name__, words


SET_BY_PEFT = ("peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision")


def _plain(value: Any) -> Any:
    value = getattr(value, "value", value)  # of an enum
    return sorted(value) if isinstance(value, set | frozenset) else value


def refuse_starts(words: dict[str, Any]) -> None:
    """Raise OwnError for what begins from data, or has a loss of its own."""
    start = words.get("init_lora_weights")
    if start == "eva":
        raise OwnError("eva begins from batches of rows that nbpeft chooses")
    if words.get("monteclora_config") is not None:
        raise OwnError("MonteCLoRA's variational loss is added by nbpeft")


def _from_folder(ready: Prepared) -> Trained:
    """An adapter that the run goes on from."""
    assert ready.parent is not None  # the caller looked
    path = ready.parent.path
    if path is None:
        raise OwnError("the adapter that the run goes on from isn't on the shelf")
    folder = os.path.relpath(path)
    folder = folder if not folder.startswith("..") else str(path)
    given = call("PeftModel.from_pretrained", {}, one=True).removesuffix(")")
    line = f"model = {given}model, {quoted(folder)}, is_trainable=True)"
    return Trained(line, names("peft", "PeftModel"), goes_on=True)


def _refuse_from(ready: Prepared) -> None:
    if ready.parent is not None:
        raise OwnError("going on from tuned weights of a shelf is nbpeft's own")


METHODS: dict[str, Callable[[Prepared], Trained]] = {
    "lora": adapter,
    "qlora": adapter,
    "lora8": adapter,
    "ia3": adapter,
    "ln": adapter,
    "adalora": adalora,
    "prompt": soft_prompt,
    "ptuning": soft_prompt,
    "prefix": soft_prompt,
    "ptuning-v2": soft_prompt,
    "full": full,
    "last-layers": selected,
    "bitfit": selected,
}
"""By the name of a method: what writes it."""
