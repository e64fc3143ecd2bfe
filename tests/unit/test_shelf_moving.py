"""Adapters get another name or leave the shelf: whole or not at all, and nothing through links."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from test_shelf import PLANNED, WEIGHTS, files, labels, refused, write

from nbpeft.session import moving, names
from nbpeft.session import shelf as shelf_module
from nbpeft.session.shelf import Shelf


@pytest.fixture
def shelf(working_folder):
    """pirate@1 and @2 with what is kept beside, and two that went on from it."""
    shelf = Shelf(working_folder / "adapters")
    asked = {"name": "pirate", "data": str(shelf.folder / "pirate" / "feedback" / "x.jsonl")}
    state = working_folder / "state"
    state.mkdir()
    (state / "optimizer.bin").write_text("steps")
    for text in ("first", "second"):
        shelf.put(
            replace(PLANNED, request=asked), lambda f, text=text: write(f, text), resume=state
        )
    home = shelf.folder / "pirate"
    for place in ("targets", "feedback"):
        (home / place).mkdir()
    (home / "targets" / "train.logs.npy").write_text("logs")
    chain = {"request": {"name": "pirate", "objective": "rlaif"}, "stages": []}
    (home / "feedback" / "chain.json").write_text(json.dumps(chain))
    shelf.put_unfinished(PLANNED, state)
    child = replace(PLANNED, name="child", parent="pirate@2", request={"from": "pirate"})
    shelf.put(child, write)
    shelf.put(replace(PLANNED, name="sum", parent="pirate@2+pirates@1"), write)
    return shelf


def told(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("label", "new"),
    [
        ("pirate", "corsair"),
        ("pirate@2", "corsair@2"),
        ("poet@1+pirate@2", "poet@1+corsair@2"),
        ("pirate@3:4", "corsair@3:4"),
        ("poet@3:4", "poet@3:4"),
        ("pirates@1", "pirates@1"),
    ],
)
def test_a_label_with_another_name(label, new):
    assert names.relabelled(label, {"pirate": "corsair", "4": "four"}) == new


def test_a_new_name_for_all_that_is_kept_and_told(shelf):
    before = files(shelf)
    moving.rename(shelf, {"pirate": "corsair"})
    assert labels(shelf) == ["child@1", "corsair@1", "corsair@2", "sum@1"]
    home = shelf.folder / "corsair"
    assert not (shelf.folder / "pirate").exists()
    after = files(shelf)
    assert {n.replace("pirate/", "corsair/", 1) for n in before if n != "pirate"} == {
        n for n in after if n != "corsair"
    }
    for name, content in before.items():
        if not name.endswith(".json"):
            assert after[name.replace("pirate", "corsair", 1)] == content, name
    request = shelf.get("corsair").request
    assert request == {"name": "corsair", "data": str(home / "feedback" / "x.jsonl")}
    assert shelf.unfinished("corsair").name == "corsair"
    assert told(home / "feedback" / "chain.json")["request"]["name"] == "corsair"
    child = shelf.get("child")
    assert (child.parent, child.request["from"]) == ("corsair@2", "corsair")
    assert shelf.get("sum").parent == "corsair@2+pirates@1"
    assert shelf.get("corsair@1").parent == "old@2"
    assert shelf.put(replace(PLANNED, name="corsair"), write).version == 3
    assert shelf.put(PLANNED, write).version == 1


@pytest.mark.parametrize("step", [1, 2])
def test_what_fails_on_the_way_leaves_all_as_it_was(shelf, monkeypatch, step):
    before, calls, rename = files(shelf), [], Path.rename

    def failing(path, target):
        calls.append(path)
        if len(calls) == step:
            raise OSError("no space\nleft")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    assert "no space left" in refused(moving.rename, shelf, {"pirate": "corsair"})
    assert files(shelf) == before


def test_where_the_disk_has_no_links_it_is_copied(shelf, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(OSError("none")))
    moving.rename(shelf, {"pirate": "corsair"})
    assert (shelf.folder / "corsair" / "1" / WEIGHTS).read_text() == "first"
    assert labels(shelf) == ["child@1", "corsair@1", "corsair@2", "sum@1"]


def test_a_name_that_another_kernel_takes_meanwhile_stays_theirs(shelf):
    shelf.put(replace(PLANNED, name="corsair"), write)
    before = files(shelf)
    refused(moving.rename, shelf, {"pirate": "corsair"})
    assert files(shelf) == before


def test_what_a_newer_nbpeft_wrote_keeps_its_name(shelf):
    path = shelf.folder / "pirate" / "1" / "nbpeft.json"
    path.write_text(json.dumps(told(path) | {"format": 2}))
    before = files(shelf)
    assert "newer" in refused(moving.rename, shelf, {"pirate": "corsair"})
    assert files(shelf) == before


def test_links_are_not_followed(shelf, working_folder):
    outside = working_folder / "outside"
    outside.mkdir()
    (outside / "nbpeft.json").write_text(json.dumps({"name": "pirate", "parent": "pirate@1"}))
    (outside / "mine").write_text("mine")
    before = {path: path.read_text() for path in outside.iterdir()}
    (shelf.folder / "linked").symlink_to(outside)
    for change in (
        lambda: moving.rename(shelf, {"linked": "corsair"}),
        lambda: moving.delete(shelf, "linked"),
    ):
        assert "link" in refused(change)
    (shelf.folder / "pirate" / "9").symlink_to(outside)
    (shelf.folder / "child" / "7").symlink_to(outside)
    (shelf.folder / "pirate" / "feedback" / "far").symlink_to(outside)
    moving.rename(shelf, {"pirate": "corsair"})
    assert (shelf.folder / "corsair" / "9").is_symlink()
    moving.delete(shelf, "corsair")
    assert not (shelf.folder / "corsair").exists()
    assert {path: path.read_text() for path in outside.iterdir()} == before


def test_one_version_is_deleted_alone(shelf):
    home = shelf.folder / "pirate"
    moving.delete(shelf, "pirate", 2)
    assert labels(shelf) == ["child@1", "pirate@1", "sum@1"]
    assert (home / "targets").is_dir()
    moving.delete(shelf, "pirate", 1)  # of the last nothing is left but a run that came to no end
    assert shelf.unfinished("pirate") is not None
    shelf.drop_unfinished("pirate")
    shelf.put(PLANNED, write)
    moving.delete(shelf, "pirate", 1)
    assert not home.exists()


def test_all_of_it_is_deleted_but_what_is_no_part_of_it(shelf):
    home = shelf.folder / "pirate"
    (home / "notes.txt").write_text("mine")
    moving.delete(shelf, "pirate")
    assert labels(shelf) == ["child@1", "sum@1"]
    assert sorted(path.name for path in home.iterdir()) == [".lock", "notes.txt"]
    assert not moving.is_free(shelf, "pirate")
    (home / "notes.txt").unlink()
    assert moving.is_free(shelf, "pirate")
    moving.delete(shelf, "child")
    assert sorted(p.name for p in shelf.folder.iterdir()) == ["pirate", "sum"]


@pytest.mark.parametrize("change", ["rename", "delete"])
def test_who_waits_to_write_meanwhile_writes_an_adapter_of_that_name_anew(
    shelf, monkeypatch, change
):
    monkeypatch.setattr(shelf_module, "PATIENCE", 0.05)
    waits = threading.Event()
    monkeypatch.setattr("builtins.print", lambda _: waits.set())
    home, put = shelf.folder / "pirate", []
    writer = threading.Thread(target=lambda: put.append(shelf.put(PLANNED, write)))
    with FileLock(home / ".lock"):
        writer.start()
        assert waits.wait(10)
        home.rename(shelf.folder / "elsewhere")  # as either does, with the lock held
    writer.join(10)
    assert [record.label for record in put] == ["pirate@1"]
    assert put[0].path.is_dir()
