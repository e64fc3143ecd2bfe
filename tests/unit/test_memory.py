"""%peft_memory: who holds memory in a kernel, and what is free once it was let go."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from shells import new_shell
from torch import nn

import nbpeft.session
from nbpeft.config import NbPeft
from nbpeft.errors import RequestError

MB = 1 << 20


@pytest.fixture
def shell(monkeypatch):
    NbPeft.clear_instance()
    shell = new_shell()
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    monkeypatch.setattr(nbpeft.session, "_current", None)
    shell.run_line_magic("load_ext", "nbpeft")
    shell.run_cell("import torch, nbpeft")
    yield shell
    shell.reset()
    NbPeft.clear_instance()


def held(memory):
    return {(one.kind, one.name): one for one in memory.held}


def look(shell, line=""):
    return shell.run_line_magic("peft_memory", line)


def test_a_variable_holds_what_it_leads_to(shell):
    shell.run_cell("a = torch.zeros(2**18); b = {'deep': [a[:10], torch.zeros(2**19)]}; c = b")
    found = held(look(shell))
    assert (found["variable", "a"].size, found["variable", "a"].alone) == (MB, 0)
    assert (found["variable", "b, c"].size, found["variable", "b, c"].alone) == (3 * MB, 2 * MB)


def test_arrays_count_once_with_their_views(shell):
    shell.user_ns["array"] = np.zeros(MB, dtype=np.uint8)
    shell.user_ns["view"] = shell.user_ns["array"][5:]
    shell.user_ns["same"] = torch.from_numpy(shell.user_ns["array"])
    found = held(look(shell))
    assert found["variable", "array"].size == found["variable", "view"].size == MB
    assert found["variable", "array"].alone == 0


def test_a_loss_holds_the_activations_of_its_step(shell):
    shell.run_cell(
        "w = torch.zeros(512, 512, requires_grad=True)\n"
        "losses = [(torch.zeros(1024, 512) @ w).exp().sum()]"
    )
    found = held(look(shell))
    assert found["variable", "losses"].alone >= 4 * MB  # what is multiplied, and exp's result
    shell.run_cell("losses[0].backward()")
    found = held(look(shell))
    assert found["variable", "losses"].alone < MB
    assert found["variable", "w"].size == 2 * MB  # with its gradient


def test_a_model_and_a_trainer_around_it(shell):
    shell.user_ns["model"] = nn.Linear(512, 512, bias=False)
    shell.user_ns["trainer"] = {"model": shell.user_ns["model"], "state": torch.zeros(512, 512)}
    found = held(look(shell))
    assert (found["variable", "model"].size, found["variable", "model"].alone) == (MB, 0)
    assert (found["variable", "trainer"].size, found["variable", "trainer"].alone) == (2 * MB, MB)


def test_outputs_are_let_go_and_texts_stay(shell):
    shell.run_cell("torch.zeros(2**18)", store_history=True)
    number = next(
        n for n in shell.user_ns["Out"] if isinstance(shell.user_ns["Out"][n], torch.Tensor)
    )
    shell.run_cell("'a text'", store_history=True)
    gone = weakref.ref(shell.user_ns["Out"][number])
    found = held(look(shell))
    assert found["output", f"Out[{number}]"].alone == MB
    memory = look(shell, "--free")
    assert gone() is None
    assert f"_{number}" not in shell.user_ns
    assert "a text" in shell.user_ns["Out"].values()
    assert ("output", f"Out[{number}]") not in held(memory)
    assert f"let go of Out[{number}]" in memory.notes[0]


def test_the_last_traceback_is_emptied(shell, capsys):
    shell.run_cell(
        "def fails():\n    big = torch.zeros(2**18)\n    kept.append(weakref.ref(big))\n"
        "    raise RuntimeError('out of luck')\n"
        "import weakref\nkept = []\nfails()"
    )
    capsys.readouterr()
    (gone,) = shell.user_ns["kept"]
    gc.collect()
    assert gone() is not None
    assert held(look(shell))["traceback", "RuntimeError"].size >= MB
    memory = look(shell, "--free")
    assert gone() is None
    assert not [kind for kind, _ in held(memory) if kind == "traceback"]


def test_a_variable_goes_when_it_is_named(shell):
    shell.run_cell("a = torch.zeros(2**18)\nb = torch.zeros(2**18)\na", store_history=True)
    gone, stays = weakref.ref(shell.user_ns["a"]), weakref.ref(shell.user_ns["b"])
    look(shell, "a --free")
    assert gone() is None
    assert "a" not in shell.user_ns
    assert stays() is shell.user_ns["b"]


def test_a_wrong_name_lets_nothing_go(shell):
    shell.run_cell("a = torch.zeros(2**18)\na", store_history=True)
    with pytest.raises(RequestError, match="no variable 'aa'"):
        nbpeft.holding.memory(
            nbpeft.session.current(), shell.user_ns, shell, ["a", "aa"], free=True
        )
    assert "a" in shell.user_ns
    assert any(value is shell.user_ns["a"] for value in shell.user_ns["Out"].values())


@pytest.mark.parametrize("name", ["Out", "In", "_", "_1", "_i1"])
def test_what_ipython_keeps_is_no_variable_of_the_user_s(shell, name):
    shell.run_cell("torch.zeros(2)", store_history=True)
    with pytest.raises(RequestError, match="no variable"):
        nbpeft.holding.memory(nbpeft.session.current(), shell.user_ns, shell, [name], free=True)
    assert isinstance(shell.user_ns["Out"][1], torch.Tensor)


def test_adapters_on_the_shelf_are_read_again(shell, tiny_pair):
    model, _ = tiny_pair
    shell.user_ns["model"] = model
    for name in ("one", "two"):
        nbpeft.attach(name, model=model, method="lora")
        nbpeft.save(name, model=model)
    nbpeft.attach("one", model=model)
    session = nbpeft.session.current()
    handle = session.handle(model)
    found = held(look(shell))
    assert found["adapter", "two@1"].alone > 0
    assert found["adapter", "one@1"].alone == 0, "the model leads to it, too"
    weights = [p.clone() for p in handle.mounts["two@1"].trainable]
    memory = look(shell, "--free")
    assert set(handle.mounts) == {"one@1"}
    assert "two@1 (it is on the shelf)" in memory.notes[0]
    again = session.mount(handle, session.record(handle, "two"))
    assert all(map(torch.equal, weights, again.trainable))


def test_what_is_in_no_variable(shell):
    kept = torch.zeros(2**18)
    assert held(look(shell))["elsewhere", ""].alone >= kept.untyped_storage().nbytes()


def test_looking_keeps_and_changes_nothing(shell):
    shell.run_cell("a = torch.zeros(2**18)\na", store_history=True)
    names = set(shell.user_ns)
    memory = look(shell)
    assert set(shell.user_ns) == names
    gone = weakref.ref(shell.user_ns["a"])
    look(shell, "a --free")
    assert gone() is None, "not even by what was shown before"
    assert memory.held


def test_names_are_escaped(shell):
    shell.user_ns["<b>x"] = torch.zeros(2**20)
    assert "<b>" not in look(shell)._repr_mimebundle_()["text/html"]
