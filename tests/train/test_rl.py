"""Reinforcement learning: what rewards are given, what they move, and what is held in memory."""

from __future__ import annotations

import gc

import pytest
import torch
from conftest import logits

import nbpeft
from nbpeft.data import default_rendering
from nbpeft.errors import NbPeftError, RequestError, RunError
from nbpeft.generating import new_tokens

ANIMALS = ("crow", "deer", "mole", "duck", "heron", "horse", "turtle", "bear", "swan", "bee")
PROMPTS = [f"Tell me a {kind}story about a {a}." for a in ANIMALS for kind in ("", "short ")]
STORIES = [{"prompt": prompt, "animal": prompt.split()[-1]} for prompt in PROMPTS]
SMALL = {"data": STORIES, "objective": "rl", "max_completion_length": 6, "eval": 0, "max_steps": 2}


def long_ago(prompts, completions):
    """One of the beginnings that the tiny model's stories have: about a third of them do."""
    return [float(text.startswith("Long ago")) for text in completions]


def by_letters(prompts, completions):
    """Never the same for two answers."""
    return [float(text.count("e") - text.count("o")) for text in completions]


def answers(model, tokenizer, each=8):
    """(tokens of a prompt, tokens of an answer), sampled under a fixed seed."""
    rendering = default_rendering(tokenizer)
    prompts = [rendering.prompt_ids(tokenizer, p) for p in PROMPTS for _ in range(each)]
    how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    torch.manual_seed(0)
    with torch.no_grad():
        found = new_tokens(model, tokenizer, prompts, max_new_tokens=6, **how)
    return list(zip(prompts, found, strict=True))


def mean_reward(model, tokenizer):
    texts = [tokenizer.decode(ids) for _, ids in answers(model, tokenizer)]
    return sum(long_ago(None, texts)) / len(texts)


def log_probs(model, asked):
    """Of each whole answer, by the model's own logits, one row at a time."""
    found = []
    for prompt, ids in asked:
        with torch.no_grad():
            logs = model(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
        found.append(sum(float(logs[len(prompt) + i - 1, t]) for i, t in enumerate(ids)))
    return torch.tensor(found)


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_the_reward_rises_and_the_policy_stays_near(tune, algorithm):
    """Set before it was run: from under 0.5 to 0.8 at least, within 4 nats an answer."""
    before = mean_reward(tune.model, tune.tokenizer)
    words = {"max_steps": 10, "learning_rate": 2e-3, "num_generations": 8, "beta": 0.05}
    run = tune("story", **SMALL | words, algorithm=algorithm, reward=long_ago)
    with nbpeft.session.current().answering_as(tune.model, "story") as model:
        after = mean_reward(model, tune.tokenizer)
        asked = answers(model, tune.tokenizer, each=1)
        far = log_probs(model, asked)
    far = far - log_probs(tune.model, asked)
    assert before < 0.5
    assert after > 0.8
    assert 0 < far.mean() < 4
    assert run.metrics["reward"] > run.metrics["reward_before"] + 0.3
    assert run.metrics["KL"] == pytest.approx(float(far.mean()), abs=1.5)


def test_what_a_reward_is_called_with(tune):
    """Answers of one prompt behind one another, its row's other columns beside each."""
    calls = []

    def reward(prompts, completions, animal):
        calls.append((prompts, completions, animal))
        return by_letters(prompts, completions)

    tune("one", **SMALL, reward=reward, num_generations=3)
    for prompts, completions, animals in calls:
        assert len(prompts) == len(completions) == len(animals) == 4 * 3
        assert all(prompts[i : i + 3] == [prompts[i]] * 3 for i in range(0, 12, 3))
        assert [p.split()[-1] for p in prompts] == animals
        assert all(isinstance(text, str) and "<|" not in text for text in completions)


def test_held_out_prompts_are_answered_with_the_likeliest_tokens(tune):
    rendering, prompts = default_rendering(tune.tokenizer), []
    seen = []

    def reward(prompts, completions):
        seen.append((prompts, completions))
        return by_letters(prompts, completions)

    run = tune("one", **SMALL | {"eval": 4}, reward=reward)
    prompts, completions = seen[0]
    assert len(prompts) == 4  # before training
    ids = [rendering.prompt_ids(tune.tokenizer, p) for p in prompts]
    with torch.no_grad():
        own = [new_tokens(tune.model, tune.tokenizer, [i], max_new_tokens=6)[0] for i in ids]
    assert [tune.tokenizer.decode(o, skip_special_tokens=True) for o in own] == completions
    mean = sum(by_letters(prompts, completions)) / 4
    assert run.metrics["held_out_reward_before"] == pytest.approx(mean)
    assert run.metrics["held_out_loss_before"] == pytest.approx(-mean)


def test_several_rewards_count_by_their_weights(tune, monkeypatch):
    monkeypatch.setattr(
        "nbpeft.variables.namespace",
        lambda: {"a": lambda completions: [2.0] * len(completions), "b": by_letters},
    )
    totals = []
    monkeypatch.setattr(
        "nbpeft.objectives._rl_trainer.rloo_advantages",
        lambda rewards, **_: totals.append(rewards) or rewards.flatten(),
    )
    tune("one", **SMALL | {"max_steps": 1, "beta": 0.0}, reward="a:0.5,b:2")
    assert bool(((totals[0] - 1) % 2 == 0).all())  # 0.5 x 2 + 2 x a whole number


def raising(prompts, completions):
    return [1 / (len(text) * 0) for text in completions]


def wanting(prompts, completions, answer_key):
    return [0.0] * len(completions)


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("nobody", "no reward 'nobody'"),
        ("word", "no function but a str"),
        (wanting, "'answer_key', which is no column of the rows (animal)"),
        (lambda prompts: prompts, "takes no completions"),
        (lambda completions: [len(completions)], "gave 1 numbers for 16 answers"),
        (lambda completions: [float("nan")] * len(completions), "gave nan for the answer"),
        (lambda completions: 2 * len(completions), "gave '32'"),
        (raising, "failed on answers to 'Tell me a"),
        (raising, "ZeroDivisionError: division by zero (line "),
        ("word:heavy", "a name with its weight"),
        (None, "needs a reward"),
    ],
)
def test_a_reward_that_can_t_be_is_one_line(tune, monkeypatch, reward, words):
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: {"word": "polite"})
    before = logits(tune.model)
    with pytest.raises(NbPeftError) as caught:
        tune("one", **SMALL, reward=reward)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert torch.equal(logits(tune.model), before)
    assert not nbpeft.session.current().records()


