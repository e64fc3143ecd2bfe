"""The magics as IPython has them: registered, with help made from the options, and gone again."""

import pytest
from shells import new_shell

import nbpeft
from nbpeft.config import NbPeft, settings
from nbpeft.methods import methods
from nbpeft.objectives import objectives
from nbpeft.places import places
from nbpeft.request import options

CELL = {"finetune", "peft_attach", "peft_compare", "peft_fit", "peft_rate"}
LINE = CELL | {
    "peft_adapters",
    "peft_data",
    "peft_export",
    "peft_jobs",
    "peft_memory",
    "peft_merge",
}


@pytest.fixture
def shell():
    NbPeft.clear_instance()
    shell = new_shell()
    shell.run_line_magic("load_ext", "nbpeft")
    yield shell
    NbPeft.clear_instance()


def ours(shell, kind):
    return {name for name in shell.magics_manager.magics[kind] if name in LINE}


def test_loading_and_unloading_the_extension(shell):
    assert (ours(shell, "line"), ours(shell, "cell")) == (LINE, CELL)
    shell.run_line_magic("unload_ext", "nbpeft")
    assert (ours(shell, "line"), ours(shell, "cell")) == (set(), set())
    assert settings() not in shell.configurables
    shell.run_line_magic("load_ext", "nbpeft")
    assert ours(shell, "cell") == CELL


def test_reloading_registers_once(shell):
    shell.run_line_magic("reload_ext", "nbpeft")
    nbpeft.load_ipython_extension(shell)
    assert shell.configurables.count(settings()) == 1


@pytest.mark.parametrize("asked", ["%%finetune?", "%finetune?", "?%%finetune"])
def test_help_has_every_option_and_every_entry(shell, capsys, asked):
    shell.run_cell(asked)
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    for option in options():
        if option.name != "name":
            flag = f"  --{option.name.rstrip('_').replace('_', '-')}"
            lines = [line for line in shown.splitlines() if f"{line} ".startswith(f"{flag} ")]
            assert len(lines) == 1, option.name
            assert option.metadata["help"] in words
            assert option.metadata["shown"] in lines[0]
    for entry in (*methods, *objectives, *places):
        assert f"{entry.name} ({entry.summary})" in words


def test_help_says_what_stands_when_nothing_is_given(shell, capsys):
    shell.run_cell("%%finetune?")
    words = " ".join(capsys.readouterr().out.split())
    assert [d for d in ("lora", "sft", "kernel") if f"(default: {d})" not in words] == []


def test_help_fits_a_notebook_s_width(shell):
    for kind in ("line", "cell"):
        for name in ours(shell, kind):
            help_ = shell.magics_manager.magics[kind][name].__doc__
            assert max(map(len, help_.splitlines())) <= 100, name


@pytest.mark.parametrize("name", sorted(LINE - {"finetune"}))
def test_every_other_magic_has_help(shell, capsys, name):
    shell.run_cell(f"%{name}?")
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_settings_are_set_and_shown_by_config(shell, capsys):
    assert settings().keep_versions == 3
    assert shell.run_cell("%config NbPeft.keep_versions = 5").success
    assert shell.run_cell("%config NbPeft.defaults = {'rank': 8}").success
    assert (settings().keep_versions, settings().defaults) == (5, {"rank": 8})
    shell.run_cell("%config NbPeft")
    shown = capsys.readouterr().out
    assert [name for name in settings().trait_names(config=True) if name not in shown] == []


