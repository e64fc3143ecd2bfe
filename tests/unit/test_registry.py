"""Methods, objectives and places by name: found on the first look-up, and paired by capability."""

import dataclasses
import importlib
from dataclasses import dataclass

import pytest
from test_errors import HOSTILE, refusal

from nbpeft.errors import RequestError
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.places import places
from nbpeft.registry import Registry, check_pair
from nbpeft.request import options


@dataclass
class Entry:
    name: str
    summary: str = "a thing"
    needs: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()


@pytest.fixture
def family(tmp_path, monkeypatch):
    """A package of two entry files and a helper, each adding what it holds to `things`."""
    package = tmp_path / "planted_things"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from nbpeft.registry import Registry\nthings = Registry('thing', 'planted_things')\n"
    )
    (package / "_shared.py").write_text("from test_registry import Entry\n")
    for name in ("apple", "banana"):
        (package / f"{name}.py").write_text(
            "from planted_things import things\nfrom planted_things._shared import Entry\n"
            f"things.add(Entry({name!r}))\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("planted_things").things
    for module in ("", "._shared", ".apple", ".banana"):
        importlib.sys.modules.pop(f"planted_things{module}", None)


def test_a_new_file_is_an_entry_and_nothing_else_lists_it(family):
    assert family.names() == ("apple", "banana")
    assert [entry.name for entry in family] == ["apple", "banana"]


def test_files_are_imported_at_the_first_look_up_only(family):
    assert "planted_things.apple" not in importlib.sys.modules
    assert family.get("apple") is family.get("apple")
    assert "planted_things.banana" in importlib.sys.modules


@pytest.mark.parametrize(
    ("word", "says"),
    [("banan", "Did you mean banana?"), ("APPLE", "Did you mean apple?"), ("x", "apple, banana")],
)
def test_an_unknown_name_gives_the_nearest_and_all(family, word, says):
    message = refusal(family.get, word, kind=RequestError)
    assert f"'{word}'" in message
    assert "thing" in message
    assert says in message


@pytest.mark.parametrize("name", [v for v in HOSTILE.values() if isinstance(v, str)])
def test_any_unknown_name_is_refused_on_one_line(name):
    refusal(methods.get, name, kind=RequestError)


def test_the_same_name_twice_is_an_error_in_the_code(family):
    family.get("apple")
    with pytest.raises(ValueError, match="apple"):
        family.add(Entry("apple"))


def test_an_entry_of_a_test_can_be_taken_out_again(family):
    cherry = family.add(Entry("cherry"))
    assert family.get("cherry") is cherry
    family.remove("cherry")
    assert "cherry" not in family.names()


def test_a_pair_is_refused_by_what_is_missing():
    method = Entry("prefix", needs=frozenset({"soft prompt", "causal logits"}))
    message = refusal(check_pair, method, Entry("reward", gives=frozenset({"pooled features"})))
    needed = "'prefix' needs causal logits and soft prompt"
    assert needed in message
    assert "'reward'" in message
    check_pair(method, Entry("sft", gives=method.needs | {"pooled features"}))
    check_pair(Entry("bitfit"), Entry("reward"))


@pytest.mark.parametrize(
    ("registry", "name"), [(methods, "lora"), (objectives, "sft"), (places, "kernel")]
)
def test_every_entry_says_what_it_is_in_a_line(registry: Registry, name):
    assert name in registry.names()
    assert len(set(registry.names())) == len(registry.names())
    for entry in registry:
        assert entry.name == entry.name.strip().lower()
        assert entry.summary
        assert entry.summary.isprintable()


def test_the_default_pair_is_legal():
    check_pair(methods.get("lora"), objectives.get("sft"))


def test_no_word_of_a_run_is_a_field_of_a_config():
    """Else a method's own field could not be set any more: diff has a `keep`."""
    words = {option.name for option in options() if not option.metadata["setting"]}
    taken = {
        (entry.name, field.name)
        for entry in (*methods, *objectives)
        for field in dataclasses.fields(entry.config_class())
        if field.name in words
    }
    assert not taken
