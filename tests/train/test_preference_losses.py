"""The losses over preferences are TRL's, on the same tokens and the same weights."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from nbpeft.objectives import objectives
from nbpeft.objectives._dpo_losses import DIVERGENCES, LOSSES, dpo_loss
from nbpeft.objectives._pairs import PairBatch, Sides
from nbpeft.objectives._policy import Policy, numbered
from nbpeft.objectives.cpo import cpo_loss
from nbpeft.objectives.kto import RatedBatch, mismatched
from nbpeft.objectives.orpo import orpo_loss
from nbpeft.seam.packing import Branched, Packed
from nbpeft.seam.probe import choose

ROWS = [
    {"prompt": "What is red?", "chosen": " The apple is red.", "rejected": " I do not know."},
    {"prompt": "Who is it?", "chosen": " It is Tom, the son of Anna.", "rejected": " Nobody."},
    {"prompt": "Where is the cat now?", "chosen": " Here.", "rejected": " The cat is far away."},
    {"prompt": "Hello", "chosen": " Hello to you, my friend.", "rejected": " Go away."},
]
QUIET = {
    "report_to": "none",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": len(ROWS),
    "max_length": 64,
}


@pytest.fixture(scope="module")
def policy(_tiny):
    """The tiny model with a LoRA that has learned something, if nonsense."""
    import copy

    model = get_peft_model(
        copy.deepcopy(_tiny[0]), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return model.eval()


@pytest.fixture(scope="module")
def trl(policy, _tiny, tmp_path_factory):
    args = DPOConfig(str(tmp_path_factory.mktemp("dpo")), **QUIET)
    return against_the_base(DPOTrainer, policy, args, ROWS, _tiny[1])


def against_the_base(kind, policy, args, rows, tokenizer):
    """TRL's trainer, whose reference is the base and not the adapter as it is."""
    trainer = kind(
        policy, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    policy.delete_adapter("ref")
    policy.eval()
    return trainer


@pytest.fixture(scope="module")
def batch(trl):
    return trl.data_collator([trl.train_dataset[i] for i in range(len(ROWS))])


def answers(batch, prefix=""):
    """TRL's padded rows as nbpeft's, those of one prompt beginning alike."""
    ids, mask = batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"].bool()
    trained = batch[f"{prefix}completion_mask"].bool()
    rows = []
    for tokens, there, answer in zip(ids, mask, trained, strict=True):
        labels = torch.where(answer, tokens, -100)[there].tolist()
        rows.append({"input_ids": tokens[there].tolist(), "labels": labels, "shared": 0})
    return rows


def pairs(batch):
    chosen, rejected = torch.arange(2 * len(ROWS)).view(2, -1).tolist()
    rows = answers(batch)
    return [
        {
            **rows[c],
            "rejected_input_ids": rows[r]["input_ids"],
            "rejected_labels": rows[r]["labels"],
            "shared": next(i for i, label in enumerate(rows[c]["labels"]) if label >= 0),
        }
        for c, r in zip(chosen, rejected, strict=True)
    ]


class Sums(Policy):
    """Of the trainer only what sums up scores."""

    def __init__(self):
        self.accelerator = SimpleNamespace(autocast=torch.no_grad)


@functools.cache
def scorer_of(policy):
    return choose(policy, longest=64).scorer


def sides(policy, rows, layout):
    collate = PairBatch()
    collate.layout = layout
    made = collate(rows)
    found = []
    scorer = scorer_of(policy)
    for context in (torch.no_grad(), policy.disable_adapter()):
        with context, torch.no_grad(), scorer.over(made):
            found.append(Sums().sums(scorer, made).view(-1, 2))
    ours, reference = found
    tokens = made["counts"].view(-1, 2)
    return Sides(*ours.T, *tokens.T, *reference.T)


@pytest.mark.parametrize("layout", [Packed(), Branched()], ids=["packed", "branched"])
def test_sums_are_those_of_the_padded_rows(policy, batch, layout):
    found = sides(policy, pairs(batch), layout)
    with torch.no_grad():
        logits = policy(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logs = logits.log_softmax(-1)[:, :-1].gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    sums = (logs * batch["completion_mask"][:, 1:]).sum(-1)
    torch.testing.assert_close(torch.cat([found.chosen, found.rejected]), sums, atol=1e-4, rtol=0)
    assert (found.chosen_tokens == batch["completion_mask"][: len(ROWS), 1:].sum(-1)).all()


def test_a_prompt_is_there_once(batch):
    rows = pairs(batch)
    collate = PairBatch()
    collate.layout = Branched()
    total = sum(len(r["input_ids"]) + len(r["rejected_input_ids"]) - r["shared"] for r in rows)
    assert collate(rows)["input_ids"].shape == (1, total)


SMOOTH = {"exo_pair": 1e-3, "robust": 0.2, "aot": 0.1, "aot_unpaired": 0.1}


@pytest.mark.parametrize("name", LOSSES)
def test_dpo(trl, policy, batch, name):
    trl.args.loss_type, trl.args.label_smoothing = [name], SMOOTH.get(name, 0.0)
    trl.loss_types, trl.loss_weights, trl.label_smoothing = [name], [1.0], trl.args.label_smoothing
    with torch.no_grad():
        theirs = trl._compute_loss(policy, batch, return_outputs=False)
    ours = dpo_loss(sides(policy, pairs(batch), Branched()), trl.args)
    torch.testing.assert_close(ours.loss, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_f_divergences(trl, policy, batch, name, monkeypatch):
    trl.args.loss_type, trl.loss_types, trl.loss_weights = ["sigmoid"], ["sigmoid"], [1.0]
    for owner in (trl, trl.args):
        monkeypatch.setattr(owner, "f_divergence_type", name)
        monkeypatch.setattr(owner, "f_alpha_divergence_coef", 0.5)
    with torch.no_grad():
        theirs = trl._compute_loss(policy, batch, return_outputs=False)
    ours = dpo_loss(sides(policy, pairs(batch), Branched()), trl.args)
    torch.testing.assert_close(ours.loss, theirs, atol=1e-4, rtol=1e-4)


def cpo_args(**words):
    defaults = {
        "alpha": 0.0, "beta": 0.1, "loss_type": "sigmoid", "simpo_gamma": 0.5, "cpo_alpha": 1.0,
        "label_smoothing": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**defaults | words, accelerator=SimpleNamespace(device="cpu"))


@pytest.mark.parametrize(
    "words",
    [
        {"loss_type": "sigmoid", "label_smoothing": 0.1},
        {"loss_type": "hinge"},
        {"loss_type": "ipo"},
        {"loss_type": "simpo", "cpo_alpha": 0.0},
        {"loss_type": "simpo", "alpha": 0.5},
    ],
    ids=["sigmoid", "hinge", "ipo", "simpo", "alphapo"],
)
def test_cpo(policy, batch, words):
    args = cpo_args(**words)
    found = sides(policy, pairs(batch), Branched())
    each = [found.chosen, found.rejected]
    if args.loss_type in ("ipo", "simpo"):
        each = [found.chosen / found.chosen_tokens, found.rejected / found.rejected_tokens]
    losses, chosen, rejected = CPOTrainer.cpo_loss(args, *each)
    likely = -found.chosen.sum() / found.chosen_tokens.sum()
    ours = cpo_loss(found, args)
    torch.testing.assert_close(ours.loss, losses.mean() + args.cpo_alpha * likely)
    torch.testing.assert_close(ours.chosen_rewards, chosen)
    torch.testing.assert_close(ours.rejected_rewards, rejected)


def test_orpo(policy, batch):
    args = cpo_args()
    found = sides(policy, pairs(batch), Branched())
    each = [found.chosen / found.chosen_tokens, found.rejected / found.rejected_tokens]
    losses, *_ = ORPOTrainer.odds_ratio_loss(args, *each)
    likely = -found.chosen.sum() / found.chosen_tokens.sum()
    torch.testing.assert_close(orpo_loss(found, args).loss, likely - losses.mean())


RATED = [
    {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
    for row, side in zip(ROWS, ["chosen", "rejected", "rejected", "chosen"], strict=True)
]


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_kto(policy, tiny_pair, tmp_path, name):
    args = KTOConfig(str(tmp_path), loss_type=name, desirable_weight=1.5, **QUIET)
    trl = against_the_base(KTOTrainer, policy, args, RATED, tiny_pair[1])
    theirs_in = trl.data_collator([trl.train_dataset[i] for i in range(len(RATED))])
    with torch.no_grad():
        theirs = trl._compute_loss(policy.eval(), theirs_in, return_outputs=False)

    rows = [
        {**row, "good": rated["label"]}
        for row, rated in zip(answers(theirs_in), RATED, strict=True)
    ]
    rows = [{k: v for k, v in row.items() if k != "shared"} for row in rows]
    made = mismatched(numbered(Dataset.from_list(rows)), 64)
    collate = RatedBatch()
    collate.layout = Packed()
    batch = collate(list(made))
    kind = objectives.get("kto").trainer_class()
    trainer = kind.__new__(kind)
    trainer.__dict__.update(
        args=args, model=policy, accelerator=SimpleNamespace(autocast=torch.no_grad),
        scorer=choose(policy, longest=64).scorer, choice=choose(policy, longest=64),
        _known={}, _measured={"train": {}, "eval": {}}, _tokens=0,
        train_dataset=made, eval_dataset=made,
        reference=lambda: _without_adapter(policy),
    )  # fmt: skip
    with torch.no_grad(), trainer.scorer.over(batch):
        ours = trainer.compute_loss(policy, batch)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def _without_adapter(policy):
    import contextlib

    @contextlib.contextmanager
    def base():
        with policy.disable_adapter():
            yield policy

    return base()
