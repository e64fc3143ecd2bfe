"""A teacher into a student: what it says is learned, and asked once."""

from __future__ import annotations

import copy
import random
import shutil

import architectures
import pytest
import torch
import transformers
from conftest import differences, logits, state_of
from trl import DistillationConfig, DistillationTrainer

import nbpeft
from nbpeft.errors import NbPeftError
from nbpeft.objectives import _distilling
from nbpeft.objectives._matching import apart_of, attending, layer_map
from nbpeft.objectives._teaching import Teaching
from nbpeft.tiny.score import items

QUICK = {"max_steps": 2, "eval": 8, "batch_size": 4, "fit": "off", "baseline": "off"}


def rows_of(skills, count, seed=11):
    pairs = [pair for skill in skills for pair in items(skill, count, seed)]
    rows = [
        {"prompt": asked, "completion": [{"role": "assistant", "content": answer}]}
        for asked, answer in pairs
    ]
    random.Random(0).shuffle(rows)
    return rows


@pytest.fixture(scope="session")
def known():
    """Rows that the embedded model knows."""
    return rows_of(("reading", "facts"), 16)


@pytest.fixture
def distill(tiny_pair, known):
    """`distill("name", …)`: a short run of a student of two layers."""
    big, tokenizer = tiny_pair

    def call(name="small", **words):
        usual = {"teacher": call.big, "student": call.little, "data": known, "learning_rate": 1e-3}
        return nbpeft.distill(name, tokenizer=tokenizer, **QUICK | usual | words)

    call.big, call.tokenizer = big, tokenizer
    call.little = nbpeft.make_student(big, layers=2)
    return call


def test_it_beats_hard_labels_for_three_seeds(tiny_pair):
    big, tokenizer = tiny_pair
    data, held_out = rows_of(("reading", "facts"), 60), rows_of(("reading", "facts"), 20, seed=5)
    for seed in (1, 2, 3):
        student = nbpeft.make_student(big, layers=3)
        found = {}
        for name in ("taught", "alone"):
            how = {"objective": "sft"} if name == "alone" else {
                "objective": "knowledge-distillation", "teacher": big, "baseline": "off",
                "hard_label_weight": 0.3,
            }  # fmt: skip
            run = nbpeft.finetune(
                name, data, model=student, tokenizer=tokenizer, method="full", eval=held_out,
                max_steps=40, learning_rate=5e-3, batch_size=16, seed=seed, fit="off", **how,
            )  # fmt: skip
            key = "held_out_loss" if name == "alone" else "held_out_loss_on_the_answers"
            found[name] = run.metrics[key]
        assert found["taught"] < found["alone"]


def test_both_models_stay_as_they_were(distill):
    before = [state_of(model, distill.tokenizer) for model in (distill.big, distill.little)]
    distill()
    after = [state_of(model, distill.tokenizer) for model in (distill.big, distill.little)]
    assert [differences(*pair) for pair in zip(before, after, strict=True)] == [[], []]
    plain = logits(distill.little)
    assert not torch.equal(logits(nbpeft.attach("small", model=distill.little)), plain)


def test_both_are_as_they_were_after_a_failure(distill, monkeypatch):
    before = [state_of(model, distill.tokenizer) for model in (distill.big, distill.little)]

    def broken(self, rows, split):
        raise RuntimeError("no room")

    monkeypatch.setattr(_distilling.Distilling, "lessons", broken)
    with pytest.raises(RuntimeError, match="no room"):
        distill()
    after = [state_of(model, distill.tokenizer) for model in (distill.big, distill.little)]
    assert [differences(*pair) for pair in zip(before, after, strict=True)] == [[], []]


def test_a_second_epoch_and_a_second_run_ask_the_teacher_nothing(distill, monkeypatch):
    read = []
    summaries = Teaching.summaries

    def counted(self, lessons):
        read.extend(lessons)
        return summaries(self, lessons)

    monkeypatch.setattr(Teaching, "summaries", counted)
    first = distill(max_steps=14)  # three epochs of six steps and more
    assert len(read) == 32
    again = distill(max_steps=14)
    assert len(read) == 32
    assert again.record.losses == first.record.losses


def test_a_teacher_that_was_trained_meanwhile_is_asked_anew(distill, monkeypatch):
    """An adapter of the user's own loop keeps its name."""
    teacher = nbpeft.make_student(distill.big, layers=6)
    nbpeft.attach("own", model=teacher, method="lora", init_lora_weights=False)
    read = []
    summaries = Teaching.summaries

    def counted(self, lessons):
        read.extend(lessons)
        return summaries(self, lessons)

    monkeypatch.setattr(Teaching, "summaries", counted)
    distill(teacher=teacher)
    distill(teacher=teacher)
    assert len(read) == 32
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1)
    distill(teacher=teacher)
    assert len(read) == 64


