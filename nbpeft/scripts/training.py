"""The trainer of a script: its subclass where something differs, and what is done around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbpeft.scripts.methods import Trained
from nbpeft.scripts.objectives import Learned
from nbpeft.scripts.writing import Code, assigned, call, quoted

if TYPE_CHECKING:
    from nbpeft.prepare import Prepared


def saved(ready: Prepared, learned: Learned, trained: Trained) -> str:
    """The last line; a reference that TRL keeps beside an adapter isn't saved with it."""
    words = {"selected_adapters": ["default"]} if learned.refers and trained.goes_on else {}
    return call("trainer.model.save_pretrained", words, quoted(ready.request.name))


def subclass(name: str, base: str, members: list[str]) -> str:
    return f"class {name}({base}):\n" + "\n\n".join(members)


def trainer(
    kind: str,
    learned: Learned,
    trained: Trained,
    *,
    wrapped: bool,
    quantized: bool,
    evaluated: bool,
) -> str:
    """The trainer, and what is done to the model right before and after it is made.

    Args:
        wrapped: whether the adapter is put around the model before, and not by the trainer.
        evaluated: whether rows are held out.
        quantized: whether the adapter is to keep the precision that nbpeft trains it in.
    """
    words: dict[str, Any] = {"model": Code("model")}
    lines = []
    if learned.refers and trained.whole:
        words["ref_model"] = Code("reference")
        lines.append("reference = AutoModelForCausalLM.from_pretrained(MODEL, dtype=model.dtype)")
    words |= {
        "args": Code("args"),
        "train_dataset": Code("train"),
        **({"eval_dataset": Code("held_out")} if evaluated else {}),
        "processing_class": Code("tokenizer"),
    }
    if trained.config and not wrapped:
        words["peft_config"] = Code("config")
    if trained.callbacks:
        words["callbacks"] = Code(f"[{', '.join(f'{name}()' for name in trained.callbacks)}]")
    if wrapped:
        lines += ["set_seed(args.seed)", "model = get_peft_model(model, config)"]
    if wrapped and quantized:
        lines.append(EXACT)
    lines.append(assigned("trainer", kind, words))
    if wrapped and quantized:
        lines.append(BACK)
    return "\n".join(lines)


EXACT = """# TRL rounds what is trained over a quantized base to bfloat16; nbpeft doesn't.
exact = {name: p.data for name, p in model.named_parameters() if p.requires_grad}"""
BACK = """for name, parameter in model.named_parameters():
    parameter.data = exact.get(name, parameter.data)"""
