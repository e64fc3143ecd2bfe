"""Who teaches: another model's variable, a folder, or an adapter of the same model."""

from __future__ import annotations

import copy

import architectures
import pytest
import torch
import transformers

import nbpeft
from nbpeft.errors import ModelError, NbPeftError, RequestError
from nbpeft.feedback import Surroundings
from nbpeft.request import Request
from nbpeft.session import current
from nbpeft.session.tokenizers import fits, tokenizer_of
from nbpeft.teaching import refuse_other_vocabulary, teacher_of

IDS = torch.arange(4, 12).unsqueeze(0)


@pytest.fixture
def around(tiny_pair, monkeypatch):
    """`around(teacher, …)`: where a run with that teacher takes place."""
    monkeypatch.setattr(nbpeft.session, "_current", None)
    model, tokenizer = tiny_pair
    big = copy.deepcopy(model)

    def make(teacher=None, live=None, from_=None, **variables):
        session = current()
        return Surroundings(
            request=Request("small", teacher=teacher, from_=from_),
            session=session,
            handle=session.handle(model),
            tokenizer=tokenizer,
            state="as loaded",
            variables={"big": big, "model": model, "tokenizer": tokenizer} | variables,
            live={} if live is None else {"teacher": live},
        )

    make.model, make.big, make.tokenizer = model, big, tokenizer
    return make


def llama(words):
    config = transformers.LlamaConfig(**architectures.GROUPED, vocab_size=words)
    return transformers.LlamaForCausalLM(config).eval()


def test_a_variable(around):
    teacher = teacher_of(around("big"))
    assert teacher.handle.root is around.big
    assert not teacher.own
    assert teacher.vocabulary == 1024
    assert teacher.parameters == around.big.num_parameters()
    assert teacher.bytes == 4 * teacher.parameters
    assert teacher.tokenizer is around.tokenizer


def test_an_object_given_in_python(around):
    other = copy.deepcopy(around.big)
    assert teacher_of(around("teacher", live=other)).handle.root is other


def test_a_folder(around, tmp_path):
    around.big.save_pretrained(tmp_path / "big")
    around.tokenizer.save_pretrained(tmp_path / "big")
    teacher = teacher_of(around(str(tmp_path / "big")))
    assert teacher.vocabulary == 1024
    with torch.no_grad(), teacher.answering() as model:
        torch.testing.assert_close(model(IDS).logits, around.big(IDS).logits)


def test_an_adapter_of_the_student(around):
    nbpeft.attach("own", model=around.model, method="lora", init_lora_weights=False)
    nbpeft.attach(None, model=around.model)
    teacher = teacher_of(around("own"))
    assert teacher.own
    with torch.no_grad():
        base = around.model(IDS).logits
        with teacher.answering() as model:
            assert not torch.equal(model(IDS).logits, base)


def test_another_model_answers_as_what_is_attached_to_it(around):
    nbpeft.attach("own", model=around.big, method="lora", init_lora_weights=False)
    with torch.no_grad(), teacher_of(around("big")).answering() as model:
        assert not torch.equal(model(IDS).logits, around.model(IDS).logits)


@pytest.mark.parametrize("name", ["model", "base"])
def test_the_student_itself_is_no_teacher(around, name):
    with pytest.raises(RequestError, match="both teacher and student"):
        teacher_of(around(name))


def test_nor_is_what_is_around_it(around):
    from peft import LoraConfig, get_peft_model

    model = around.model
    wrapped = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM"))
    with pytest.raises(RequestError, match="both teacher and student"):
        teacher_of(around("wrapped", wrapped=wrapped))


def test_padded_vocabularies_are_the_same(around):
    assert teacher_of(around("padded", padded=llama(1088))).vocabulary == 1024
    wide = teacher_of(around("wide", wide=llama(2048)))
    assert wide.vocabulary is None
    with pytest.raises(RequestError, match=r"sequence.*GOLD"):
        refuse_other_vocabulary(wide, around.tokenizer)


def test_two_tokenizers_are_told_apart_by_their_tokens(around):
    other = copy.deepcopy(around.tokenizer)
    other.name_or_path = "other"
    model = llama(1024)
    model.config._name_or_path = model.name_or_path = "other"
    assert teacher_of(around("same", same=model, theirs=other)).vocabulary == 1024
    other.add_tokens(["<new>"])
    found = teacher_of(around("same", same=model, theirs=other))
    assert found.tokenizer is other
    assert found.vocabulary is None


def test_which_tokenizer_is_a_models(around):
    own = copy.deepcopy(around.tokenizer)
    assert tokenizer_of(llama(1024), {"a": own}) is own
    assert tokenizer_of(llama(4096), {"a": own}) is own
    assert tokenizer_of(llama(4096), {"a": own}, padded=True) is None
    assert tokenizer_of(llama(512), {"a": own}) is None
    assert fits(own, 1024 + 128)
    assert not fits(own, 1024 + 129)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "needs a teacher: type --teacher"),
        ("bog", "Did you mean big"),
        ("tokenizer", "is no model but a"),
        ("./nowhere", "There is no model at"),
    ],
)
def test_nobody_is_one_line(around, name, said):
    with pytest.raises(NbPeftError, match=said) as error:
        teacher_of(around(name))
    assert "\n" not in str(error.value)


def test_what_writes_no_text_is_no_teacher(around):
    with pytest.raises(RequestError, match="doesn't write on"):
        teacher_of(around("reads", reads=architectures.build("bert")))


def test_pickled_weights_are_not_loaded(around, tmp_path):
    around.big.config.save_pretrained(tmp_path)
    torch.save(around.big.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="can't be loaded"):
        teacher_of(around(str(tmp_path)))
