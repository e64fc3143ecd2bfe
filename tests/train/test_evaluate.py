"""The loss of several adapters on the same rows."""

from __future__ import annotations

import math

import architectures
import pytest
import torch
from conftest import differences, state_of

import nbpeft
from nbpeft.data import read, tokenize
from nbpeft.errors import AdapterError, ModelError


def by_hand(model, rows):
    """Over all labels alike, one row at a time."""
    losses = []
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, -len(labels) :].log_softmax(-1)
        losses += [-scores[i - 1, label] for i, label in enumerate(labels) if label != -100]
    return float(torch.stack(losses).mean())


def test_it_is_the_mean_over_all_trained_tokens(tune, chats):
    for method in ("lora", "prompt", "full"):
        tune(method, method=method, learning_rate=1e-2)
    rows = chats.select(range(11))
    tokens = tokenize(read(rows, {}), tune.tokenizer, eval=0, max_length=256).train
    before = state_of(tune.model, tune.tokenizer)
    found = nbpeft.evaluate(rows, model=tune.model, tokenizer=tune.tokenizer)
    assert not differences(before, state_of(tune.model, tune.tokenizer))
    assert set(found) == {"base", "lora", "prompt", "full"}
    for name, loss in found.items():
        model = nbpeft.attach(None if name == "base" else name, model=tune.model)
        assert math.isclose(loss, by_hand(model, tokens), rel_tol=1e-4), name
    assert found["lora"] < found["base"]


def test_an_unknown_name_is_refused_first(tune, chats):
    with pytest.raises(AdapterError, match="no adapter"):
        nbpeft.evaluate(chats, ["nobody"], model=tune.model, tokenizer=tune.tokenizer)


def test_of_an_encoder_decoder_every_label_counts(tune):
    model = architectures.build("t5")
    rows = [{"prompt": "Say red.", "completion": "red, red!"}, {"prompt": "b", "completion": "c"}]
    words = {"model": model, "tokenizer": tune.tokenizer}
    found = nbpeft.evaluate(rows, "base", max_length=32, **words)
    tokens = tokenize(read(rows, {}), tune.tokenizer, eval=0, max_length=32, apart=True).train
    total = count = 0
    for row in tokens:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        with torch.no_grad():
            total += float(model.eval()(input_ids=ids, labels=labels).loss) * labels.numel()
        count += labels.numel()
    assert math.isclose(found["base"], total / count, rel_tol=1e-4)


def test_a_model_without_answers_is_refused(tune, chats):
    with pytest.raises(ModelError, match="writes none"):
        nbpeft.evaluate(chats, model=architectures.build("bert"), tokenizer=tune.tokenizer)
