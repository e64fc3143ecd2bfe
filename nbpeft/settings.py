"""Which setting wins, and where it came from.

Precedence: flag or body (or Python keyword), then `%config NbPeft.defaults`, then the method's, the
objective's and nbpeft's own defaults, then the library's. An alias and the field behind it are one
setting: giving both is an error.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError, did_you_mean, quoted
from nbpeft.plan import Setting
from nbpeft.request import Request, options, typed

if TYPE_CHECKING:
    from nbpeft.methods import Method
    from nbpeft.objectives import Objective

TRAINER_ALIASES = {
    "epochs": "num_train_epochs",
    "max_steps": "max_steps",
    "batch_size": "per_device_train_batch_size",
    "learning_rate": "learning_rate",
    "max_length": "max_length",
    "seed": "seed",
}

TRAINER_RESERVED = frozenset(
    {
        "output_dir", "report_to", "run_name", "project", "disable_tqdm", "use_cpu",
        "logging_dir", "logging_strategy", "logging_steps", "logging_first_step",
        "eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "do_train", "do_eval",
        "do_predict", "save_strategy", "save_steps", "save_total_limit", "save_only_model",
        "load_best_model_at_end", "metric_for_best_model", "greater_is_better",
        "resume_from_checkpoint", "restore_callback_states_from_checkpoint", "push_to_hub",
        "hub_model_id", "hub_strategy", "hub_token", "hub_private_repo", "hub_always_push",
        "hub_revision", "remove_unused_columns", "dataloader_pin_memory", "deepspeed", "fsdp",
        "fsdp_config", "local_rank", "ddp_backend", "full_determinism",
    }
)  # fmt: skip
"""The trainer's fields that nbpeft sets itself: where it writes, what it says, when it looks."""


@dataclass(frozen=True)
class Settings:
    """The fields of the two configs of a run, ready to build them."""

    method: dict[str, Any]
    trainer: dict[str, Any]
    shown: tuple[Setting, ...]
    """Those that aren't the library's default, with their origin."""

    def of(self, field: Field) -> Any:
        """What a field of the two configs is set to, or what the library sets it to."""
        return {**self.trainer, **self.method}.get(field.key, field.default)


@dataclass(frozen=True)
class Layer:
    """Settings of one origin; earlier layers win."""

    origin: str
    values: Mapping[str, Any]


def resolve(
    request: Request,
    method: Method,
    objective: Objective,
    *,
    configured: Mapping[str, Any],
    own: Layer,
    inherited: Layer | None = None,
) -> Settings:
    """All settings of a run. `own` is nbpeft's layer (hardware, model), below the method's;
    `inherited` the settings of the adapter that the run goes on from, above them all.

    RequestError for a word that no config has, a field that nbpeft keeps, an alias given beside
    its field, or a value of the wrong kind.
    """
    fields = Fields(method, objective)
    configured = _checked_defaults(configured, fields)
    _refuse_doubles(request, fields)
    _refuse_doubles(configured, fields)
    layers = [
        *([inherited] if inherited else []),
        *(
            Layer(request.origins.get(word, "call"), {word: value})
            for word, value in request.given().items()
        ),
        Layer("%config", {w: v for w, v in configured.items() if not fields.lacks(w)}),
        Layer(
            f"method {method.name}",
            {"learning_rate": method.learning_rate * objective.learning_rate_factor}
            | dict(method.defaults),
        ),
        Layer(f"objective {objective.name}", objective.defaults),
        own,
    ]
    return _choose(fields, layers)


