"""A teacher's answers and targets on disk: found again by their key, and by no other."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from nbpeft.errors import RunError
from nbpeft.objectives import _store
from nbpeft.objectives._store import KeptAnswers, KeptTargets, Shape, key_of

TOP = Shape(2, 10)


def summary(first, tokens, shape=TOP):
    """As many tokens' targets, told apart by their log-probabilities."""
    numbers = torch.arange(first, first + tokens).float().unsqueeze(-1)
    logs = -(numbers + 1) - torch.arange(shape.logs) / 4
    ids = torch.arange(shape.top or 0).expand(tokens, -1) + 1.0
    return torch.cat([logs, ids, -numbers - 0.5], -1)


def test_answers_are_found_again_by_their_key(tmp_path):
    KeptAnswers(tmp_path, "train", "one").add({(0, 0, 0): [4, 5], (1, 0, 0): [6]})
    assert KeptAnswers(tmp_path, "train", "one").found == {(0, 0, 0): [4, 5], (1, 0, 0): [6]}
    assert KeptAnswers(tmp_path, "train", "two").found == {}
    assert KeptAnswers(tmp_path, "eval", "one").found == {}


def test_other_answers_take_the_place_of_earlier_ones(tmp_path):
    KeptAnswers(tmp_path, "train", "one").add({(0, 0, 0): [4]})
    KeptAnswers(tmp_path, "train", "two").add({(0, 0, 0): [5]})
    assert KeptAnswers(tmp_path, "train", "one").found == {}
    assert KeptAnswers(tmp_path, "train", "two").found == {(0, 0, 0): [5]}


def test_a_line_that_was_broken_off_is_dropped(tmp_path):
    KeptAnswers(tmp_path, "train", "one").add({(0, 0, 0): [4], (1, 0, 0): [5]})
    path = tmp_path / "train.answers.jsonl"
    path.write_text(path.read_text()[:-5])
    kept = KeptAnswers(tmp_path, "train", "one")
    assert kept.found == {(0, 0, 0): [4]}
    kept.add({(1, 0, 0): [7]})
    assert KeptAnswers(tmp_path, "train", "one").found == {(0, 0, 0): [4], (1, 0, 0): [7]}


@pytest.mark.parametrize("shape", [TOP, Shape(None, 10), Shape(64, 10), Shape(3, 100_000)])
def test_targets_come_back_as_they_were(tmp_path, shape):
    kept = KeptTargets(tmp_path, "train", "one", 5, shape)
    kept.write(summary(0, 2, shape))
    kept.write(summary(2, 3, shape))
    again = KeptTargets(tmp_path, "train", "one", 5, shape)
    assert again.done == again.reused == 5
    logs, *indices = again.read([slice(3, 5), slice(0, 1)])
    wanted = torch.cat([summary(3, 2, shape), summary(0, 1, shape)])
    torch.testing.assert_close(logs, wanted[:, : shape.logs], atol=1e-3, rtol=1e-3)
    assert bool(indices) == (shape.top is not None)
    if indices:
        assert torch.equal(indices[0], wanted[:, shape.logs : -1].long())
    assert again.label_loss() == pytest.approx(2.5)


def test_what_was_broken_off_goes_on_where_it_was(tmp_path):
    KeptTargets(tmp_path, "train", "one", 5, TOP).write(summary(0, 2))
    kept = KeptTargets(tmp_path, "train", "one", 5, TOP)
    assert kept.done == 2
    kept.write(summary(2, 3))
    (logs, _) = KeptTargets(tmp_path, "train", "one", 5, TOP).read([slice(0, 5)])
    assert logs[:, 0].tolist() == [-1, -2, -3, -4, -5]


@pytest.mark.parametrize(
    "other", [("two", 5, TOP), ("one", 4, TOP), ("one", 5, Shape(3, 10)), ("one", 5, Shape(2, 11))]
)
def test_targets_of_anything_else_are_made_anew(tmp_path, other):
    KeptTargets(tmp_path, "train", "one", 5, TOP).write(summary(0, 5))
    assert KeptTargets(tmp_path, "train", *other).done == 0


def test_without_one_of_their_files_they_are_made_anew(tmp_path):
    KeptTargets(tmp_path, "train", "one", 5, TOP).write(summary(0, 5))
    (tmp_path / "train.indices.npy").unlink()
    assert KeptTargets(tmp_path, "train", "one", 5, TOP).done == 0


def test_a_probability_of_nothing_is_kept_as_the_least_there_is(tmp_path):
    kept = KeptTargets(tmp_path, "train", "one", 1, TOP)
    values = summary(0, 1)
    values[0, 2] = -torch.inf
    kept.write(values)
    logs, _ = kept.read([slice(0, 1)])
    assert logs[0, 2] == -65504


def test_the_bytes_are_those_on_disk(tmp_path):
    kept = KeptTargets(tmp_path, "train", "one", 1000, TOP)
    kept.write(summary(0, 1000))
    on_disk = sum(path.stat().st_size for path in tmp_path.glob("*.npy"))
    assert kept.bytes == 1000 * (2 * 3 + 2 * 2 + 4)
    assert on_disk - kept.bytes < 1000  # headers


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    usage = SimpleNamespace(total=1000, used=990, free=10)
    monkeypatch.setattr(_store.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError, match=r"70 bytes|70 B"):
        KeptTargets(tmp_path, "train", "one", 5, TOP)
    assert not list(tmp_path.glob("*.npy"))


def test_a_key_is_of_values_alone():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})
    assert json.dumps(key_of("x"))


@pytest.mark.parametrize("text", ["[]", "nothing", '{"key": 1}\n{"place": 3}\n', '{"key": "one"'])
def test_what_was_edited_by_hand_is_as_good_as_none(tmp_path, text):
    KeptTargets(tmp_path, "train", "one", 5, TOP).write(summary(0, 5))
    (tmp_path / "train.targets.json").write_text(text)
    (tmp_path / "train.answers.jsonl").write_text(text)
    assert KeptTargets(tmp_path, "train", "one", 5, TOP).done == 0
    assert KeptAnswers(tmp_path, "train", "one").found == {}
