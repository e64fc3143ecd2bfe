"""Reward models: the loss is TRL's, pairs are ranked, texts are scored on the one base."""

from __future__ import annotations

import copy

import pytest
import torch
from datasets import Dataset
from transformers import LlamaForSequenceClassification
from trl import RewardConfig, RewardTrainer

import nbpeft
from nbpeft.errors import RequestError
from nbpeft.objectives import objectives
from nbpeft.places import watch
from nbpeft.scoring import Rater
from nbpeft.session import current

ROWS = 24
"""As many pairs as most tests need."""


@pytest.fixture(scope="session")
def pairs():
    return nbpeft.load_data("polite").to_list()


def swapped(rows):
    return [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]


def reward(tune, name, rows, **words):
    given = {"objective": "reward", "data": rows, "learning_rate": 3e-3} | words
    return tune(name, **given).record


@pytest.mark.parametrize("method", ["lora", "head"])
def test_the_plainer_answers_are_ranked_higher_where_they_were_chosen(tune, pairs, method):
    """A head as it is drawn likes the longer answers, so that these pairs are all to be learned."""
    record = reward(tune, "r", swapped(pairs), method=method, max_steps=30, eval=40)
    assert record.metrics["held_out_accuracy_before"] <= 0.5
    assert record.metrics["held_out_accuracy"] >= 0.9
    assert record.metrics["held_out_reward_margin"] > 0.5
    kept = {name: p.detach().clone() for name, p in tune.model.named_parameters()}
    found = nbpeft.score(
        "r", data=swapped(pairs[:20]), pairwise=True, model=tune.model, tokenizer=tune.tokenizer
    )
    assert found.accuracy >= 0.9
    assert found.to_pandas().margin.tolist() == list(found.margins)
    assert all(torch.equal(p, kept[name]) for name, p in tune.model.named_parameters())


def test_the_loss_is_trls(tiny_pair, pairs, tmp_path):
    """On the same rows, weights and head, with the term that keeps scores about zero."""
    model, tokenizer = tiny_pair
    rows = objectives.get("reward").rows(
        nbpeft.data.read(pairs[:6], {}), tokenizer, columns=None, eval=0, max_length=256,
        loss_on="answers",
    )  # fmt: skip
    classifier = LlamaForSequenceClassification(copy.deepcopy(model.config)).eval()
    classifier.config.num_labels = 1
    classifier.score = torch.nn.Linear(model.config.hidden_size, 1, bias=False)
    classifier.model.load_state_dict(model.model.state_dict())
    classifier.config.pad_token_id = tokenizer.pad_token_id
    theirs = _trls(classifier, tokenizer, rows.train, tmp_path)
    ours = _own(model, classifier.score.weight, rows.train, tokenizer)
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert ours != pytest.approx(0.6931, abs=1e-3)  # that of scores that are all alike


def _arguments(folder):
    return RewardConfig(
        output_dir=str(folder), use_cpu=True, report_to="none", bf16=False, disable_tqdm=True,
        center_rewards_coefficient=0.1, per_device_train_batch_size=6, remove_unused_columns=False,
    )  # fmt: skip


def _trls(classifier, tokenizer, rows, folder):
    data = Dataset.from_list(
        [{"chosen_ids": r["input_ids"], "rejected_ids": r["rejected_input_ids"]} for r in rows]
    )
    trainer = RewardTrainer(
        model=classifier, args=_arguments(folder), train_dataset=data, processing_class=tokenizer
    )
    trainer.model.eval()
    batch = trainer.data_collator([dict(row) for row in data])
    with torch.no_grad():
        return float(trainer.compute_loss(classifier, batch))


def _own(model, weight, rows, tokenizer):
    from nbpeft.mounts import Outputs, heads
    from nbpeft.mounts.headed import PLACE, config_of
    from nbpeft.seam.probe import choose

    head = heads.build(model, config_of(model, Outputs(1))).head
    with torch.no_grad():
        head.only.weight.copy_(weight)
        head.only.bias.zero_()
    model._modules[PLACE] = head
    trainer = objectives.get("reward").trainer_class()(
        model=model, args=_arguments("unused"), train_dataset=rows,
        data_collator=objectives.get("reward").batch(tokenizer),
    )  # fmt: skip
    trainer.take(choose(model, longest=None), grouped=False)
    batch = trainer.data_collator([dict(row) for row in rows])
    assert "attention_mask" not in batch, "packed"
    model.eval()
    with torch.no_grad(), trainer.reader.over(batch):
        return float(trainer.compute_loss(model, batch))