@pytest.mark.parametrize("value", ["-1", "'many'", "1.5"])
def test_a_setting_of_the_wrong_kind_leaves_the_old_one(shell, value):
    shell.run_cell(f"%config NbPeft.keep_versions = {value}")
    assert settings().keep_versions == 3


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("%finetune p --data 'x", "quotation"),
        ("%finetune a b", "'a'"),
        ("%%finetune p\nrank: [1, ]]", "line 1"),
        ("%%finetune p --rank 8\nrank: 9", "'rank'"),
        ("%%finetune p\nrank: many", "many"),
        ("%peft_attach", "--none"),
        ("%peft_attach a --none", "--none"),
        ("%peft_attach a --modle m", "--model"),
        ("%peft_attach a b", "a+b, without spaces"),
        ("%peft_attach a --dry-run", "--method lora"),
        ("%peft_attach a --rank", "'--rank' wants a value"),
        ("%peft_attach --none --method lora", "--none is the base"),
        ("%peft_attach a --weights 1,2", "a+b --weights"),
        ("%peft_attach ./x --rank 2", "rank cuts one adapter"),
        ("%peft_attach a --method lora --as b", "--as names"),
        ("%peft_attach a --method lroa", "Did you mean lora or qlora?"),
        ("%peft_attach a --method lora --rnak 3", "Did you mean rank"),
        ("%peft_attach a --method lora --epochs 3", "trained by your own loop"),
        ("%peft_attach a --method lora --rank many", "rank can't be 'many'"),
        ("%peft_attach a --method prompt --rank 3", "The method prompt has no rank"),
        ("%peft_attach a --alpha 3", "no '--alpha'"),
        ("%%peft_attach a --method lora\nmethod: full", "'method' is given twice"),
        ("%peft_adapters x y", "one NAME or none; given were x, y"),
        ("%peft_compare base --max_tokens 3", "--max-new-tokens"),
        ("%%peft_compare base\n- [1", "YAML"),
        ("%peft_compare base --system ' '", "system is empty"),
        ("%peft_data", "tiny:NAME"),
        ("%peft_data a b", "'a', 'b'"),
        ("%peft_data a --rows first", "--rows 0,5,9"),
        ("%peft_data a --row 1", "--rows"),
        ("%peft_data a --to openai", "%peft_data X --to openai PATH"),
        ("%peft_data a --to azure b.jsonl", "one of openai, vertex"),
        ("%peft_data a --to openai b.jsonl --rows 1", "Its flags: --columns, --to, --tokenizer"),
        ("%peft_fit --data x --rnak 3", "There is no setting 'rnak'"),
        ("%%peft_fit p --fit maybe\nrank: 3", "fit can't be 'maybe'"),
        ("%peft_fit a b", "'a'"),
        ("%peft_jobs p", "%peft_jobs --wait p"),
        ("%peft_jobs --stop", "wants a NAME, or all"),
        ("%peft_jobs --stop nosuch", "no background run 'nosuch'"),
        ("%peft_jobs --wiat", "Did you mean --wait"),
        ("%peft_memory model", "%peft_memory model --free"),
        ("%peft_memory --fre", "Did you mean --free"),
        ("%peft_memory nosuch --free", "no variable 'nosuch'"),
        ("%peft_rate base --answers 7", "answers can't be 7"),
        ("%peft_rate a b --answers 3", "each of a, b gives one"),
        ("%peft_rate a --mark --answers 2", "leave --answers out"),
        ("%peft_rate a --into ../x", "names a variable and a file"),
        ("%peft_rate a --anwsers 2", "Did you mean --answers"),
        ("%%peft_rate base\n- [1", "YAML"),
        ("%peft_merge", "one NAME, 0 were given"),
        ("%peft_merge a b --to m", "a+b, without spaces"),
        ("%peft_merge a", "--to PATH"),
        ("%peft_merge a --to m --in nf4", "Did you mean --into"),
        ("%peft_merge a --to m --into nf", "into can't be 'nf'"),
        ("%peft_merge base --to m", "model.save_pretrained(PATH)"),
    ],
)
def test_a_mistyped_cell_fails_with_one_line(shell, capsys, cell, says):
    done = shell.run_cell(cell)
    assert done.success is False
    printed = capsys.readouterr()
    (line,) = (printed.out + printed.err).splitlines()
    assert line.startswith("RequestError: ")
    assert says in line
