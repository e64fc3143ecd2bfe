"""T5 through a whole cell: its losses, samples, answers and adapters are transformers' own."""

from __future__ import annotations

import copy

import architectures
import pytest
import torch
from peft import PeftModel
from tokenizers import processors
from torch.nn.functional import cross_entropy

import nbpeft
from nbpeft.errors import RequestError
from nbpeft.events import Progressed, Sampled

WORDS = ("red", "green", "blue and white", "one", "two", "three or four", "five", "a long one")
ROWS = [{"prompt": f"Say {w}, please.", "completion": f"{w}!"} for w in WORDS]
TRAIN, HELD_OUT = ROWS[:4], ROWS[4:]


@pytest.fixture
def t5():
    return architectures.build("t5")


@pytest.fixture
def tokenizer(_tiny):
    """The tiny one as T5's is: without a chat template, and with the end token after every text."""
    tokenizer = copy.deepcopy(_tiny[1])
    tokenizer.chat_template = None
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return tokenizer


@pytest.fixture
def tune(t5, tokenizer):
    def call(name, **words):
        given = {"data": TRAIN, "eval": HELD_OUT, "max_steps": 1, "batch_size": 4} | words
        return nbpeft.finetune(name, model=t5, tokenizer=tokenizer, **given)

    return call


def loss_of(model, tokenizer, rows):
    """Nats a trained token, each row by itself: nothing is padded."""
    total, count = 0.0, 0
    for row in rows:
        labels = torch.tensor([tokenizer(row["completion"])["input_ids"]])
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(row["prompt"])["input_ids"]]), labels=labels)
        total += float(cross_entropy(logits.logits[0], labels[0], reduction="sum"))
        count += labels.shape[1]
    return total / count


def test_losses_are_nats_a_trained_token(t5, tokenizer, tune):
    run = tune("one", learning_rate=1e-2)
    assert run.record.losses[0][1] == pytest.approx(loss_of(t5, tokenizer, TRAIN), rel=1e-4)
    before = loss_of(t5, tokenizer, HELD_OUT)
    assert run.metrics["held_out_loss_before"] == pytest.approx(before, rel=1e-4)
    nbpeft.attach("one", model=t5)
    after = loss_of(t5, tokenizer, HELD_OUT)
    assert after != pytest.approx(before, rel=1e-4)
    assert run.metrics["held_out_loss"] == pytest.approx(after, rel=1e-4)


def test_accumulated_batches_are_one_step_over_all_their_tokens(t5, tune):
    """Of different lengths; by SGD and not clipped, so that the size of the gradient counts."""
    step = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 10.0, "eval": 0}
    whole = tune("whole", **step)
    parts = tune("parts", batch_size=1, gradient_accumulation_steps=4, **step)
    assert parts.record.losses[0][1] == pytest.approx(whole.record.losses[0][1], rel=1e-4)
    weights = {}
    for name in ("whole", "parts"):
        nbpeft.attach(name, model=t5)
        weights[name] = [p.detach().clone() for p in t5.parameters() if p.requires_grad]
        nbpeft.attach(None, model=t5)
    for first, second in zip(weights["whole"], weights["parts"], strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5)


def test_tokens_of_both_sides_are_counted(tokenizer, tune, events):
    run = tune("one", max_steps=2, eval=0)
    sides = [*tokenizer([r["prompt"] for r in TRAIN])["input_ids"]]
    sides += tokenizer([r["completion"] for r in TRAIN])["input_ids"]
    assert run.plan.tokens == sum(map(len, sides))
    told = [event.tokens for event in events if isinstance(event, Progressed)]
    assert told == [run.plan.tokens, 2 * run.plan.tokens]


def plainly(model, tokenizer, prompt, **how):
    """As the documentation of transformers asks a T5."""
    output = model.generate(torch.tensor([tokenizer(prompt)["input_ids"]]), num_beams=1, **how)
    return tokenizer.decode(output[0], skip_special_tokens=True).strip()


def test_the_sample_is_the_model_s_answer(t5, tokenizer, tune, events):
    expected = plainly(t5, tokenizer, HELD_OUT[0]["prompt"], max_new_tokens=40)
    tune("one", learning_rate=1e-2)
    nbpeft.attach("one", model=t5)
    after = plainly(t5, tokenizer, HELD_OUT[0]["prompt"], max_new_tokens=40)
    samples = [event for event in events if isinstance(event, Sampled)]
    assert [(s.step, s.prompt, s.text) for s in samples] == [
        (0, HELD_OUT[0]["prompt"], expected),
        (1, HELD_OUT[0]["prompt"], after),
    ]
    assert after != expected


