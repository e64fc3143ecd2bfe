"""The shelf over time: what a newer nbpeft wrote, what killed kernels left, who waits for whom."""

import json
import os
import threading
import time

import pytest
from filelock import FileLock
from test_shelf import PLANNED, write

from nbpeft.errors import AdapterError
from nbpeft.session import shelf as module
from nbpeft.session.shelf import Shelf


@pytest.fixture
def shelf(working_folder):
    shelf = Shelf(working_folder / "adapters")
    for _ in range(2):
        shelf.put(PLANNED, write)
    return shelf


def edit(shelf, version, **words):
    path = shelf.folder / "pirate" / str(version) / "nbpeft.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | words))


def test_what_a_newer_nbpeft_wrote_is_not_listed_and_not_replaced_by_another(shelf):
    edit(shelf, 2, format=2, of_the_future=[1])
    assert [r.label for r in shelf.records()] == ["pirate@1"]
    for label in ("pirate", "pirate@2"):
        with pytest.raises(AdapterError, match="pirate@2 was written by a newer nbpeft"):
            shelf.get(label)
    assert shelf.get("pirate@1").version == 1
    assert shelf.put(PLANNED, write).version == 3
    assert shelf.get("pirate").version == 3


def test_an_older_version_of_the_future_is_in_nobody_s_way(shelf):
    edit(shelf, 1, format=2)
    assert shelf.get("pirate").version == 2


def test_what_a_killed_kernel_left_goes_once_it_is_old(shelf):
    home = shelf.folder / "pirate"
    for name, age in ((".new-old", 7200), (".new-young", 60)):
        (home / name / "adapter").mkdir(parents=True)
        os.utime(home / name, (time.time() - age,) * 2)
    shelf.put(PLANNED, write)
    assert {path.name for path in home.glob(".new-*")} == {".new-young"}


def test_whoever_waits_is_told_what_for_and_once(shelf, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    home, said = shelf.folder / "pirate", threading.Event()
    monkeypatch.setattr("builtins.print", lambda line: (said.set(), lines.append(line)))
    lines = []
    with FileLock(home / ".lock"):
        writer = threading.Thread(target=shelf.put, args=(PLANNED, write))
        writer.start()
        assert said.wait(10)
        assert not (home / "3").exists()
    writer.join(10)
    assert (home / "3").is_dir()
    assert lines == [f"[nbpeft] waiting: another kernel is writing an adapter into '{home}'"]
    shelf.put(PLANNED, write)
    assert len(lines) == 1
