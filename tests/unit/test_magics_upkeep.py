"""%peft_adapters NAME --rename and --delete, %peft_export: what is typed, and what it does."""

from __future__ import annotations

import zipfile

import pytest
from shells import new_shell
from test_completion import MAGICS, at
from test_shelf import PLANNED, write

import nbpeft.session
from nbpeft.magics.completion import Completer


@pytest.fixture
def shell(monkeypatch, working_folder):
    monkeypatch.setattr(nbpeft.session, "_current", None)
    shell = new_shell()
    shell.run_line_magic("load_ext", "nbpeft")
    nbpeft.session.current().shelf.put(PLANNED, write)
    return shell


def labels():
    return [record.label for record in nbpeft.session.current().records()]


def test_renamed_exported_deleted(shell, working_folder, capsys):
    for line in ("%peft_adapters pirate --rename corsair", "%peft_export corsair --to 'a b.zip'"):
        assert shell.run_cell(line).success
    assert "pirate is corsair from now on" in capsys.readouterr().out
    assert labels() == ["corsair@1"]
    with zipfile.ZipFile(working_folder / "a b.zip") as archive:
        assert "corsair/nbpeft.json" in archive.namelist()
    assert shell.run_cell("%peft_adapters corsair --delete").success
    assert labels() == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("%peft_adapters --delete", "Which adapter?"),
        ("%peft_adapters pirate --delete --rename x", "stand alone"),
        ("%peft_adapters pirate --delete --model m", "stand alone"),
        ("%peft_adapters pirate --delete=false", "takes no value"),
        ("%peft_adapters pirate poet --delete", "one NAME"),
        ("%peft_adapters pirate --delet", "Did you mean"),
        ("%peft_adapters pirate --rename 1.10/x", "'1.10/x'"),
        ("%peft_export", "one NAME"),
        ("%peft_export pirate pirate.zip", "one NAME, 2 were given"),
        ("%peft_export pirate --from x", "has no '--from'"),
    ],
)
def test_what_is_typed_wrong_changes_nothing(shell, working_folder, line, says):
    result = shell.run_cell(line)
    assert says in str(result.error_in_exec)
    assert labels() == ["pirate@1"]
    assert {path.name for path in working_folder.iterdir()} == {"adapters"}


def test_tab(shell):
    def offered(cell):
        return [o.text for o in Completer(MAGICS, {}).complete(*at(cell))[1]]

    assert offered("%peft_adapters pirate --|") == [
        "--rename",
        "--delete",
        "--model",
        "--tokenizer",
    ]
    assert offered("%peft_adapters pirate --delete |")[:1] == ["--rename"]  # it takes no value
    assert offered("%peft_export |") == ["pirate", "--to"]
