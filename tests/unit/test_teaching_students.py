"""Students cut from a teacher have its layers' own values, and share nothing with it."""

from __future__ import annotations

import architectures
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

import nbpeft
from nbpeft.errors import ModelError, RequestError
from nbpeft.teaching.students import layers_of

IDS = torch.arange(4, 20).reshape(2, 8)
SIX = architectures.GROUPED | {"num_hidden_layers": 6}
FAMILIES = {
    "llama": lambda: _built("Llama", SIX),
    "qwen3": lambda: _built("Qwen3", SIX | {"head_dim": 16}),
    "gpt2": lambda: _built("GPT2", {"n_embd": 32, "n_layer": 6, "n_head": 2}, "LMHeadModel"),
    "gemma3": lambda: _built("Gemma3Text", SIX | {"head_dim": 16}, name="Gemma3"),
    "mistral": lambda: _built("Mistral", SIX),
}


def _built(config, shape, head="ForCausalLM", name=None):
    made = getattr(transformers, f"{config}Config")(vocab_size=64, **shape, **architectures.ENDS)
    torch.manual_seed(0)
    return getattr(transformers, f"{name or config}{head}")(made).eval()


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_are_the_teacher(family):
    teacher = FAMILIES[family]()
    assert torch.equal(logits(nbpeft.make_student(teacher, layers=6)), logits(teacher))


@pytest.mark.parametrize("family", FAMILIES)
def test_some_layers_are_those_of_the_teacher(family, tmp_path):
    teacher = FAMILIES[family]()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student = nbpeft.make_student(teacher, layers=2)
    for mine, number in zip(layers_of(student), (0, 5), strict=True):
        theirs = layers_of(teacher)[number].state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in mine.state_dict().items())
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    student.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again), logits(student))
    assert again.config.nbpeft_layers == [0, 5]


def test_which_layers_can_be_said():
    student = nbpeft.make_student(FAMILIES["llama"](), take=[1, 4, 2])
    assert student.config.nbpeft_layers == [1, 4, 2]
    assert len(layers_of(student)) == student.config.num_hidden_layers == 3


def test_kinds_of_layers_follow_those_that_are_taken():
    teacher = FAMILIES["gemma3"]()
    teacher.config.layer_types = ["sliding_attention"] * 5 + ["full_attention"]
    student = nbpeft.make_student(teacher, layers=2)
    assert student.config.layer_types == ["sliding_attention", "full_attention"]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_a_fresh_one_is_narrower_and_drawn_by_its_seed(family):
    teacher = FAMILIES[family]()
    random = torch.get_rng_state()
    one, same = (nbpeft.make_student(teacher, layers=3, hidden=16, seed=1) for _ in range(2))
    other = nbpeft.make_student(teacher, layers=3, hidden=16, seed=2)
    assert torch.equal(torch.get_rng_state(), random)
    assert one.config.hidden_size == 16
    assert logits(one).shape == logits(teacher).shape
    assert torch.equal(logits(one), logits(same))
    assert not torch.equal(logits(one), logits(other))


def test_precision_ends_and_ties_are_the_teachers(tiny_pair):
    teacher = tiny_pair[0].to(torch.bfloat16)
    student = nbpeft.make_student(teacher, layers=3)
    assert student.dtype == torch.bfloat16
    assert student.get_output_embeddings().weight is student.get_input_embeddings().weight
    assert student.generation_config.eos_token_id == teacher.generation_config.eos_token_id
    assert not student.training


def test_an_adapter_that_is_attached_is_left_out(tiny_pair):
    teacher = tiny_pair[0]
    plain = logits(nbpeft.make_student(teacher, layers=2))
    nbpeft.attach("own", model=teacher, method="lora", init_lora_weights=False)
    assert torch.equal(logits(nbpeft.make_student(teacher, layers=2)), plain)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"layers": 0}, "layers must be from 1 to the teacher's 6, not 0"),
        ({"layers": 7}, "not 7"),
        ({"take": [0, 6]}, "from 0 to 5"),
        ({"take": [1, 1]}, "different layers"),
        ({"hidden": 20}, "multiple of the teacher's 16"),
        ({"take": [1], "hidden": 16}, "none are"),
    ],
)
def test_what_cannot_be_is_one_line(words, said):
    with pytest.raises(RequestError, match=said):
        nbpeft.make_student(FAMILIES["llama"](), **words)


def test_no_model_is_no_teacher():
    with pytest.raises(ModelError, match="transformers model is wanted"):
        nbpeft.make_student("big")
