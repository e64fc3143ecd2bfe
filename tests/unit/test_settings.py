"""Which setting wins, where it came from, and what is refused."""

from dataclasses import dataclass, field
from enum import Enum

import pytest
from test_errors import refusal

from nbpeft.errors import RequestError
from nbpeft.methods import Method, methods
from nbpeft.objectives import Objective, objectives
from nbpeft.request import options
from nbpeft.settings import Fields, Layer, resolve
from nbpeft.typed import from_call, from_cell


class Schedule(Enum):
    LINEAR = "linear"
    COSINE = "cosine"


@dataclass
class TinyConfig:
    r: int = 8
    lora_alpha: int = 8
    use_dora: bool = False
    target_modules: list[str] | str | None = None
    peft_type: str = "TINY"


@dataclass
class TrainerConfig:
    learning_rate: float = 5e-5
    num_train_epochs: float = 3.0
    max_steps: int = -1
    per_device_train_batch_size: int = 8
    max_length: int | None = 1024
    seed: int = 42
    warmup_steps: float = 0
    lr_scheduler_type: Schedule = Schedule.LINEAR
    label_names: list[str] = field(default_factory=list)
    output_dir: str = "out"
    packing: bool = False


class TinyMethod(Method):
    def config_class(self):
        return TinyConfig


class TinyObjective(Objective):
    def config_class(self):
        return TrainerConfig


METHOD = TinyMethod(
    name="tiny",
    family="classic",
    summary="a method",
    paper="",
    learning_rate=2e-4,
    aliases={"rank": "r", "alpha": "lora_alpha", "target_modules": "target_modules"},
    defaults={"r": 16},
    reserved=frozenset({"peft_type"}),
)
OBJECTIVE = TinyObjective(
    name="half",
    summary="an objective",
    gives=frozenset(),
    learning_rate_factor=0.5,
    defaults={"packing": True},
    reserved=frozenset({"packing"}),
)
OWN = Layer("nbpeft, for cpu", {"max_length": 512})


def settings(line="p", body="", config=(), inherited=None):
    request = from_cell(line, body)[0]
    return resolve(
        request, METHOD, OBJECTIVE, configured=dict(config), own=OWN, inherited=inherited
    )


def refused(*args, **words):
    return refusal(settings, *args, kind=RequestError, **words)


def origins(found):
    return {setting.name: setting.origin for setting in found.shown}


def test_without_words_the_defaults_of_method_objective_and_nbpeft():
    found = settings()
    assert found.method == {"r": 16}
    assert found.trainer == {"learning_rate": 1e-4, "packing": True, "max_length": 512}
    assert origins(found) == {
        "rank": "method tiny", "learning_rate": "method tiny", "max_length": "nbpeft, for cpu"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "body", "config", "rank", "origin"),
    [
        ("p", "", {}, 16, "method tiny"),
        ("p", "", {"rank": 4}, 4, "%config"),
        ("p", "", {"r": 4}, 4, "%config"),
        ("p --rank 2", "", {"rank": 4}, 2, "line"),
        ("p --r 2", "", {"rank": 4}, 2, "line"),
        ("p", "rank: 2", {"r": 4}, 2, "body"),
        ("p", "r: 2", {}, 2, "body"),
    ],
)
def test_line_or_body_over_config_over_the_methods_default(line, body, config, rank, origin):
    found = settings(line, body, config)
    assert found.method["r"] == rank
    assert origins(found)["rank"] == origin  # by nbpeft's word, whichever was typed


def test_learning_rate_and_length_from_config_or_line_win_over_the_defaults():
    found = settings("p --max-length 64", config={"learning_rate": 1})
    assert (found.trainer["learning_rate"], found.trainer["max_length"]) == (1.0, 64)
    assert settings("p", "learning_rate: 1e-3").trainer["learning_rate"] == 0.001


def test_what_is_like_the_library_s_default_is_not_shown():
    shown = origins(settings("p --rank 8 --seed 42 --warmup-steps 5"))
    assert "rank" not in shown
    assert "seed" not in shown
    assert shown["warmup_steps"] == "line"


@pytest.mark.parametrize(
    ("line", "body", "both"),
    [
        ("p --rank 8 --r 8", "", ("rank", "r ")),
        ("p --rank 8", "r: 16", ("rank", "r ")),
        ("p --lora-alpha 4", "alpha: 4", ("alpha", "lora_alpha")),
        ("p --epochs 1", "num_train_epochs: 1", ("epochs", "num_train_epochs")),
        ("p", "batch_size: 1\nper_device_train_batch_size: 1", ("batch_size", "per_device")),
    ],
)
def test_an_alias_beside_its_field_is_refused(line, body, both):
    message = refused(line, body)
    assert [word for word in both if word not in message] == []


