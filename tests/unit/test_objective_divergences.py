"""Divergences of next-token distributions, whole and by their likeliest tokens."""

from __future__ import annotations

import pytest
import torch
from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

from nbpeft.objectives._divergences import divergence, summary

N, V, D = 7, 50, 16
KINDS = [("kl", 0.5), ("reverse_kl", 0.5), ("jsd", 0.5), ("jsd", 0.2), ("jsd", 0.0), ("jsd", 1.0)]


@pytest.fixture
def student():
    return torch.randn(N, V, generator=torch.manual_seed(0)).mul(3).requires_grad_()


@pytest.fixture
def teacher():
    return torch.randn(N, V, generator=torch.manual_seed(1)).mul(3)


LABELS = torch.arange(N)


def targets(teacher, top_k, temperature=1.0, vocabulary=V):
    kept = summary(top_k, temperature, vocabulary)(teacher, LABELS)
    if top_k is None or top_k >= vocabulary:
        return (kept[:, :vocabulary],)
    return kept[:, : top_k + 1], kept[:, top_k + 1 : -1].long()


def loss(student, targets, kind="kl", *, beta=0.5, temperature=1.0, hard=0.0):
    return divergence(kind, beta=beta, temperature=temperature, hard=hard)(
        student, LABELS, *targets
    )


def test_what_is_kept_is_the_likeliest_and_the_rest(teacher):
    kept = summary(3, 2.0, V)(teacher, LABELS)
    logs = torch.log_softmax(teacher / 2, -1)
    top, ids = logs.topk(3, -1)
    torch.testing.assert_close(kept[:, :3], top)
    assert torch.equal(kept[:, 4:7].long(), ids)
    rest = 1 - top.exp().sum(-1)
    torch.testing.assert_close(kept[:, 3].exp(), rest, atol=1e-6, rtol=1e-5)
    label = torch.log_softmax(teacher, -1)[torch.arange(N), LABELS]
    torch.testing.assert_close(kept[:, -1], label)


def test_the_rest_of_a_sure_teacher_is_exact(teacher):
    sure = teacher.double() + 60 * torch.nn.functional.one_hot(LABELS, V)
    kept = summary(1, 1.0, V)(sure.float(), LABELS)
    wanted = torch.log_softmax(sure, -1).scatter(-1, LABELS.unsqueeze(-1), -torch.inf).logsumexp(-1)
    torch.testing.assert_close(kept[:, 1].double(), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "beta"), KINDS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_over_all_tokens_it_is_what_trl_computes(kind, beta, temperature):
    generator = torch.manual_seed(2)
    hidden = torch.randn(N, D, generator=generator, requires_grad=True)
    weight, taught = (torch.randn(V, D, generator=generator) for _ in range(2))
    states = torch.randn(N, D, generator=generator)
    trl_beta = {"kl": 0.0, "reverse_kl": 1.0}.get(kind, beta)
    theirs, _ = ChunkedDivergenceFunction.apply(
        hidden, weight, None, states, taught, None, trl_beta, temperature, 1.0, None, 1.0, None
    )
    (slope,) = torch.autograd.grad(theirs.sum(), hidden)
    kept = targets(states @ taught.T, None, temperature)
    mine = loss(hidden @ weight.T, kept, kind, beta=beta, temperature=temperature)
    torch.testing.assert_close(mine[:, 1], theirs, atol=1e-5, rtol=1e-4)
    (own,) = torch.autograd.grad(mine[:, 0].sum(), hidden)
    torch.testing.assert_close(own, temperature**2 * slope, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("kind", "beta"), KINDS)
def test_parts_never_tell_more_apart_than_the_whole(student, teacher, kind, beta):
    whole = loss(student, targets(teacher, None), kind, beta=beta)[:, 1]
    before = torch.zeros(N)
    for top_k in (1, 5, 20, V - 1):
        part = loss(student, targets(teacher, top_k), kind, beta=beta)[:, 1]
        assert (part <= whole + 1e-5).all()
        assert (part >= before - 1e-5).all()
        before = part
    torch.testing.assert_close(before, whole, atol=1e-4, rtol=1e-3)


def test_parts_are_those_of_a_smaller_vocabulary(student, teacher):
    kept = targets(teacher, 4)
    p = torch.cat([kept[0][:, :4].exp(), 1 - kept[0][:, :4].exp().sum(-1, keepdim=True)], -1)
    q = torch.softmax(student, -1).gather(-1, kept[1])
    q = torch.cat([q, 1 - q.sum(-1, keepdim=True)], -1)
    wanted = (p * (p / q).log()).sum(-1)
    torch.testing.assert_close(loss(student, kept)[:, 0], wanted, atol=1e-4, rtol=1e-4)
    mine, theirs = (
        torch.autograd.grad(x.sum(), student, retain_graph=True)[0]
        for x in (loss(student, kept)[:, 0], wanted)
    )
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_temperature_and_hard_labels(student, teacher):
    values = loss(student, targets(teacher, 5, 2.0), temperature=2.0, hard=0.3)
    nll = -torch.log_softmax(student, -1)[torch.arange(N), LABELS]
    torch.testing.assert_close(values[:, 2], nll)
    torch.testing.assert_close(values[:, 0], 0.7 * 4 * values[:, 1] + 0.3 * nll)
    (slope,) = torch.autograd.grad(values[:, 1:].sum(), student, allow_unused=True)
    assert not slope.any()


def test_padded_logits_have_no_part(student, teacher):
    padded = torch.cat([teacher, torch.full((N, 6), 30.0)], -1)
    kept = targets(padded, 5, vocabulary=V)
    for one, other in zip(kept, targets(teacher, 5), strict=True):
        torch.testing.assert_close(one, other)
    whole = targets(padded, None, vocabulary=V)
    more = torch.cat([student, torch.zeros(N, 3)], -1)
    torch.testing.assert_close(loss(more, whole)[:, 1], loss(student, whole)[:, 1])


@pytest.mark.parametrize(("kind", "beta"), KINDS)
@pytest.mark.parametrize("least", [-torch.inf, -65504.0])
def test_what_a_teacher_rules_out_is_no_reason_for_nan(student, teacher, kind, beta, least):
    for top_k in (None, 4):
        kept = [t.clone() for t in targets(teacher, top_k)]
        kept[0][:, -1] = least
        values = loss(student, kept, kind, beta=beta)
        (slope,) = torch.autograd.grad(values[:, 0].sum(), student, retain_graph=True)
        assert torch.isfinite(values).all()
        assert torch.isfinite(slope).all()
