"""Attention of packed rows: each as if it stood alone, by every kernel, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional

from nbpeft.errors import RunError
from nbpeft.seam import attention, rows
from nbpeft.seam.attention import Attention, Layout, attend

LENGTHS = (3, 40, 1, 90)


class Layer(torch.nn.Module):
    """What an attention function is given of the layer that calls it."""

    is_causal = True


def alone(query, key, value, lengths, *, window=None, softcap=None, sinks=None, scale=None):
    """Row by row, written out; (1, tokens, heads, width)."""
    made = []
    parts = (t.split(list(lengths), 2) for t in (query, key, value))
    for q, k, v in zip(*parts, strict=True):
        shared, length = q.shape[1] // k.shape[1], q.shape[2]
        keys, answers = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
        scores = q @ keys.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        unseen = (back < 0) | (back >= (window or length))
        scores = scores.masked_fill(unseen, -torch.inf)
        if sinks is not None:
            scores = torch.cat([scores, sinks.reshape(1, -1, 1, 1).expand(1, -1, length, 1)], -1)
        made.append(scores.softmax(-1)[..., :length] @ answers)
    return torch.cat(made, 2).transpose(1, 2)


def drawn(lengths, *, heads=6, few=2, width=8, values=8, dtype=torch.double):
    torch.manual_seed(0)
    tokens = sum(lengths)
    shapes = ((heads, width), (few, width), (few, values))
    made = [torch.randn(1, n, tokens, w, dtype=dtype).requires_grad_() for n, w in shapes]
    return made, torch.randn(1, tokens, heads, values, dtype=dtype)


def compare(got, expected, given, upstream, **tolerance):
    torch.testing.assert_close(got, expected, **tolerance)
    for mine, theirs in zip(
        torch.autograd.grad(got, given, upstream),
        torch.autograd.grad(expected, given, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, **tolerance)


@pytest.mark.parametrize("block", [512, 16])
@pytest.mark.parametrize("kept", [128, 0])
@pytest.mark.parametrize("window", [None, 5, 33])
def test_rows_written_out(window, kept, block, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", block)
    monkeypatch.setattr(rows, "KEPT", kept)
    given, upstream = drawn(LENGTHS, values=5)
    q, k, v = given
    got = rows.attention(q[0], k[0], v[0], LENGTHS, 0.3, window).unsqueeze(0)
    compare(got, alone(*given, LENGTHS, window=window, scale=0.3), given, upstream)


def asked(given, lengths=LENGTHS, **words):
    attention._now.append(Layout(tuple(lengths)))
    try:
        return attend(Layer(), *given, None, **words)[0]
    finally:
        attention._now.pop()


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize(
    "special",
    [{}, {"softcap": 2.0}, {"s_aux": torch.linspace(-1, 1, 6).double()}],
    ids=["plain", "softcap", "sinks"],
)
def test_as_transformers_calls_it(special, window):
    given, upstream = drawn(LENGTHS)
    expected = alone(
        *given, LENGTHS, window=window, softcap=special.get("softcap"), sinks=special.get("s_aux")
    )
    compare(asked(given, sliding_window=window, **special), expected, given, upstream)


# A beginning of 20 tokens with its own 5, then branches of 3 and of 30 that begin with it, too.
BRANCHED, SEEN, BEGINNING = (25, 3, 30), (25, 23, 50), 20


def branched():
    """Where the keys stand that each row sees."""
    places = list(range(25))
    for start, length in ((25, 3), (28, 30)):
        places += [*range(BEGINNING), *range(start, start + length)]
    return torch.tensor(places)


def whole(given):
    """Every row written out with its beginning, and which of its outputs are its own."""
    places = branched()
    q, k, v = (t[:, :, places] for t in given)
    own = torch.ones(len(places), dtype=torch.bool)
    for start in (25, 48):
        own[start : start + BEGINNING] = False
    return (q, k, v), own


@pytest.mark.parametrize("block", [512, 16])
@pytest.mark.parametrize("window", [None, 5, 33])
def test_rows_that_begin_alike_written_out(window, block, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK", block)
    given, upstream = drawn(BRANCHED, values=5)
    q, k, v = given
    keys, values = k[0][:, branched()], v[0][:, branched()]
    got = rows.attention(q[0], keys, values, BRANCHED, 0.3, window, SEEN).unsqueeze(0)
    parts, own = whole(given)
    compare(got, alone(*parts, SEEN, window=window, scale=0.3)[:, own], given, upstream)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("special", [{}, {"softcap": 2.0}], ids=["plain", "softcap"])
def test_rows_that_begin_alike_as_transformers_calls_it(special, window):
    given, upstream = drawn(BRANCHED)
    keys = attention.Keys(SEEN, branched())
    attention._now.append(Layout(BRANCHED, keys=keys))
    got = attend(Layer(), *given, None, sliding_window=window, **special)[0]
    attention._now.pop()
    parts, own = whole(given)
    expected = alone(*parts, SEEN, window=window, softcap=special.get("softcap"))[:, own]
    compare(got, expected, given, upstream)


def test_in_bf16_it_is_about_as_near_as_torchs_own():
    given, _ = drawn(LENGTHS, dtype=torch.bfloat16)
    exact = alone(*(t.detach().double() for t in given), LENGTHS)
    own = asked(given).double()
    torchs = torch.cat(
        [
            functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            for q, k, v in zip(*(t.split(list(LENGTHS), 2) for t in given), strict=True)
        ],
        2,
    ).transpose(1, 2)
    assert (own - exact).norm() < 2 * (torchs.double() - exact).norm()


def test_under_autocast_all_is_in_its_dtype():
    given, _ = drawn(LENGTHS, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert asked(given).dtype == torch.bfloat16


def test_dropout_drops():
    given, _ = drawn(LENGTHS)
    torch.manual_seed(0)
    assert not torch.allclose(asked(given, dropout=0.5), asked(given, dropout=0.5))


def test_cudas_kernel_is_given_rows_by_their_ends_and_a_window_without_the_token_itself(
    monkeypatch,
):
    """Its semantics played by the written-out attention; left = window - 1."""

    def varlen(q, k, v, *rest, scale, window_size, enable_gqa):
        ends, ends_of_keys, most, most_keys = rest
        assert ends.dtype == torch.int32
        assert torch.equal(ends, ends_of_keys)
        assert most == most_keys == max(LENGTHS)
        assert enable_gqa
        left, right = window_size
        assert right == 0
        q, k, v = (t.transpose(0, 1).unsqueeze(0) for t in (q, k, v))
        window = None if left < 0 else left + 1
        return alone(q, k, v, ends.diff().tolist(), window=window, scale=scale)[0]

    monkeypatch.setattr(attention, "_has_varlen", lambda *_: True)
    monkeypatch.setattr(attention, "_varlen_module", lambda: {"varlen_attn": varlen})
    given, upstream = drawn(LENGTHS)
    ends = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0).tolist()], dtype=torch.int32)
    for window in (None, 7):
        attention._now.append(Layout(LENGTHS, ends))
        got = attend(Layer(), *given, None, sliding_window=window)[0]
        attention._now.pop()
        compare(got, alone(*given, LENGTHS, window=window), given, upstream)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"attention_mask": torch.ones(1)}, "a mask of its own"),
        ({"position_bias": torch.ones(1)}, "a bias of its own"),
        ({"is_causal": False}, "isn't causal"),
        ({"lengths": (3, 4)}, "over 7 packed tokens"),
    ],
)
def test_what_it_does_not_know_is_refused(words, said):
    given, _ = drawn(LENGTHS)
    attention._now.append(Layout(words.pop("lengths", LENGTHS)))
    try:
        with pytest.raises(RunError, match=said):
            attend(Layer(), *given, **{"attention_mask": None} | words)
    finally:
        attention._now.pop()


def test_the_model_has_its_own_attention_again_after_an_error(tiny_pair):
    model = copy.deepcopy(tiny_pair[0])
    before = model.config._attn_implementation

    def interrupted():
        with Attention(model).over([2, 3], torch.tensor([0, 2])):
            assert model.config._attn_implementation == attention.NAME != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert model.config._attn_implementation == before
    assert attention._now == []