def test_packed_pairs_and_padded_ones_have_the_same_scores(tiny_pair, pairs):
    from nbpeft.seam.features import PackedReader, PaddedReader, reader_of
    from nbpeft.seam.probe import choose

    model, tokenizer = tiny_pair
    texts = [tokenizer(row["chosen"][0]["content"])["input_ids"] for row in pairs[:5]]
    packed, padded = reader_of(model, choose(model, longest=None)), reader_of(model)
    assert isinstance(packed, PackedReader)
    assert isinstance(padded, PaddedReader)
    found = []
    for reader in (packed, padded):
        batch = reader.layout(texts)
        with torch.no_grad(), reader.over(batch):
            found.append(reader.features(batch, "last"))
    assert torch.allclose(*found, atol=1e-4)
    alone = reader_of(model).layout(texts[:1])
    with torch.no_grad():
        assert torch.allclose(padded.features(alone, "last")[0], found[0][0], atol=1e-4)


@pytest.fixture
def rater(tune, pairs):
    record = reward(tune, "r", pairs[:ROWS])
    return Rater(current(), current().handle(tune.model), record, tune.tokenizer)


TEXTS = [[5, 9, 30, 7], [40, 41], list(range(50, 75))]


def test_scores_of_token_ids_do_not_hang_on_the_others_in_a_batch(rater, tune):
    tune.model.train()
    together = rater.rate(TEXTS)
    assert tune.model.training
    assert together == pytest.approx([rater.rate([text])[0] for text in TEXTS], abs=1e-4)
    assert len(set(together)) == 3


def test_a_rater_answers_while_another_adapter_is_trained(tune, pairs, monkeypatch):
    """Of the same base, whose adapter in training is put aside by its pointers."""
    record = reward(tune, "r", pairs[:ROWS])
    handle = current().handle(tune.model)
    rater = Rater(current(), handle, record, tune.tokenizer)
    alone = rater.rate(TEXTS)
    found = []
    original = watch.Watch.on_step_end

    def on_step_end(self, args, state, control, **words):
        with self.job.reference():
            found.append(rater.rate(TEXTS))
        return original(self, args, state, control, **words)

    monkeypatch.setattr(watch.Watch, "on_step_end", on_step_end)
    tune("other", learning_rate=1e-2)
    assert found == [pytest.approx(alone, abs=1e-5)] * 3


def test_whoever_has_no_head_gives_no_scores(tune):
    tune("plain")
    with pytest.raises(RequestError, match=r"plain@1 was trained with the objective sft and gives"):
        nbpeft.score("plain", ["hello"], model=tune.model, tokenizer=tune.tokenizer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "There are no texts to score"),
        ({"texts": ["a"], "data": "tiny:polite"}, "Texts are given and data as well"),
        ({"texts": ["a"], "cuont": 3}, "--cuont"),
        ({"data": "tiny:polite", "count": 0}, "count must be at least 1"),
    ],
)
def test_what_cannot_be_scored(tiny_pair, words, message):
    with pytest.raises(RequestError, match=message):
        nbpeft.score("r", model=tiny_pair[0], tokenizer=tiny_pair[1], **words)


def test_a_cell_of_texts_is_scored_as_in_training(tune, pairs, monkeypatch):
    """Prompts are written by the chat template, a line of text as it stands."""
    from nbpeft import variables
    from nbpeft.magics.score import peft_score

    reward(tune, "r", pairs[:ROWS])
    names = {"model": tune.model, "tokenizer": tune.tokenizer}
    monkeypatch.setattr(variables, "namespace", lambda: names)
    row = pairs[0]
    question, answer = row["prompt"][0]["content"], row["chosen"][0]["content"]
    cell = f"- prompt: {question}\n  completion: {answer}\n"
    one = peft_score("r", cell).scores[0]
    pair = nbpeft.score("r", data=[row], pairwise=True)
    assert one == pytest.approx(pair.chosen_scores[0], abs=1e-4)
    assert len(peft_score("r", "Hello there.\n\nGo away.").scores) == 2
    assert "<b>" not in nbpeft.score("r", ["<b>hi</b>"]).table().html()