def test_an_alias_beside_its_field_in_config_is_refused_too():
    assert "rank" in refused(config={"rank": 8, "r": 8})


@pytest.mark.parametrize(
    ("line", "body", "says"),
    [
        ("p --learnin-rate 1", "", "Did you mean learning_rate?"),
        ("p", "use_dara: true", "Did you mean use_dora?"),
        ("p", "Rank: 8", "Did you mean rank?"),
        ("p", "batchsize: 8", "Did you mean batch_size"),
        ("p", "num_epochs: 8", "num_train_epochs"),
        ("p", "zzzz: 8", "'zzzz'"),
        ("p", f"{'z' * 900}: 8", "'zzz"),
        ("p", '"a\\nb": 8', r"'a\nb'"),
    ],
)
def test_an_unknown_word_gives_the_nearest(line, body, says):
    assert says in refused(line, body)


def test_an_unknown_word_in_config_is_refused():
    assert "Did you mean learning_rate?" in refused(config={"learning_rat": 1})


def test_a_reserved_word_is_never_offered():
    assert "Did you mean" not in refused("p --pakcing true")


@pytest.mark.parametrize("word", ["packing", "peft_type", "output_dir"])
def test_what_nbpeft_sets_itself_is_refused_from_users_only(word):
    assert word in refused("p", f"{word}: x")
    assert word in refused(config={word: "x"})
    assert settings().trainer["packing"] is True  # the objective's own


def test_an_option_that_the_method_lacks_names_the_method():
    message = refused("p --dropout 0.1")
    assert "dropout" in message
    assert "tiny" in message


def test_in_config_it_is_for_the_methods_that_have_it():
    assert settings(config={"dropout": 0.1, "rank": 4}).method == {"r": 4}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("rank: many", "rank can't be 'many'"),
        ("r: 1.5", "r can't be '1.5'"),
        ("use_dora: no", "use_dora can't be 'no'"),
        ("lr_scheduler_type: cosin", "'cosin'"),
    ],
)
def test_a_value_of_the_wrong_kind_names_the_word_that_was_typed(body, says):
    assert says in refused(body=body)


def test_values_become_what_the_config_declares_and_stay_json():
    found = settings("p", "alpha: 32\nlr_scheduler_type: cosine\nlabel_names: a\nwarmup_steps: 2")
    assert (found.method["lora_alpha"], type(found.method["lora_alpha"])) == (32, int)
    assert found.trainer["lr_scheduler_type"] == "cosine"
    assert found.trainer["label_names"] == ["a"]
    TinyConfig(**found.method)
    TrainerConfig(**found.trainer)


def test_settings_of_the_adapter_that_is_gone_on_from_win():
    parent = Layer("from old@1", {"r": 4, "peft_type": "TINY"})
    found = settings("p --rank 8", config={"alpha": 2}, inherited=parent)
    assert found.method == {"r": 4, "lora_alpha": 2, "peft_type": "TINY"}
    assert origins(found)["rank"] == "from old@1"


def test_python_keywords_say_call():
    found = resolve(from_call("p", {"rank": 2}), METHOD, OBJECTIVE, configured={"rank": 4}, own=OWN)
    assert origins(found)["rank"] == "call"


def test_an_explicit_null_in_the_body_is_not_given():
    assert settings("p", "rank: null").method == {"r": 16}


@pytest.mark.parametrize("method", methods, ids=lambda method: method.name)
@pytest.mark.parametrize("objective", objectives, ids=lambda objective: objective.name)
def test_every_alias_and_default_of_every_method_is_a_field_of_its_library(method, objective):
    fields = Fields(method, objective)
    for word in (*fields.aliases, *method.defaults, *objective.defaults):
        fields.find(word, trusted=True)
    known = set(fields.of_method) | set(fields.of_trainer)
    assert method.reserved | objective.reserved <= known
    assert fields.of_method.keys() & fields.of_trainer.keys() <= fields.reserved


def test_lora_takes_every_setting_that_is_declared():
    fields = Fields(methods.get("lora"), objectives.get("sft"))
    for option in options():
        if option.metadata["setting"]:
            assert fields.find(option.name)