def of_method(
    method: Method, words: Mapping[str, Any], configured: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a method's config for an adapter that is set up by hand.

    Args:
        words: as they were given; those of `%config` that are the method's come after.

    Raises:
        RequestError: as `resolve`; or a word is the trainer's.
    """
    fields = Fields(method, None)
    for word in words:
        if word in TRAINER_ALIASES:
            raise RequestError(
                f"{word} is a setting of a run; an adapter that is set up by hand is trained by "
                "your own loop: leave it out."
            )
    _refuse_doubles(words, fields)
    own = {word: value for word, value in configured.items() if fields.has(word)}
    layers = [
        Layer("call", words),
        Layer("%config", own),
        Layer(f"method {method.name}", method.defaults),
    ]
    return _choose(fields, layers).method


def _choose(fields: Fields, layers: Iterable[Layer]) -> Settings:
    """Each setting by the first layer that has it, checked and coerced."""
    chosen: dict[str, tuple[Any, str]] = {}
    for layer in layers:
        trusted = layer.origin.startswith(("nbpeft", "objective", "method", "from"))
        for word, value in layer.values.items():
            known = fields.find(word, trusted=trusted)
            given = coerce(word, value, known.hint)
            # Enums by their value: settings are kept as JSON, and the configs take either.
            chosen.setdefault(known.key, (getattr(given, "value", given), layer.origin))
    return fields.settings(chosen)


@dataclass(frozen=True)
class Field:
    """One field of a library's config."""

    key: str
    """Its own name."""
    hint: Any
    default: Any
    help: str
    """What the library says of it."""


class Fields:
    """The fields that may be set in a run: of the method's config and of the trainer's.

    Without an objective the method's only.
    """

    def __init__(self, method: Method, objective: Objective | None) -> None:
        self.of_method = _config_fields(method.config_class())
        self.of_trainer = {} if objective is None else _config_fields(objective.config_class())
        self.aliases = dict(method.aliases)
        if objective is not None:
            self.aliases = TRAINER_ALIASES | dict(objective.aliases) | self.aliases
        self.reserved = method.reserved
        if objective is not None:
            self.reserved |= objective.reserved | TRAINER_RESERVED
        self.method = method.name

    def has(self, word: str) -> bool:
        """Whether a word stands for one of these fields, free to be set."""
        key = self.aliases.get(word, word)
        return (key in self.of_method or key in self.of_trainer) and key not in self.reserved

    def find(self, word: str, *, trusted: bool = False) -> Field:
        """The field that a word stands for."""
        key = self.aliases.get(word, word)
        if key in self.reserved and not trusted:
            raise RequestError(f"{word} is set by nbpeft itself; leave it out.")
        found = self.of_method.get(key) or self.of_trainer.get(key)
        if found is None:
            if self.lacks(word):
                raise RequestError(f"The method {self.method} has no {word}; leave it out.")
            raise RequestError(
                f"There is no setting {quoted(word)}.{did_you_mean(word, self.words())}"
            )
        return found

    def check(self, words: Iterable[str]) -> None:
        """Refuse the first word that isn't there."""
        for word in words:
            self.find(word)

    def lacks(self, word: str) -> bool:
        """Whether it is one of nbpeft's words, for which this method has no field."""
        declared = word in {typed(o.name) for o in options() if o.metadata["setting"]}
        key = self.aliases.get(word, word)
        return declared and key not in self.of_method and key not in self.of_trainer

    def words(self) -> list[str]:
        """Every word that may be typed."""
        free = (set(self.of_method) | set(self.of_trainer)) - self.reserved
        return sorted({typed(o.name) for o in options()} | set(self.aliases) | free)

    def settings(self, chosen: Mapping[str, tuple[Any, str]]) -> Settings:
        """The chosen values, sorted to their configs."""
        method = {k: v for k, (v, _) in chosen.items() if k in self.of_method}
        trainer = {k: v for k, (v, _) in chosen.items() if k not in self.of_method}
        words = {key: word for word, key in self.aliases.items()}
        shown = [
            Setting(words.get(key, key), value, origin)
            for key, (value, origin) in chosen.items()
            if key not in self.reserved
            and value != (self.of_method.get(key) or self.of_trainer[key]).default
        ]
        return Settings(method, trainer, tuple(shown))


def _checked_defaults(configured: Mapping[Any, Any], fields: Fields) -> dict[str, Any]:
    """`NbPeft.defaults` by the words' own spelling; RequestError for one that can't be there."""
    checked = {}
    for given, value in configured.items():
        word = given.replace("-", "_") if isinstance(given, str) else ""
        problem = _not_a_default(word, fields)
        if problem:
            raise RequestError(f"%config NbPeft.defaults can't hold {quoted(given)}: {problem}")
        checked[word] = value
    return checked


def _not_a_default(word: str, fields: Fields) -> str | None:
    settings = {typed(o.name): o.metadata["setting"] for o in options()}
    known = [w for w in fields.words() if settings.get(w, True)]
    if not word:
        return "its keys are words, such as 'rank'."
    if word in fields.reserved:
        return "nbpeft sets it itself."
    if not settings.get(word, True):
        return "it says what one run does; give it in the cell."
    if word in known or word in settings:
        return None
    return f"there is no such setting.{did_you_mean(word, known)}"


def _refuse_doubles(given: Request | Mapping[str, Any], fields: Fields) -> None:
    words = given.given() if isinstance(given, Request) else given
    for word in words:
        key = fields.aliases.get(word, word)
        if key != word and key in words:
            raise RequestError(f"{word} and {key} are the same setting; give one of them.")


def _config_fields(config: type[Any]) -> dict[str, Field]:
    """The fields of a library's config dataclass, with their types and defaults."""
    hints = typing.get_type_hints(config)
    return {
        f.name: Field(
            f.name,
            hints[f.name],
            f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default,
            f.metadata.get("help") or "",
        )
        for f in dataclasses.fields(config)
        if f.init
    }
