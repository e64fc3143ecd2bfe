"""Classifiers: better than the commonest label, and fitted as scikit-learn fits."""

from __future__ import annotations

import json

import architectures
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from sklearn.preprocessing import StandardScaler

import nbpeft
from nbpeft.errors import RequestError
from nbpeft.mounts import heads
from nbpeft.objectives._classify import macro_f1
from nbpeft.objectives._fitted import logistic

MARGIN = 0.2
"""By how much a classifier has to beat the commonest label."""


def classify(tune, name="c", **words):
    return tune(name, **{"objective": "classify", **words}).record


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("lora", {"max_steps": 60, "learning_rate": 3e-3, "batch_size": 16}),
        ("head-dense", {"epochs": 15, "max_steps": None, "learning_rate": 3e-3}),
    ],
)
def test_it_beats_the_commonest_label(tune, method, words):
    record = classify(tune, method=method, eval=100, **words)
    confusion = np.array(record.findings["confusion"])
    commonest = confusion.sum(1).max() / confusion.sum()
    assert confusion.sum() == 100
    assert record.metrics["held_out_accuracy"] == pytest.approx(confusion.trace() / 100)
    assert record.metrics["held_out_accuracy"] >= commonest + MARGIN
    assert record.findings["labels"] == ["negative", "positive"]
    found = nbpeft.predict(
        "c", ["I loved the play.", "I hated the play."], model=tune.model, tokenizer=tune.tokenizer
    )
    assert found.labels == ("positive", "negative")


@pytest.mark.parametrize("labels", [2, 3])
def test_one_layer_is_what_scikit_learn_fits(tune, labels):
    """Its probabilities are those of a pipeline of scikit-learn's on the same features."""
    names = ("bad", "fair", "good")[:labels]
    rows = [
        {"text": row["text"], "label": names[number % labels]}
        for number, row in enumerate(nbpeft.load_data("sentiment").to_list()[:90])
    ]
    kept = {name: p.detach().clone() for name, p in tune.model.named_parameters()}
    record = classify(tune, method="head", data=rows, eval=0, max_steps=None)
    assert all(torch.equal(p, kept[name]) for name, p in tune.model.named_parameters())
    texts = [row["text"] for row in rows]
    features = torch.stack([feature(tune, text) for text in texts]).double().numpy()
    scaler = StandardScaler().fit(features)
    theirs = LogisticRegression(C=record.findings["C"], max_iter=1000)
    theirs.fit(scaler.transform(features), [row["label"] for row in rows])
    ours = nbpeft.predict("c", texts, model=tune.model, tokenizer=tune.tokenizer)
    assert ours.names == names == tuple(theirs.classes_)
    expected = theirs.predict_proba(scaler.transform(features))
    assert np.allclose(np.array(ours.probabilities), expected, atol=5e-3)
    assert record.metrics["steps"] == theirs.n_iter_.max() == record.losses[-1][0]
    assert record.metrics["accuracy"] == pytest.approx(
        theirs.score(scaler.transform(features), [row["label"] for row in rows])
    )


