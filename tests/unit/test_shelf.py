"""The shelf: names that are folders, versions, and nothing half written or read from outside."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from test_errors import refusal

from nbpeft.errors import AdapterError
from nbpeft.listing.adapters import Adapters
from nbpeft.session.names import check_name, split_label
from nbpeft.session.record import Record
from nbpeft.session.shelf import Shelf

WEIGHTS = "adapter_model.safetensors"
PLANNED = Record(
    name="pirate",
    version=1,
    method="lora",
    objective="sft",
    model="0123456789abcdef",
    trainable_parameters=10,
    total_parameters=1000,
    metrics={"loss": 1.5, "steps": 3},
    losses=((1, 2.5), (2, 1.5)),
    held_out=((0, 3.0), (3, 2.0)),
    request={"name": "pirate", "rank": 8, "fields": {"use_dora": True}},
    settings={"method": {"r": 8}, "trainer": {"learning_rate": 0.001}},
    data={"fingerprint": "f", "prompts": ["Hé, <b>you</b>\n"]},
    parent="old@2",
    partial=True,
    created="2025-01-01T00:00:00+00:00",
    versions={"torch": "2.6.0"},
)


def write(folder, text="weights"):
    (folder / WEIGHTS).write_text(text)
    (folder / "adapter_config.json").write_text("{}")


def failing(error):
    def fail(folder):
        write(folder)
        raise error

    return fail


@pytest.fixture
def shelf(working_folder):
    return Shelf(working_folder / "adapters")


@pytest.fixture
def two(shelf):
    """A shelf with pirate@1 and pirate@2."""
    for text in ("first", "second"):
        shelf.put(PLANNED, lambda folder, text=text: write(folder, text))
    return shelf


def labels(shelf):
    return [record.label for record in shelf.records()]


def files(shelf):
    """Every file and folder of the shelf with its bytes, but for the locks."""
    return {
        path.relative_to(shelf.folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in shelf.folder.rglob("*")
        if path.name != ".lock"
    }


def refused(call, *args, **words):
    return refusal(call, *args, kind=AdapterError, **words)


# Names

GOOD = ["pirate", "a", "_", "Pirate-2.1_b", "x" * 64, "2024-01-01", "nonesuch", "base2"]
BAD = {
    "slash": "a/b",
    "absolute": "/etc",
    "backslash": "a\\b",
    "up": "..",
    "up-and-down": "../x",
    "dots-inside": "a..b",
    "dot": ".",
    "hidden": ".new-x",
    "trailing-dot": "pirate.",
    "leading-dash": "-rf",
    "space": "my pirate",
    "newline": "pirate\n",
    "null": "a\x00b",
    "300": "x" * 300,
    "megabyte": "x" * 1_000_000,
    "html": "<img src=x onerror=alert(1)>",
    "colon": "C:",
    "at": "pirate@1",
    "accent": "café",
    "full-width": "\uff41",
    "empty": "",
    "base": "base",
    "NONE": "NONE",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_name_is_a_folder(shelf, name):
    assert check_name(name) == name
    shelf.put(replace(PLANNED, name=name), write)
    assert labels(shelf) == [f"{name}@1"]
    assert (shelf.folder / name / "1" / WEIGHTS).is_file()


@pytest.mark.parametrize("name", BAD.values(), ids=BAD)
def test_any_other_name_is_refused_in_one_line_and_makes_nothing(shelf, working_folder, name):
    before = sorted(working_folder.parent.rglob("*"))
    message = refused(shelf.put, replace(PLANNED, name=name), write)
    assert "called '" in message
    assert name.isprintable() is False or name[:30] in message
    assert sorted(working_folder.parent.rglob("*")) == before
    refused(shelf.get, name)


def test_the_words_for_the_base_say_why():
    assert "without an adapter" in refused(check_name, "None")


def test_a_label_is_a_name_and_maybe_a_version():
    assert split_label("pirate") == ("pirate", None)
    assert split_label("pirate@12") == ("pirate", 12)


@pytest.mark.parametrize(
    "label", ["pirate@", "pirate@x", "pirate@-1", "pirate@1.5", "p@1@2", "p@²", "p@" + "9" * 5000]
)
def test_a_label_without_a_number_after_the_at(label):
    assert "NAME@1" in refused(split_label, label)


# Versions


def test_what_is_put_comes_back_after_a_restart(shelf):
    put = shelf.put(PLANNED, write)
    assert put == replace(PLANNED, path=shelf.folder / "pirate" / "1", size=len("weights"))
    assert Shelf(shelf.folder).records() == [put]


def test_only_json_and_what_the_method_wrote_lie_there(shelf):
    put = shelf.put(PLANNED, write)
    assert {path.name for path in put.path.iterdir()} == {
        "adapter_config.json", WEIGHTS, "nbpeft.json"
    }  # fmt: skip


def test_a_shelf_that_is_not_there_yet_is_empty_and_stays_so(shelf):
    assert shelf.records() == []
    assert shelf.next_version("pirate") == 1
    refused(shelf.get, "pirate")
    assert not shelf.folder.exists()


def test_a_name_again_is_its_next_version_and_the_earlier_one_stays(two):
    assert labels(two) == ["pirate@1", "pirate@2"]
    assert two.next_version("pirate") == 3
    assert two.get("pirate").label == "pirate@2"
    assert (two.get("pirate@1").path / WEIGHTS).read_text() == "first"


def test_ten_comes_after_nine(shelf):
    for _ in range(11):
        shelf.put(PLANNED, write, keep=20)
    assert [record.version for record in shelf.records()] == list(range(1, 12))
    assert shelf.get("pirate").version == 11


def test_a_version_that_only_the_kernel_had_leaves_a_gap(two):
    assert two.put(replace(PLANNED, version=7), write).label == "pirate@7"
    assert two.put(replace(PLANNED, version=4), write).label == "pirate@8"


def test_an_unknown_name_gives_the_nearest_and_an_unknown_version_those_there_are(two):
    message = refused(two.get, "pirat")
    assert "'pirat'" in message
    assert "Did you mean pirate?" in message
    assert "version 5" in (message := refused(two.get, "pirate@5"))
    assert "1, 2" in message


@pytest.mark.parametrize(("keep", "left"), [(0, [6]), (1, [5, 6]), (3, [3, 4, 5, 6])])
def test_pruning_keeps_so_many_earlier_versions(shelf, keep, left):
    shelf.put(replace(PLANNED, name="pirate2"), write)
    for _ in range(6):
        shelf.put(PLANNED, write, keep=keep)
    assert [record.version for record in shelf.records() if record.name == "pirate"] == left
    assert shelf.get("pirate2")
    assert {p.name for p in (shelf.folder / "pirate").iterdir()} - {".lock"} == set(map(str, left))


def test_a_version_that_was_pruned_is_not_given_away_again(shelf):
    for _ in range(3):
        put = shelf.put(PLANNED, write, keep=0)
    assert put.label == "pirate@3"


def test_an_earlier_version_that_cannot_be_moved_is_no_failure(two, monkeypatch):
    rename = Path.rename

    def in_use(path, target):
        if path.name == "1":
            raise PermissionError(13, "in use")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", in_use)
    assert two.put(PLANNED, write, keep=0).label == "pirate@3"
    assert labels(two) == ["pirate@1", "pirate@3"]


# All or nothing


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), MemoryError()])
def test_when_writing_fails_the_shelf_is_as_before(two, error):
    before = files(two)
    with pytest.raises(type(error)):
        two.put(PLANNED, failing(error), keep=0)
    assert files(two) == before
    assert two.put(PLANNED, write).label == "pirate@3"


def test_so_it_is_when_the_resume_state_cannot_be_copied(two, working_folder):
    before = files(two)
    with pytest.raises(OSError, match="nowhere"):
        two.put(PLANNED, write, resume=working_folder / "nowhere", keep=0)
    assert files(two) == before


def test_a_first_adapter_that_fails_is_not_there(shelf):
    with pytest.raises(OSError, match="space"):
        shelf.put(PLANNED, failing(OSError("no space")))
    assert labels(shelf) == []
    assert files(shelf) == {"pirate": None}


def test_nobody_sees_an_adapter_that_is_being_written(two):
    seen = []

    def look(folder):
        write(folder)
        (folder / "nbpeft.json").write_text(json.dumps(PLANNED.to_dict()))
        seen.extend(labels(Shelf(two.folder)))

    two.put(PLANNED, look)
    assert seen == ["pirate@1", "pirate@2"]


def test_what_a_killed_kernel_left_is_no_adapter(two):
    left = two.folder / "pirate" / ".new-abc" / "adapter"
    left.mkdir(parents=True)
    write(left)
    (left / "nbpeft.json").write_text(json.dumps(PLANNED.to_dict()))
    assert labels(two) == ["pirate@1", "pirate@2"]


# Several at once


def test_a_second_writer_waits_for_the_lock(two):
    other = threading.Thread(target=two.put, args=(PLANNED, write), daemon=True)
    with FileLock(two.folder / "pirate" / ".lock"):
        other.start()
        other.join(0.15)
        assert other.is_alive()
        assert labels(two) == ["pirate@1", "pirate@2"]
    other.join(10)
    assert labels(two) == ["pirate@1", "pirate@2", "pirate@3"]


def test_another_name_does_not_wait(two):
    with FileLock(two.folder / "pirate" / ".lock"):
        assert two.put(replace(PLANNED, name="poet"), write).label == "poet@1"


def test_threads_at_once_get_a_version_each(shelf):
    def put_one(i):
        return shelf.put(PLANNED, lambda folder: write(folder, str(i)), keep=20)

    with ThreadPoolExecutor(8) as pool:
        put = list(pool.map(put_one, range(8)))
    assert sorted(record.version for record in put) == list(range(1, 9))
    for i, record in enumerate(put):
        assert (record.path / WEIGHTS).read_text() == str(i)


def test_processes_at_once_get_a_version_each(shelf, root):
    code = f"""if True:
        import json
        from pathlib import Path
        from nbpeft.session.record import Record
        from nbpeft.session.shelf import Shelf
        record = Record.from_dict(json.loads({json.dumps(PLANNED.to_dict())!r}), None, 0)
        input("ready")
        for _ in range(5):
            Shelf(Path({str(shelf.folder)!r})).put(record, lambda folder: None, keep=20)
    """
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=root, **piped) for _ in range(2)]
    for process in both:
        assert process.stdout.read(5) == b"ready"
    for process in both:
        process.communicate(b"\n", timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    assert [record.version for record in shelf.records()] == list(range(1, 11))


# Nothing from outside


@pytest.fixture
def outside(working_folder):
    """An adapter's folder that isn't on the shelf, as a name's and as a version's folder."""
    shelf = Shelf(working_folder / "elsewhere")
    shelf.put(replace(PLANNED, name="linked"), write)
    return shelf.folder / "linked"


def link_name(two, outside):
    (two.folder / "linked").symlink_to(outside, target_is_directory=True)


def link_version(two, outside):
    (two.folder / "linked").mkdir()
    (two.folder / "linked" / "1").symlink_to(outside / "1", target_is_directory=True)


def link_file(file):
    def link(two, outside):
        folder = two.folder / "linked" / "1"
        folder.mkdir(parents=True)
        for path in (outside / "1").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / file).unlink()
        (folder / file).symlink_to(outside / "1" / file)

    return link


@pytest.mark.parametrize(
    "link",
    [link_name, link_version, link_file("nbpeft.json"), link_file(WEIGHTS)],
    ids=["name", "version", "record", "weights"],
)
def test_links_out_of_the_shelf_are_not_followed(two, outside, link):
    link(two, outside)
    assert labels(two) == ["pirate@1", "pirate@2"]
    refused(two.get, "linked")


@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_written_through_a_linked_name(two, outside, working_folder, there):
    target = outside if there else working_folder / "not-there"
    (two.folder / "linked").symlink_to(target, target_is_directory=True)
    before = sorted(working_folder.rglob("*"))
    assert "link" in refused(two.put, replace(PLANNED, name="linked"), write)
    assert sorted(working_folder.rglob("*")) == before


def test_a_linked_version_is_stepped_over_and_never_pruned_away(two, outside):
    (two.folder / "pirate" / "3").symlink_to(outside / "1", target_is_directory=True)
    assert two.put(PLANNED, write, keep=0).label == "pirate@4"
    assert labels(two) == ["pirate@4"]
    assert (outside / "1" / WEIGHTS).is_file()


# Folders edited by hand

EDITS = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda _: "",
    "no-mapping": lambda _: "[1, 2]",
    "null": lambda _: "null",
    "nested": lambda _: "[" * 100_000,
    "no-text": lambda text: "\udcff" + text,
    "other-name": lambda text: text.replace('"pirate"', '"corsair"'),
    "name-leads-out": lambda text: text.replace('"pirate"', '"../pirate"'),
    "other-version": lambda text: text.replace('"version": 2', '"version": 3'),
    "version-as-text": lambda text: text.replace('"version": 2', '"version": "2"'),
    "no-method": lambda text: text.replace('"method": "lora",', ""),
    "method-null": lambda text: text.replace('"method": "lora"', '"method": null'),
    "parameters-as-text": lambda text: text.replace(
        '"total_parameters": 1000', '"total_parameters": "many"'
    ),
    "metrics-as-list": lambda text: json.dumps({**json.loads(text), "metrics": []}),
    "loss-as-text": lambda text: text.replace('"loss": 1.5', '"loss": "low"'),
    "losses-as-number": lambda text: json.dumps({**json.loads(text), "losses": 5}),
    "a-key-more": lambda text: json.dumps({**json.loads(text), "surprise": 1}),
    "a-path": lambda text: json.dumps({**json.loads(text), "path": "/etc"}),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_record_edited_into_nonsense_is_skipped_and_its_place_left_alone(two, edit):
    record = two.folder / "pirate" / "2" / "nbpeft.json"
    edited = edit(record.read_text()).encode("utf-8", "surrogateescape")
    assert edited != record.read_bytes()
    record.write_bytes(edited)
    assert labels(two) == ["pirate@1"]
    assert two.get("pirate").version == 1
    assert "pirate@1" not in repr(Adapters(two.records()))
    assert two.put(PLANNED, write, keep=0).label == "pirate@3"
    assert record.read_bytes() == edited
    assert (record.parent / WEIGHTS).read_text() == "second"


@pytest.mark.parametrize("name", ["base", "my pirate", "<b>", "a\nb", "x."])
def test_a_folder_whose_name_cannot_be_typed_is_skipped(two, name):
    folder = two.folder / name
    (two.folder / "pirate").rename(folder)
    for record in folder.glob("*/nbpeft.json"):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"name": name}))
    assert labels(two) == []


def test_a_folder_copied_under_another_name_or_number_is_skipped(two):
    (two.folder / "pirate" / "2").rename(two.folder / "pirate" / "9")
    (two.folder / "corsair").mkdir()
    (two.folder / "pirate" / "1").rename(two.folder / "corsair" / "1")
    assert labels(two) == []


def test_versions_begin_at_one(two):
    (two.folder / "pirate" / "2").rename(two.folder / "pirate" / "0")
    record = two.folder / "pirate" / "0" / "nbpeft.json"
    record.write_text(record.read_text().replace('"version": 2', '"version": 0'))
    assert labels(two) == ["pirate@1"]


def test_stray_files_are_nobody_s_business(two):
    (two.folder / "README.md").write_text("mine")
    (two.folder / "pirate" / "3").write_text("a file where a version may come")
    (two.folder / "pirate" / "notes").mkdir()
    (two.folder / "pirate" / "notes" / "nbpeft.json").write_text("{}")
    assert labels(two) == ["pirate@1", "pirate@2"]
    assert two.put(PLANNED, write).label == "pirate@4"


def test_a_version_deleted_by_hand_is_gone(two):
    for path in (two.folder / "pirate" / "2").iterdir():
        path.unlink()
    (two.folder / "pirate" / "2").rmdir()
    assert two.get("pirate").version == 1


# The state of a stopped run


def test_the_resume_state_lies_with_its_adapter_until_the_run_is_finished(shelf, working_folder):
    state = working_folder / "state"
    state.mkdir()
    (state / "optimizer.pt").write_bytes(b"momentum")
    put = shelf.put(PLANNED, write, resume=state)
    (kept,) = Shelf(shelf.folder).records()
    folder = shelf.resume_folder(kept)
    assert (folder / "optimizer.pt").read_bytes() == b"momentum"
    assert folder.is_relative_to(put.path)
    shelf.drop_resume(kept)
    assert shelf.resume_folder(kept) is None
    assert labels(shelf) == ["pirate@1"]
    shelf.drop_resume(kept)  # once more is no error


def test_a_finished_run_has_none(shelf):
    assert shelf.resume_folder(shelf.put(PLANNED, write)) is None
    assert shelf.resume_folder(PLANNED) is None


# The record, and the list of them


def test_a_record_says_label_and_share():
    assert PLANNED.label == "pirate@1"
    assert PLANNED.trainable_percent == pytest.approx(1.0)
    assert replace(PLANNED, total_parameters=0).trainable_percent >= 0


def test_a_record_is_plain_json_with_a_format():
    kept = json.loads(json.dumps(PLANNED.to_dict()))
    assert kept["format"] == 1
    assert Record.from_dict(kept, Path("x"), 5) == replace(PLANNED, path=Path("x"), size=5)


def test_the_list_has_the_newest_by_name_and_the_earlier_by_label(two):
    two.put(replace(PLANNED, name="poet", partial=False), write)
    listed = Adapters(two.records(), attached=["pirate@1"])
    assert set(listed) == {"pirate", "pirate@1", "poet"}
    assert listed["pirate"].version == 2
    rows = {row[0]: row for row in listed.table().rows}
    assert [name for name, row in rows.items() if row[-1] == "yes"] == ["pirate@1"]
    assert "partial" in rows["pirate"][1]
    assert "partial" not in rows["poet"][1]


def test_an_empty_list_says_what_to_type():
    assert "%%finetune NAME" in repr(Adapters([]))
