"""A request: everything that one run was asked to do, as names and values.

The one place where options are declared. Flags, body keys and Python keywords are the same words;
the parser, the help and the table in the README are made from the fields below. A request holds no
live objects, so it can be saved beside the adapter and read back.
"""

from __future__ import annotations

import dataclasses
import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

LossOn = Literal["all", "answers", "last"]
"""Which tokens of a row are trained: all, every answer's, or the last answer's."""

Quantize = Literal["nf4", "fp4", "int8"]
"""What a base's linear layers are quantized to: 4-bit NormalFloat or float, 8-bit integers."""


FitCheck = Literal["check", "off"]
"""Whether it is looked beforehand if a run fits into memory."""


Baseline = Literal["on", "off"]
"""Whether a run is compared with one on the rows' own answers alone."""


def option(
    help: str,
    default: Any = None,
    *,
    shown: str = "",
    setting: bool = False,
    signal: bool = False,
) -> Any:
    """Declare an option: its help, its default, how its value is shown in the help.

    Args:
        setting: whether it is an alias of a field of the method's or the trainer's own config.
        signal: whether it says what an objective learns from: only those that take it may have it.
    """
    told = {"help": help, "shown": shown, "setting": setting, "signal": signal}
    return field(default=default, metadata=told)


@dataclass(frozen=True)
class Request:
    """One run, before it begins. The fields are the words that users type."""

    name: str = field(
        metadata={
            "help": "what the adapter is called",
            "shown": "NAME",
            "setting": False,
            "signal": False,
        }
    )
    data: str | None = option(
        "the rows: a variable, a path (.jsonl .json .csv .tsv .parquet .txt), tiny:NAME or "
        "hub:owner/name; or a mix of several with their shares: a:0.7,b:0.3",
        shown="X",
    )
    model: str | None = option(
        "the model's variable; needed only when there are several", shown="X"
    )
    tokenizer: str | None = option("the tokenizer's variable; likewise", shown="X")
    method: str = option("what is trained", "lora", shown="METHOD")
    quantize: Quantize | None = option(
        "the base in 4 or 8 bits, in place, while it is trained and attached",
        shown="nf4|fp4|int8",
    )
    in_place: bool = option(
        "quantize for good, where the original weights can stay nowhere: the base as loaded is "
        "gone until the model is loaded again",
        False,
    )
    objective: str = option("from what signal", "sft", shown="OBJECTIVE")
    place: str = option("where", "kernel", shown="PLACE")
    reward: str | None = option(
        "what judges answers, for rl: a function (prompts, completions, **columns) -> numbers, a "
        "reward adapter, or judge; several with their weights: polite:0.7,short:0.3",
        shown="X",
        signal=True,
    )
    judge: str | None = option(
        "who judges by the rubric: an adapter of this model (the model alone by default), another "
        "model's variable, or a function",
        shown="NAME",
        signal=True,
    )
    rubric: str | None = option("what the judge looks for", shown="TEXT", signal=True)
    principles: list[str] | None = option(
        "what answers are to keep to, for constitution: a list of sentences",
        shown="LIST",
        signal=True,
    )
    rounds: int | None = option(
        "how often an answer is criticized and revised, for constitution; once by default",
        shown="N",
        signal=True,
    )
    context: str | list[dict[str, Any]] | None = option(
        "what is to hold without being said, for context-distillation: a text, or a list of "
        "examples with prompt and completion; %%distill takes it from its body",
        shown="TEXT",
        signal=True,
    )
    turns: int | None = option(
        "how many answers a conversation has through which the context is to hold; 1 by default",
        shown="N",
        signal=True,
    )
    teacher: str | None = option(
        "who is learned from, for knowledge-distillation: another model's variable, a path, "
        "hub:owner/name, or an adapter of this model",
        shown="X",
        signal=True,
    )
    baseline: Baseline | None = option(
        "whether the student is also trained without the teacher, as NAME-labels, on the same "
        "rows for as many steps, to be compared; on by default where rows have answers",
        shown="on|off",
        signal=True,
    )
    outside: str | None = option(
        "rows of what is to stay as it was: their loss before and after is told",
        shown="X",
        signal=True,
    )
    count: int | None = option(
        "how many prompts the model writes itself, where the data are auto (200)",
        shown="N",
        signal=True,
    )
    columns: dict[str, str] | None = option(
        "which column is which: prompt=question,completion=answer", shown="A=B,…"
    )
    loss_on: LossOn = option(
        "which tokens of a chat or a pair are trained: the whole row, every answer, or the last "
        "answer; raw text is trained whole",
        "answers",
        shown="all|answers|last",
    )
    eval: float | int | str | None = option(
        "held-out rows: a share (0.1), a count (200), data of their own, or 0 for none; "
        "by default 10%, at most 200",
        shown="N",
    )
    epochs: float | None = option("how often the rows are gone through", shown="N", setting=True)
    max_steps: int | None = option("stop after so many steps", shown="N", setting=True)
    batch_size: int | None = option("rows a step and device", shown="N", setting=True)
    learning_rate: float | None = option("peak learning rate", shown="X", setting=True)
    max_length: int | None = option("tokens a row, the rest is cut", shown="N", setting=True)
    rank: int | None = option("rank of the adapter's matrices", shown="N", setting=True)
    alpha: float | None = option("scaling numerator", shown="X", setting=True)
    dropout: float | None = option("dropout on the adapter's input", shown="X", setting=True)
    target_modules: list[str] | str | None = option(
        "modules that get an adapter: all-linear, or names", shown="NAMES", setting=True
    )
    seed: int | None = option(
        "seed of initialisation and of the rows' order", shown="N", setting=True
    )
    budget: str | None = option(
        "time for the run: the number of steps follows from the first few; epochs and max_steps "
        "stay the most there are",
        shown="15min",
    )
    from_: str | None = option("go on from an adapter: NAME or NAME@VERSION", shown="NAME")
    attach: bool = option("attach the new adapter when the run is done", False)
    resume: bool = option("go on with the run of this name that was stopped", False)
    fit: FitCheck = option(
        "whether a run that would not fit into memory is refused, or tried all the same",
        "check",
        shown="check|off",
    )
    auto: bool = option("take the smallest change with which a run fits into memory", False)
    dry_run: bool = option("show the plan and train nothing", False)
    form: bool = option("open all this as a form, and train nothing yet", False)
    background: bool = option(
        "train in a thread: the cell returns once the run is prepared (%peft_jobs lists, waits, "
        "stops)",
        False,
    )
    fields: Mapping[str, Any] = field(default_factory=dict, metadata={"help": ""})
    """Any other field of the method's or the trainer's config, by its own name."""
    origins: Mapping[str, str] = field(default_factory=dict, metadata={"help": ""}, compare=False)
    """Where each given word came from: 'line', 'body' or 'call'."""

    def given(self) -> dict[str, Any]:
        """The settings that were given: word -> value, aliases and own names together."""
        words = {o.name: getattr(self, o.name) for o in options() if o.metadata["setting"]}
        return {k: v for k, v in words.items() if v is not None} | dict(self.fields)

    def to_dict(self) -> dict[str, Any]:
        """What was asked, ready for JSON; words that stand at their default are left out."""
        asked = {
            typed(o.name): getattr(self, o.name)
            for o in options()
            if o.name == "name" or getattr(self, o.name) != o.default
        }
        return asked | ({"fields": dict(self.fields)} if self.fields else {})

    @classmethod
    def from_dict(cls, asked: Mapping[str, Any]) -> Request:
        """A request from what `to_dict` gave."""
        return cls(**{field_name(word): value for word, value in asked.items()})


def options() -> tuple[dataclasses.Field[Any], ...]:
    """The declared options, in the order of the help; `fields` and `origins` are no options."""
    return tuple(f for f in dataclasses.fields(Request) if f.name not in ("fields", "origins"))


def typed(name: str) -> str:
    """A field's name as users type it: `from_` is `from` (a Python keyword)."""
    return name.rstrip("_")


def field_name(word: str) -> str:
    """The field behind a typed word, dashes or underscores alike."""
    word = word.replace("-", "_")
    return f"{word}_" if keyword.iskeyword(word) else word