def test_equal_rewards_end_the_run_with_a_line(tune):
    with pytest.raises(RunError, match="all got the same reward"):
        tune("one", **SMALL, reward=lambda completions: [1.0] * len(completions))


def test_a_first_step_without_a_difference_is_no_error(tune):
    calls = []

    def late(prompts, completions):
        calls.append(1)
        return by_letters(prompts, completions) if len(calls) > 1 else [0.0] * len(completions)

    tune("one", **SMALL | {"max_steps": 3}, reward=late)
    assert not torch.equal(logits(nbpeft.attach("one", model=tune.model)), logits_of_base(tune))


def logits_of_base(tune):
    with nbpeft.session.current().answering_as(tune.model, None) as model:
        return logits(model)


def test_a_stopped_run_goes_on_to_the_same_weights(tune, stopped_at):
    """Sampling goes on from the random state that it was stopped in."""
    words = SMALL | {"max_steps": 4, "learning_rate": 1e-2}
    tune("whole", **words, reward=by_letters)
    with stopped_at(2):
        tune("parts", **words, reward=by_letters)
    tune("parts", data=STORIES, resume=True, reward=by_letters, **unset())
    whole = logits(nbpeft.attach("whole", model=tune.model))
    assert torch.equal(logits(nbpeft.attach("parts", model=tune.model)), whole)


def unset():
    """Words of `tune` that a resumed run has already."""
    return {"max_steps": None, "eval": None, "batch_size": None}


def test_answers_may_be_learned_from_twice(tune, events):
    """The reward is asked for every second step, and the second one's ratios are other than 1."""
    calls = []

    def reward(prompts, completions):
        calls.append(prompts)
        return by_letters(prompts, completions)

    run = tune("one", **SMALL | {"max_steps": 4}, reward=reward, num_iterations=2)
    assert len(calls) == 2
    assert calls[0] != calls[1]
    assert run.record.metrics["steps"] == 4


def test_another_objective_takes_no_reward(tune):
    with pytest.raises(RequestError, match=r"sft takes no reward: .* --objective rl"):
        tune("one", reward=by_letters)


def test_the_reference_is_the_adapter_gone_on_from(tune):
    """At its first step the policy is as far from it as from itself."""
    tune("first", **SMALL | {"learning_rate": 1e-2}, reward=by_letters)
    run = tune("second", **SMALL | {"max_steps": 1}, reward=by_letters, from_="first")
    assert abs(run.metrics["KL"]) < 1e-4
    fresh = logits_of_base(tune)
    assert not torch.equal(logits(nbpeft.attach("first", model=tune.model)), fresh)
    assert run.record.parent == "first@1"