def test_answers_are_those_of_each_adapter_asked_alone(t5, tokenizer, tune):
    """Prompts of several lengths go in one batch; the adapters one after another."""
    tune("one", max_steps=6, learning_rate=1e-2)
    tune("two", max_steps=6, learning_rate=2e-2, seed=3)
    prompts = ["Say red.", "Please say something long and clever about four things.", "Say two."]
    names = ["base", "one", "two"]
    found = nbpeft.compare(names, prompts, model=t5, tokenizer=tokenizer, max_new_tokens=12)
    for place, name in enumerate(names):
        nbpeft.attach(None if name == "base" else name, model=t5)
        alone = [plainly(t5, tokenizer, prompt, max_new_tokens=12) for prompt in prompts]
        assert [row[place] for row in found.answers] == alone
        assert found.figures[name].together == 1
    assert len({row[1] for row in found.answers} | {row[0] for row in found.answers}) > 1


def test_the_base_is_asked_with_the_end_token_and_its_answer_counted_without_the_start(
    t5, tokenizer
):
    prompts = ["Say red.", "Please say something long and clever about four things.", "Say two."]
    given = []
    t5.encoder.register_forward_pre_hook(
        lambda _, __, words: given.append(words["input_ids"]), with_kwargs=True
    )
    found = nbpeft.compare("base", prompts, model=t5, tokenizer=tokenizer, max_new_tokens=12)
    by_length = sorted(prompts, key=lambda prompt: len(tokenizer(prompt)["input_ids"]))
    expected = tokenizer(by_length, padding=True, padding_side="right", return_tensors="pt")
    assert torch.equal(given[0], expected["input_ids"])
    assert found.figures["base"].new_tokens == 3 * 12


def test_an_adapter_loads_with_plain_peft(t5, tokenizer, tune):
    record = tune("one", learning_rate=1e-2).record
    nbpeft.attach("one", model=t5)
    expected = loss_of(t5, tokenizer, ROWS)
    plain = PeftModel.from_pretrained(architectures.build("t5"), str(record.path))
    assert loss_of(plain, tokenizer, ROWS) == expected


def test_a_run_goes_on_from_an_adapter(t5, tokenizer, tune):
    tune("one", max_steps=3, learning_rate=1e-2)
    nbpeft.attach("one", model=t5)
    reached = loss_of(t5, tokenizer, TRAIN)
    nbpeft.attach(None, model=t5)
    run = tune("two", from_="one", learning_rate=1e-2)
    assert run.record.losses[0][1] == pytest.approx(reached, rel=1e-4)


def test_label_smoothing_and_checkpointing_train_as_well(t5, tune):
    plain = tune("plain", max_steps=2, learning_rate=1e-2)
    checkpointed = tune("saving", max_steps=2, learning_rate=1e-2, gradient_checkpointing=True)
    assert checkpointed.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=1e-5)
    smooth = tune("smooth", max_steps=2, learning_rate=1e-2, label_smoothing_factor=0.2)
    assert smooth.metrics["loss"] != pytest.approx(plain.metrics["loss"], rel=1e-3)


def test_a_look_reads_as_the_kernel_s_t5_does(t5, tokenizer):
    found = nbpeft.look(ROWS, model=t5, tokenizer=tokenizer)
    assert "the encoder reads the prompt" in " ".join(found.notes)
    assert found.trained_tokens == sum(len(tokenizer(r["completion"])["input_ids"]) for r in ROWS)
    assert found.max_length == 1024


def test_what_only_trl_s_trainer_does_is_refused(tune):
    with pytest.raises(RequestError, match=r"^loss_type is set by nbpeft itself"):
        tune("one", loss_type="dft")


def test_eva_begins_from_prompts_and_answers_of_other_lengths(tune, t5):
    rows = [*ROWS, {"prompt": "Go on.", "completion": "and on " * 9}]
    tune("explained", method="lora", init_lora_weights="eva", rank=2, data=rows, eval=0)
    before = {name: p.detach().clone() for name, p in t5.named_parameters()}
    nbpeft.attach("explained", model=t5)
    nbpeft.attach(None, model=t5)
    assert all(torch.equal(p, before[name]) for name, p in t5.named_parameters())
