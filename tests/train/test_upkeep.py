"""Adapters renamed, deleted, exported: what the model answers, what memory and files hold."""

from __future__ import annotations

import gc
import json
import weakref
import zipfile

import pytest
import torch
from conftest import logits
from peft import LoraConfig, PeftModel, get_peft_model

import nbpeft
import nbpeft.session
from nbpeft.errors import AdapterError, RequestError, RunError


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def refused(call, *args, match, kind=AdapterError):
    before = files(nbpeft.session.current().shelf.folder)
    with pytest.raises(kind, match=match) as error:
        call(*args)
    assert "\n" not in str(error.value)
    assert files(nbpeft.session.current().shelf.folder) == before


@pytest.fixture
def pirate(tune):
    """pirate@1 and @2, and what the model answers as the second."""
    tune("pirate", max_steps=1, eval=0)
    tune("pirate", max_steps=2, eval=0, learning_rate=1e-2)
    nbpeft.attach("pirate", model=tune.model)
    return logits(tune.model)


def test_what_is_attached_stays_so_under_its_new_name(tune, pirate):
    handle = nbpeft.session.current().handle(tune.model)
    mount = handle.in_tree
    nbpeft.rename("pirate", "corsair")
    assert torch.equal(logits(tune.model), pirate)
    assert nbpeft.session.current().attached() == ["corsair@2"]
    assert handle.in_tree is mount is handle.mounts["corsair@2"]
    assert nbpeft.adapters()["corsair"].path.name == "2"
    assert list(nbpeft.adapters()) == ["corsair", "corsair@1"]
    # Another of the old name is another adapter.
    tune("pirate", max_steps=1, eval=0)
    nbpeft.attach("pirate", model=tune.model)
    assert not torch.equal(logits(tune.model), pirate)
    nbpeft.attach("corsair", model=tune.model)
    assert torch.equal(logits(tune.model), pirate)
    # And as a new kernel reads it from the shelf.
    nbpeft.attach(None, model=tune.model)
    nbpeft.session._current = None
    nbpeft.attach("corsair", model=tune.model)
    assert torch.equal(logits(tune.model), pirate)


def test_what_is_in_the_kernel_only_and_what_is_made_of_it(tune, pirate):
    nbpeft.attach("fresh", model=tune.model, method="lora")
    nbpeft.attach("pirate+fresh", model=tune.model)
    nbpeft.rename("fresh", "hand.made")
    assert nbpeft.session.current().attached() == ["pirate@2+hand.made@1"]
    nbpeft.rename("pirate", "corsair")
    assert torch.equal(logits(tune.model), pirate)
    nbpeft.attach("corsair+hand.made", model=tune.model)
    assert nbpeft.save("hand.made", model=tune.model).label == "hand.made@1"


def test_a_stopped_child_goes_on_from_its_renamed_parent(tune, pirate, stopped_at):
    with stopped_at(1):
        tune("child", from_="pirate", max_steps=2, eval=0)
    nbpeft.rename("pirate", "corsair")
    assert nbpeft.adapters()["child"].parent == "corsair@2"
    tune("child", resume=True, max_steps=None, eval=None, batch_size=None)
    assert nbpeft.adapters()["child"].parent == "corsair@2"


def test_what_a_chain_trained_beside_goes_along(tune):
    tune("pirate", max_steps=1, eval=0)
    tune("pirate-sft", max_steps=1, eval=0)
    nbpeft.rename("pirate", "corsair")
    assert set(nbpeft.adapters()) == {"corsair", "pirate-sft"}, "that is the user's own"
    kept = nbpeft.adapters()["corsair"].path.parent / "feedback"
    kept.mkdir()
    (kept / "chain.json").write_text(json.dumps({"request": {"name": "corsair"}}))
    nbpeft.rename("pirate-sft", "corsair-sft")
    nbpeft.rename("corsair", "poet")
    assert set(nbpeft.adapters()) == {"poet", "poet-sft"}


def test_deleted_it_is_gone_from_disk_and_memory(tune, pirate):
    refused(nbpeft.delete, "pirate", match="pirate@2 is attached.*%peft_attach --none")
    assert torch.equal(logits(tune.model), pirate)
    handle = nbpeft.session.current().handle(tune.model)
    weight = weakref.ref(handle.in_tree.trainable[0])
    tune("child", from_="pirate", max_steps=1, eval=0)
    nbpeft.attach(None, model=tune.model)
    nbpeft.delete("pirate@1")
    assert set(nbpeft.adapters()) == {"pirate", "child"}
    gc.disable()
    try:
        nbpeft.delete("pirate")
        assert weight() is None
    finally:
        gc.enable()
    assert list(nbpeft.adapters()) == ["child"]
    nbpeft.attach("child", model=tune.model)
    assert nbpeft.adapters()["child"].parent == "pirate@2"
    nbpeft.attach("fresh", model=tune.model, method="lora")
    nbpeft.attach(None, model=tune.model)
    nbpeft.delete("fresh")
    assert list(nbpeft.adapters()) == ["child"]