def test_a_stopped_run_goes_on(distill, stopped_at):
    whole = distill("whole", max_steps=4)
    before = [state_of(model, distill.tokenizer) for model in (distill.big, distill.little)]
    with stopped_at(2, match="stopped"):
        distill("parts", max_steps=4)
    after = [state_of(model, distill.tokenizer) for model in (distill.big, distill.little)]
    assert [differences(*pair) for pair in zip(before, after, strict=True)] == [[], []]
    rest = distill("parts", max_steps=4, resume=True)
    assert rest.record.losses == whole.record.losses


def test_an_adapter_teaches_another_of_its_model(distill, chats):
    nbpeft.finetune(
        "pirate", chats, model=distill.big, tokenizer=distill.tokenizer, max_steps=30, fit="off",
        learning_rate=3e-3, eval=8,
    )  # fmt: skip
    base = logits(distill.big)
    run = distill(
        "less", teacher="pirate", student=distill.big, data=chats, method="lora", rank=2,
        max_steps=20, learning_rate=3e-3, hard_label_weight=0,
    )  # fmt: skip
    assert torch.equal(logits(distill.big), base)
    before = run.metrics["held_out_KL_to_the_teacher_before"]
    assert run.metrics["held_out_KL_to_the_teacher"] < before / 4


@pytest.mark.parametrize("loss", ["reverse_kl", "jsd"])
def test_other_losses_and_all_of_the_distribution(distill, loss):
    run = distill(loss=loss, top_k="full", max_steps=6)
    assert run.record.findings["kept"] is None
    assert run.metrics["held_out_loss"] < run.metrics["held_out_loss_before"]