def feature(tune, text):
    ids = torch.tensor([tune.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        return tune.model.model(input_ids=ids).last_hidden_state[0, -1]


def test_iterations_are_planned_and_can_be_limited(tune):
    run = tune("c", objective="classify", method="head", max_steps=2)
    assert (run.plan.steps, run.record.metrics["steps"]) == (2, 2)
    assert any("scikit-learn" in note for note in run.plan.notes)
    assert (
        tune("d", objective="classify", method="head", max_steps=None, dry_run=True).plan.steps > 2
    )


def test_features_of_a_frozen_body_are_computed_once(tune, monkeypatch):
    """As many texts as there are go through the body, and no more in five epochs."""
    read = []
    body = tune.model.model
    hook = body.register_forward_pre_hook(
        lambda _, __, words: read.append(len(words["input_ids"])), with_kwargs=True
    )
    classify(tune, method="head-dense", data=nbpeft.load_data("sentiment").to_list()[:48],
             eval=8, epochs=5, max_steps=None)  # fmt: skip
    hook.remove()
    assert sum(read) == 48


def test_labels_that_no_row_has_are_never_given():
    rows = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    line = logistic(rows, [0 if row[0] < 0 else 2 for row in rows], 100)
    assert line.classes.tolist() == [0, 2]
    assert line.weight.shape == (1, 5)


def test_what_is_learned_by_heart_is_held_back():
    """Of 200 features one says something: unseen rows are likelier than under scikit-learn's C."""
    source = torch.Generator().manual_seed(0)
    rows, unseen = torch.randn(2, 120, 200, generator=source)
    told, right = ((some[:, 0] > 0).int().tolist() for some in (rows, unseen))
    line = logistic(rows, told, 1000)
    plain = LogisticRegression(max_iter=1000).fit(rows.numpy(), told)
    share = 1 / (1 + np.exp(-(unseen.numpy() @ line.weight[0] + line.bias)))
    assert line.strength < 1
    assert log_loss(right, share) < log_loss(right, plain.predict_proba(unseen.numpy())) - 0.05


def test_macro_f1_is_scikit_learns():
    true = [0, 0, 0, 1, 1, 2, 2, 2, 2]
    taken = [0, 1, 0, 1, 1, 0, 2, 2, 1]
    confusion = torch.zeros(4, 4, dtype=torch.long)  # the fourth label doesn't occur
    for one, other in zip(true, taken, strict=True):
        confusion[one, other] += 1
    assert macro_f1(confusion) == pytest.approx(f1_score(true, taken, average="macro"))


@pytest.mark.parametrize("method", ["lora", "full", "head", "bottleneck", "prompt"])
def test_an_encoder_is_trained(tiny_pair, method):
    """By the mean of its tokens; padding and the other texts of a batch don't matter."""
    _, tokenizer = tiny_pair
    model = architectures.build("bert")
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    run = nbpeft.finetune(
        "c", "tiny:sentiment", model=model, tokenizer=tokenizer, objective="classify",
        method=method, max_steps=3, eval=8, batch_size=4, fit="off", learning_rate=1e-2,
    )  # fmt: skip
    assert all(torch.equal(p, kept[name]) for name, p in model.named_parameters())
    texts = ["I loved the play.", "The room was dull and the market was terrible."]
    found = [
        nbpeft.predict("c", some, model=model, tokenizer=tokenizer).probabilities
        for some in (texts, texts[:1], texts[1:])
    ]
    assert np.allclose(found[0], (*found[1], *found[2]), atol=1e-5)
    config = json.loads((run.record.path / heads.CONFIG).read_text())
    assert config["pooling"] == "mean"
    assert load_file(run.record.path / heads.WEIGHTS)["1.weight"].shape == (2, 32)


def test_a_picture_closes_the_run(tune, events):
    classify(tune)
    finished = events[-1]
    assert finished.picture.startswith(b"\x89PNG")
    rows = dict(finished.summary)
    assert rows["always 'negative'" if "always 'negative'" in rows else "always 'positive'"]
    assert "held-out macro F1" in rows


def test_a_classifier_gives_labels_and_no_scores(tune):
    classify(tune)
    words = {"model": tune.model, "tokenizer": tune.tokenizer}
    rows = [{"text": "I loved it.", "label": "positive"}, {"text": "Dull.", "label": "negative"}]
    found = nbpeft.score("c", data=rows, **words)
    assert found.expected == ("positive", "negative")
    assert found.accuracy in (0.0, 0.5, 1.0)
    frame = found.to_pandas()
    assert list(frame.columns) == ["text", "label", "expected", "negative", "positive"]
    assert np.allclose(frame.negative + frame.positive, 1)
    with pytest.raises(RequestError, match="c@1 gives labels and no scores; leave --pairwise out"):
        nbpeft.score("c", rows, pairwise=True, **words)
    tune("r", objective="reward")
    with pytest.raises(RequestError, match=r"r@1 gives scores and no labels: nbpeft.score"):
        nbpeft.predict("r", ["hello"], **words)