def test_what_is_made_of_a_deleted_one_is_made_anew(tune, pirate):
    tune("poet", max_steps=1, eval=0)
    nbpeft.attach("pirate+poet", model=tune.model)
    both = logits(tune.model)
    refused(nbpeft.delete, "pirate@2", match="poet@1 is attached")
    nbpeft.attach(None, model=tune.model)
    nbpeft.delete("pirate@2")
    assert tune("pirate", max_steps=1, eval=0).record.label == "pirate@2"
    nbpeft.attach("pirate+poet", model=tune.model)
    assert not torch.equal(logits(tune.model), both)


def test_what_cannot_be_changed(tune, pirate):
    tune("poet", max_steps=1, eval=0)
    own = get_peft_model(tune.model.__class__(tune.model.config), LoraConfig(r=2), "mine")
    nbpeft.session.current().handle(own)
    for call in (nbpeft.delete, nbpeft.export_adapter, lambda name: nbpeft.rename(name, "new")):
        refused(call, "Base", match="the model without an adapter")
        refused(call, "mine", match="your own PeftModel")
        refused(call, "pirate+poet", match="made of others")
        refused(call, "pirat", match="Did you mean pirate?")
        refused(call, "pirate@7", match="no version 7")
        refused(call, "../pirate", match="can't be called")
    refused(nbpeft.rename, "pirate@1", "new", match="a name is that of all versions")
    for taken in ("poet", "mine", "pirate"):
        refused(nbpeft.rename, "pirate", taken, match=f"an adapter '{taken}' already")
    for bad in ("none", "a/b", "a@1", "x" * 65, "<b>"):
        refused(nbpeft.rename, "pirate", bad, match="can't be called")
    (nbpeft.session.current().shelf.folder / "notes").mkdir()
    (nbpeft.session.current().shelf.folder / "notes" / "mine.txt").touch()
    refused(nbpeft.rename, "pirate", "notes", match="something at")
    assert torch.equal(logits(tune.model), pirate)


def test_an_exported_adapter_is_loaded_by_plain_peft(tune, pirate, working_folder, stopped_at):
    with stopped_at(1):
        tune("stopped", max_steps=2, eval=0)
    folder = nbpeft.adapters()["stopped"].path
    (folder / "notes.bin").write_text("no weights")
    assert (folder / "resume").is_dir()
    path = nbpeft.export_adapter("stopped")
    assert path == working_folder / "stopped.zip"
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {
            "stopped/adapter_config.json", "stopped/adapter_model.safetensors",
            "stopped/nbpeft.json",
        }  # fmt: skip
    path = nbpeft.export_adapter("pirate", working_folder / "away.zip")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(working_folder / "elsewhere")
    nbpeft.attach(None, model=tune.model)
    loaded = PeftModel.from_pretrained(tune.model, working_folder / "elsewhere" / "pirate")
    assert torch.equal(logits(loaded), pirate)


def test_nothing_is_exported_over_what_is_there(tune, working_folder, monkeypatch):
    tune("pirate", max_steps=1, eval=0)
    (working_folder / "pirate.zip").write_text("mine")
    assert nbpeft.export_adapter("pirate").name == "pirate-2.zip"
    assert nbpeft.export_adapter("pirate@1").name == "pirate@1.zip"
    assert (working_folder / "pirate.zip").read_text() == "mine"
    (working_folder / "link.zip").symlink_to(working_folder / "nowhere")
    for to, why in (
        ("pirate.zip", "nothing is written over"),
        ("link.zip", "nothing is written over"),
        ("pirate.tar", "give --to NAME.zip"),
        ("nowhere/pirate.zip", "no folder"),
        ("adapters/pirate.zip", "the folder of the adapters"),
    ):
        refused(nbpeft.export_adapter, "pirate", to, match=why, kind=RequestError)
    write = zipfile.ZipFile.write

    def meanwhile(archive, *words):
        (working_folder / "late.zip").write_text("another's")
        write(archive, *words)

    monkeypatch.setattr(zipfile.ZipFile, "write", meanwhile)
    refused(nbpeft.export_adapter, "pirate", "late.zip", match="written over", kind=RequestError)
    assert (working_folder / "late.zip").read_text() == "another's"
    monkeypatch.setattr(zipfile.ZipFile, "write", lambda *_: (_ for _ in ()).throw(OSError("full")))
    before = files(working_folder)
    refused(
        nbpeft.export_adapter, "pirate", "new.zip", match="full. Nothing is left", kind=RunError
    )
    assert files(working_folder) == before
    nbpeft.attach("fresh", model=tune.model, method="lora")
    refused(nbpeft.export_adapter, "fresh", match="shelve it first")