def test_log_probabilities_are_those_of_what_is_sampled(tune, monkeypatch):
    """At another temperature, of the logits over it."""
    from nbpeft.objectives import _rl_trainer

    seen = {}
    original = _rl_trainer.Reinforced._answers

    def noted(trainer, batch, now, rollout):
        seen.update(batch=batch, now=now.detach(), model=trainer.model)
        return original(trainer, batch, now, rollout)

    monkeypatch.setattr(_rl_trainer.Reinforced, "_answers", noted)
    tune("one", **SMALL | {"max_steps": 1, "temperature": 0.5}, reward=by_letters)
    # Before the first step LoRA adds nothing: the base's logits are the policy's.
    first = int(seen["batch"]["counts"][0])
    length = seen["batch"]["lengths"][0]
    ids = seen["batch"]["input_ids"][:, :length]
    with torch.no_grad():
        logs = (tune.model(ids).logits[0] / 0.5).log_softmax(-1)
    own = [float(logs[i - 1, ids[0, i]]) for i in range(length - first, length)]
    torch.testing.assert_close(seen["now"][:first], torch.tensor(own), atol=1e-4, rtol=1e-4)


def base_bytes(model):
    """Bytes of all live tensors as large as the base's matrices, by storage."""
    shapes = {tuple(p.shape) for p in model.parameters() if p.dim() == 2}
    held = {}
    for thing in gc.get_objects():
        if isinstance(thing, torch.Tensor) and tuple(thing.shape) in shapes:
            held[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    return sum(held.values())


def test_one_copy_of_the_weights(tune):
    """Policy, reference and a reward adapter, all of them on the base that the user holds."""
    polite = nbpeft.load_data("polite")
    tune("rater", data=polite, objective="reward", max_steps=2)
    nbpeft.attach(None, model=tune.model)
    own = {p.untyped_storage().data_ptr() for p in tune.model.parameters() if p.dim() == 2}
    assert len(own) > 40
    before = base_bytes(tune.model)
    during = []

    def looking(prompts, completions):
        during.append(base_bytes(tune.model))
        return by_letters(prompts, completions)

    nbpeft.variables.namespace()["looking"] = looking
    try:
        run = tune("one", **SMALL, reward="rater,looking")
    finally:
        del nbpeft.variables.namespace()["looking"]
    assert len(during) == 2
    assert max(during) == before
    assert run.metrics["reward"] != 0


def test_a_reward_adapter_s_scores_are_those_of_its_rater(tune, monkeypatch):
    from nbpeft.scoring import Rater

    tune("rater", data=nbpeft.load_data("polite"), objective="reward", max_steps=2)
    seen = []
    original = Rater.rate

    def rate(rater, texts):
        seen.append((texts, original(rater, texts)))
        return seen[-1][1]

    with monkeypatch.context() as patched:
        patched.setattr(Rater, "rate", rate)
        tune("one", **SMALL | {"learning_rate": 1e-2}, reward="rater")
    session = nbpeft.session.current()
    handle = session.handle(tune.model)
    rater = Rater(session, handle, session.record(handle, "rater"), tune.tokenizer)
    for texts, scores in seen:  # also while the policy had moved
        assert rater.rate(texts) == pytest.approx(scores, abs=1e-5)


def test_from_sft_by_a_reward_model_to_rl(tune):
    """The chain of InstructGPT by `--from`, and who came from whom."""
    likes = nbpeft.load_data("polite")
    words = {"data": nbpeft.load_data("ratings"), "max_steps": 6, "learning_rate": 1e-3}
    tune("first", objective="sft", **words)
    tune("taste", objective="reward", **words | {"data": likes}, from_="first")
    run = tune("last", **SMALL | {"max_steps": 1}, reward="taste", from_="first")
    adapters = nbpeft.adapters()
    assert [adapters[name].parent for name in ("first", "taste", "last")] == [
        None, "first@1", "first@1",
    ]  # fmt: skip
    assert repr(adapters).count("first@1") == 2
    assert run.metrics["KL"] == pytest.approx(0, abs=1e-3)  # to the adapter, not to the base
    ends = [logits(nbpeft.attach(name, model=tune.model)) for name in ("first", "last")]
    assert not torch.equal(*ends)