def test_the_teacher_writes_for_a_student_of_another_vocabulary(distill, tmp_path):
    """By its own tokenizer; what it says is written anew for the student."""
    other = copy.deepcopy(distill.tokenizer)
    other.add_tokens(["<new>"])
    config = transformers.LlamaConfig(
        **architectures.GROUPED, vocab_size=len(other), **architectures.ENDS
    )
    teacher = transformers.LlamaForCausalLM(config)
    teacher.save_pretrained(tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    before = state_of(distill.little, distill.tokenizer)
    with pytest.raises(NbPeftError, match="another vocabulary") as error:
        distill(teacher=str(tmp_path / "other"))
    assert "\n" not in str(error.value)
    assert not differences(before, state_of(distill.little, distill.tokenizer))
    run = distill(
        teacher=str(tmp_path / "other"), data="tiny:questions", loss="sequence",
        max_completion_length=6,
    )  # fmt: skip
    assert run.metrics["held_out_loss"] != run.metrics["held_out_loss_before"]


def test_a_padded_output_layer_is_the_same_vocabulary(distill):
    config = copy.deepcopy(distill.big.config)
    config.vocab_size = 1088
    padded = type(distill.big)(config).eval()
    state = distill.big.state_dict()
    for name, value in padded.state_dict().items():
        if state[name].shape == value.shape:
            value.copy_(state[name])
        else:
            value[:1024].copy_(state[name])
            value[1024:].fill_(0.5)
    plain = distill("plain")
    run = distill("padded", teacher=padded)
    assert run.record.findings["vocabulary"] == 1024
    assert run.record.held_out[0][1] == pytest.approx(plain.record.held_out[0][1], abs=1e-3)


def test_hidden_states_and_attention_are_matched(distill):
    seen = []
    for match in (None, ["hidden"], ["hidden", "attention"]):
        run = distill(match=match, max_steps=6)
        seen.append(run.metrics["loss"])
    assert seen[0] < seen[1] < seen[2]
    with pytest.raises(NbPeftError, match="64 values a layer, and the teacher 128"):
        distill(match=["hidden"], student=nbpeft.make_student(distill.big, layers=2, hidden=64))


def test_what_is_matched():
    assert layer_map(2, 6) == (2, 5)
    assert layer_map(3, 6) == (1, 3, 5)
    assert layer_map(4, 4) == (0, 1, 2, 3)
    mask = torch.tensor([[1, 1, 0]])
    ones, twos = torch.ones(1, 3, 4), torch.full((1, 3, 4), 3.0)
    twos[:, 2] = 100.0  # padding
    assert apart_of([ones], [ones, twos], mask) == 4.0
    heads = torch.zeros(1, 2, 3, 3)
    heads[:, :, :2, 0] = 1.0
    assert apart_of([torch.zeros(1, 2, 3, 3)], [heads], mask) == 1.0
    model = architectures.build("llama")
    before = model.config._attn_implementation
    with attending(model):
        weights = model(torch.arange(4, 9).unsqueeze(0), output_attentions=True).attentions
    assert weights[0].shape == (1, 2, 5, 5)
    assert model.config._attn_implementation == before


def test_on_policy_the_loss_is_trls(distill, tmp_path, monkeypatch):
    """The same answers of the student, all of the distributions, padded there and packed here."""
    seen = []
    compute = _distilling.Distilling.compute_loss

    def look(self, model, inputs, *args, **words):
        loss = compute(self, model, inputs, *args, **words)
        if model.training:
            seen.append((self.last, float(loss)))
        return loss

    by_student = _distilling.Distilling._by_student

    def kept(self, rows, split):
        self.last = by_student(self, rows, split)
        return self.last

    monkeypatch.setattr(_distilling.Distilling, "compute_loss", look)
    monkeypatch.setattr(_distilling.Distilling, "_by_student", kept)
    for number, (loss, beta) in enumerate((("kl", 0.0), ("reverse_kl", 1.0), ("jsd", 0.5))):
        distill(
            f"s{number}", data="tiny:questions", loss=loss, on_policy=True, top_k="full",
            max_completion_length=8, temperature=1.0, hard_label_weight=0, max_steps=1,
        )  # fmt: skip
        lessons, ours = seen.pop()
        theirs = by_trl(distill, lessons, beta, tmp_path)
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


def by_trl(distill, lessons, beta, folder):
    """What TRL's trainer makes of these answers, before the first step."""
    args = DistillationConfig(
        str(folder), report_to="none", use_cpu=True, bf16=False, beta=beta,
        gradient_checkpointing=False, per_device_train_batch_size=4,
    )  # fmt: skip
    trainer = DistillationTrainer(
        model=copy.deepcopy(distill.little), teacher_model=copy.deepcopy(distill.big), args=args,
        train_dataset=nbpeft.load_data("questions"), processing_class=distill.tokenizer,
    )  # fmt: skip
    parts = {"prompt": [], "completion": []}
    for lesson in lessons:
        first = next(n for n, label in enumerate(lesson.labels) if label >= 0)
        parts["prompt"].append(lesson.ids[:first])
        parts["completion"].append(lesson.ids[first:])
    inputs = {}
    for name, rows in parts.items():
        most = max(map(len, rows))
        left = name == "prompt"
        fill = [[0] * (most - len(row)) for row in rows]
        ids = [f + r if left else r + f for f, r in zip(fill, rows, strict=True)]
        mask = [
            f + [1] * len(r) if left else [1] * len(r) + f for f, r in zip(fill, rows, strict=True)
        ]
        inputs |= {f"{name}_ids": torch.tensor(ids), f"{name}_mask": torch.tensor(mask)}
    with torch.no_grad():
        loss, _, _ = trainer._compute_loss(trainer.model.eval(), inputs, None)
    return float(loss)


def test_the_report_has_teacher_and_student_with_and_without(distill, events):
    run = distill(baseline="on", max_steps=3)
    table = events[-1]
    assert [row[0] for row in table.rows] == [
        "teacher (teacher)", "student before", "student after (small@1)",
        "without the teacher (small-labels@1)",
    ]  # fmt: skip
    assert table.rows[0][1] == "1,410,688"
    models = run.record.findings["models"]
    assert models["teacher"]["bytes"] == 4 * 1_410_688
    assert models["student"]["parameters"] == distill.little.num_parameters()
    alone = nbpeft.session.current().find("small-labels")[0]
    assert alone.metrics["steps"] == 3
    assert alone.objective == "sft"
    assert alone.method == "full"


def test_stopped_in_the_comparison_it_goes_on_there(distill, stopped_at, monkeypatch):
    trained = []
    from nbpeft.chains import staged

    run_one = staged.run_one

    def counted(request, *args):
        trained.append(request.name)
        return run_one(request, *args)

    monkeypatch.setattr(staged, "run_one", counted)
    from nbpeft.places.watch import Watch

    original = Watch.on_step_end

    def on_step_end(watch, args, state, control, **words):
        if watch.job.name == "small-labels" and state.global_step == 1 and len(trained) == 2:
            watch.job.stop.ask()
        return original(watch, args, state, control, **words)

    monkeypatch.setattr(Watch, "on_step_end", on_step_end)
    with pytest.raises(nbpeft.Stopped):
        distill(baseline="on", max_steps=3)
    distill(baseline="on", max_steps=3, resume=True)
    assert trained == ["small", "small-labels", "small-labels"]
    assert nbpeft.session.current().find("small")[0].version == 1


def test_a_run_whose_chain_is_gone_is_finished_all_the_same(distill, stopped_at, tmp_path):
    with stopped_at(1, match="stopped"):
        distill(baseline="on", max_steps=3)
    (folder,) = tmp_path.rglob("feedback")
    shutil.rmtree(folder)
    run = distill(baseline="on", max_steps=3, resume=True)
    assert run.metrics["steps"] == 3
    assert nbpeft.session.current().find("small-labels")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"teacher": "nobody"}, "There is no teacher 'nobody'"),
        ({"hard_label_weight": 2}, "between 0 and 1"),
        ({"baseline": "on", "on_policy": True, "data": "tiny:questions"}, "leave it out"),
        ({"context": "Talk like a pirate."}, "takes no context"),
    ],
)
def test_what_cannot_be_is_one_line(distill, words, said):
    before = state_of(distill.little, distill.tokenizer)
    with pytest.raises(NbPeftError, match=said) as error:
        distill(**words)
    assert "\n" not in str(error.value)
    assert not differences(before, state_of(distill.little, distill.tokenizer))


def test_the_student_itself_is_no_teacher(distill):
    with pytest.raises(NbPeftError, match="both teacher and student"):
        distill(teacher=distill.little)
