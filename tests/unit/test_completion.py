"""Tab: where the cursor is in a cell, what is offered there, and that nothing else is touched."""

import subprocess
import sys

import pandas as pd
import pytest
from shells import new_shell
from test_errors import refusal

from nbpeft import magics, session
from nbpeft.background.job import Job
from nbpeft.background.queue import Queue
from nbpeft.config import NbPeft
from nbpeft.listing.glance import Offer
from nbpeft.magics.completion import Completer, kind_and_help
from nbpeft.magics.cursor import Cursor, locate
from nbpeft.magics.offers import flags_of
from nbpeft.methods import methods
from nbpeft.request import options
from nbpeft.session.record import Record

RUNS = {"finetune", "distill", "peft_fit"}
MAGICS = {magic.__name__: magic for magic in (*magics.LINE, *magics.BOTH)}


def at(cell):
    before = cell[: cell.index("|")]
    row = before.count("\n")
    return cell.replace("|", "", 1), row, len(before) - (before.rfind("\n") + 1)


def cursor(cell):
    return locate(*at(cell), MAGICS, lambda _: {"attach", "none"})


# Where the cursor is


@pytest.mark.parametrize(
    ("cell", "wants", "fragment", "word"),
    [
        ("%%finetune |", "word", "", ""),
        ("\n\n  %%finetune p --|", "word", "--", ""),
        ("%%finetune p --ra|nk 8", "word", "--ra", ""),
        ("%%finetune p --rank |", "value", "", "rank"),
        ("%%finetune p --rank 8 |", "word", "", ""),
        ("%%finetune p --max_steps=1|", "value", "1", "max_steps"),
        ("%%finetune p --attach |", "word", "", ""),
        ("%%finetune p --from |x", "value", "", "from"),
        ("%%finetune p --data 'my ro|", "value", "'my ro", "data"),
        ("%%finetune p --data 'my rows.csv' --e|", "word", "--e", ""),
        ("%%finetune p --data 'my rows.csv'|", "value", "'my rows.csv'", "data"),
        ("%%finetune p\n|", "key", "", ""),
        ("%%finetune p\nrank: 8\nle|: 5", "key", "le", ""),
        ("%%finetune p\nmax-steps: 1|", "value", "1", "max_steps"),
        ("%%finetune p\nmax_steps:|", "nothing", "", ""),
        ("%%finetune p\ntarget_modules:\n- q|", "value", "q", "target_modules"),
        ("%%finetune p\ntarget_modules:\n  - q\n\n  - |", "value", "", "target_modules"),
        ("%%finetune p\ncolumns:\n  prompt: q|", "value", "prompt: q", "columns"),
        ("%%finetune p\nrank: 8\n  x|", "nothing", "", ""),
        ("%%peft_compare a\nWho are |", "nothing", "", ""),
        ("x = 1\n%peft_attach p|", "word", "p", ""),
        ("answers = %peft_compare b|", "word", "b", ""),
    ],
)
def test_where_the_cursor_is(cell, wants, fragment, word):
    found = cursor(cell)
    assert (found.wants, found.fragment, found.word) == (wants, fragment, word)


@pytest.mark.parametrize(
    "cell",
    [
        "x|",
        "%%fine|tune p",
        "%%finetune|",
        "%%time\n%x|",
        "%%timeit --l|",
        "a %peft_attach x|",
        "|%%finetune p",
        "x = 1\n%%finetune --l|",
        "print('%peft_attach |')",
        "# --l|\n%%finetune p",
        "",
        "|\n\n",
    ],
)
def test_elsewhere_is_nowhere(cell):
    assert cursor(cell if "|" in cell else cell + "|") is None


def test_the_cursor_knows_what_the_rest_of_the_cell_gives():
    found = cursor("%%finetune p --rank 8 --l| --data 'a b' --attach\nmethod: ia3\nbias: none")
    assert found == Cursor(
        "finetune",
        "word",
        "--l",
        given={"rank": "8", "data": "a b", "attach": "", "method": "ia3", "bias": "none"},
        names=("p",),
        after=" --data 'a b' --attach",
    )
    found = cursor("%%finetune p --rank 8\nmethod: ia3\nle|ar: 5\nbias: none")
    assert found.given == {"rank": "8", "method": "ia3", "bias": "none"}
    assert found.after == "ar: 5"


# What is offered

ATTACH = [
    "--none", "--model", "--tokenizer", "--method", "--quantize", "--in-place", "--dry-run",
    "--rank", "--as",
]  # fmt: skip

VARIABLES = ["model", "tokenizer", "chats", "frame", "table", "odd", "number", "--free"]
MERGE = ["--to", "--into", "--model", "--tokenizer"]


@pytest.fixture
def tab(tiny_pair, monkeypatch, working_folder):
    """texts(cell) in a kernel with a model, data, files and adapters."""
    model, tokenizer = tiny_pair
    variables = {
        "model": model,
        "tokenizer": tokenizer,
        "chats": [{"question": "q", "answer": "a"}] * 3,
        "frame": pd.DataFrame({"prompt": ["a"], "my answer": ["b"], "<b>\n": ["c"]}),
        "table": {"q": ["1"], "a": ["2"]},
        "odd": [{"a: b": "c"}],
        "_hidden": [{"a": "b"}],
        "number": 5,
    }
    monkeypatch.setattr(session, "_current", None)
    NbPeft.clear_instance()
    (working_folder / "data").mkdir()
    for name in ("rows.jsonl", "my rows.csv", "notes.md", ".hidden.jsonl", "data/more.txt"):
        (working_folder / name).write_text("")
    record = Record("pirate", 1, "lora", "sft", "", 1, 1, metrics={"loss": 0.25})
    for _ in range(2):
        session.Session().shelf.put(record, lambda folder: (folder / "a").touch())
    waiting = Queue()
    waiting.add(Job("tuning", "model", None, waiting))
    monkeypatch.setattr("nbpeft.background.listing.queue", waiting)
    completer = Completer(MAGICS, variables)

    def offered(cell):
        return {o.text: o for o in completer.complete(*at(cell))[1]}

    yield offered
    NbPeft.clear_instance()


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("%%finetune p --le|", ["--learning-rate"]),
        ("%%finetune p --LE|", ["--learning-rate"]),
        ("%%finetune p --max_l|", ["--max-length"]),
        ("%%finetune p --rate|", ["--learning-rate"]),
        ("%%finetune p --learning-rate 1 --le|", ["--length-column-name"]),
        ("%%finetune p --use-do|", ["--use-dora"]),
        ("%%finetune p --use-dora |", ["true", "false"]),
        ("%%finetune p --method lo|", ["lora", "lora8"]),
        ("%%finetune p --method=lo|", ["lora", "lora8"]),
        ("%%finetune p --method |", list(methods.names())),
        ("%%finetune p --method=lor|", ["lora", "lora8"]),
        ("%%finetune p --objective s|", ["sft"]),
        ("%%finetune p --place |", ["kernel"]),
        ("%%finetune p --model |", ["model"]),
        ("%%finetune p --tokenizer |", ["tokenizer"]),
        ("%%finetune p --data c|", ["chats"]),
        ("%%finetune p --eval f|", ["frame"]),
        ("%%finetune p --data r|", ["rows.jsonl"]),
        ("%%finetune p --data 'my|", ["'my rows.csv'"]),
        ("%%finetune p --data data/|", ["data/more.txt"]),
        ("%%finetune p --data nowhere/|", []),
        ("%%finetune p --from |", ["pirate", "pirate@1"]),
        ("%%finetune pi|", ["pirate"]),
        ("%peft_attach |", ["pirate", "pirate@1", *ATTACH]),
        ("%peft_attach pirate |", ATTACH),
        ("%peft_attach pirate+p|", ["pirate+pirate@1"]),
        ("%peft_attach pirate+pirate@1 --c|", ["--combination"]),
        ("%peft_attach a+b --combination li|", ["linear"]),
        ("%peft_attach a+b --me|", []),
        ("%peft_attach a+b --qu|", []),
        ("%peft_attach n --method ia3 --quantize |", ["nf4", "fp4", "int8"]),
        ("%%finetune p --quantize i|", ["int8"]),
        ("%%finetune p --in-|", ["--in-place"]),
        ("%peft_attach ./d|", ["./data/"]),
        ("%peft_attach n --method lor|", ["lora", "lora8"]),
        ("%peft_attach n --method lora --ra|", ["--rank", "--rank-pattern"]),
        ("%peft_attach n --method lora --use-do|", ["--use-dora"]),
        ("%peft_attach n --method lora --use-dora |", ["true", "false"]),
        ("%peft_attach n --method lora --target-modules q_proj,u|", ["up_proj"]),
        ("%peft_attach n --method lora --combi|", []),
        ("%peft_attach n --method prompt --num-v|", ["--num-virtual-tokens"]),
        ("%%peft_attach n --method prompt\nnum_v|", ["num_virtual_tokens: "]),
        ("%%peft_attach n --method lora\nlearn|", []),
        (
            "%peft_adapters |",
            ["pirate", "pirate@1", "--rename", "--delete", "--model", "--tokenizer"],
        ),
        ("%peft_fit --data c|", ["chats"]),
        ("%peft_fit --method lo|", ["lora", "lora8"]),
        ("%peft_fit --use-do|", ["--use-dora"]),
        ("%%peft_fit p\nlear|", ["learning_rate: "]),
        ("%%finetune p --fit |", ["check", "off"]),
        ("%%finetune p\nauto: |", ["true", "false"]),
        ("%peft_jobs |", ["--wait", "--stop"]),
        ("%peft_jobs --wait |", ["tuning", "--stop"]),
        ("%peft_jobs --stop |", ["tuning", "all", "--wait"]),
        ("%peft_jobs --stop tuning |", ["--wait"]),
        ("%%finetune p --backg|", ["--background"]),
        ("%peft_memory |", VARIABLES),
        ("%peft_memory model to|", ["tokenizer"]),
        ("%peft_memory model --f|", ["--free"]),
        ("%peft_merge |", ["pirate", "pirate@1", *MERGE]),
        ("%peft_merge pirate --in|", ["--into"]),
        ("%peft_merge pirate --into |", ["originals", "nf4", "fp4", "int8"]),
        ("%peft_merge pirate --to d|", ["data/"]),
        ("%peft_data chats --to |", ["openai", "vertex"]),
        ("%peft_merge pirate --model |", ["model"]),
        ("%peft_merge pirate+p|", ["pirate+pirate@1"]),
        ("%peft_compare base pi|", ["pirate", "pirate@1"]),
        ("%peft_compare base pirate p|", ["pirate@1"]),
        ("%peft_rate base pi|", ["pirate", "pirate@1"]),
        ("%peft_rate base --ma|", ["--mark", "--max-new-tokens"]),
        ("%%finetune p --target-modules q_proj,u|", ["up_proj"]),
        ("%%finetune p\ntarget_modules: [q_proj, 'u|", ["up_proj"]),
        ("%%finetune p\ntarget_modules:\n- a|", ["all-linear"]),
        (
            "%%finetune p --columns |",
            ["messages=", "instruction=", "input=", "output=", "prompt=", "completion=", "text="],
        ),
        ("%%finetune p --columns prompt=q,c|", ["completion="]),
        ("%%finetune p --objective text --columns |", ["text="]),
        ("%%finetune p --objective nosuch --columns |", []),
        ("%%finetune p --data chats --columns prompt=|", ["question", "answer"]),
        ("%%finetune p --data frame --columns completion=m|", ["'my answer'"]),
        ("%%finetune p --data frame\ncolumns: {completion: m|", ["my answer"]),
        ("%%finetune p --data odd\ncolumns: {text: |", ['"a: b"']),
        ("%%finetune p --data odd --columns text=|", ["'a: b'"]),
        ("%%finetune p --data table --columns prompt=|", ["q", "a"]),
        ("%%finetune p --columns prompt=|", []),
        ("%%finetune p --data chats\ncolumns:\n  prompt: q|", ["question"]),
        ("%%finetune p --data chats\ncolumns: {prompt: question, comp|", ["completion: "]),
        ("%%finetune p\nlear|", ["learning_rate: "]),
        ("%%finetune p\nlear|: 1", ["learning_rate"]),
        ("%%finetune p\nmodules_t|", ["modules_to_save: "]),
        ("%%finetune p\nattach: |", ["true", "false"]),
        ("%%finetune p\ndata: ch|", ["chats"]),
        ("%%finetune p\nlr_scheduler_type: cosine_with_r|", ["cosine_with_restarts"]),
        ("%%finetune p --optim paged_adamw|", ["paged_adamw_32bit", "paged_adamw_8bit"]),
        ("%%finetune p\noptim: galore_adaf|", ["galore_adafactor", "galore_adafactor_layerwise"]),
        ("%%finetune p\nbias: |", ["none", "all", "lora_only"]),
        ("%%finetune p\nrank: |", ["16"]),
        ("%%finetune p\nlearning_rate: |", ["0.0002"]),
        ("%%finetune p --method nosuch\nuse_d|", []),
    ],
)
def test_what_is_offered(tab, cell, texts):
    assert list(tab(cell)) == texts


def test_every_variable_that_holds_rows_and_what_else_may_be_data(tab):
    found = tab("%%finetune p --data |")
    assert {"chats", "frame", "table", "tiny:pirate", "rows.jsonl", "data/"} <= found.keys()
    assert not {"number", "model", "_hidden", "notes.md", ".hidden.jsonl"} & found.keys()
    assert found["frame"].help == "DataFrame, 1 rows"


def test_a_key_is_offered_once_and_a_field_under_all_its_names(tab):
    keys = tab("%%finetune p --rank 8 --data chats\nepochs: 2\n|\nmax-steps: 5")
    assert {"learning_rate: ", "use_dora: ", "warmup_steps: ", "lora_alpha: "} <= keys.keys()
    gone = {"rank", "r", "data", "epochs", "num_train_epochs", "max_steps", "name", "output_dir",
            "packing", "peft_type"}  # fmt: skip
    assert not {f"{word}: " for word in gone} & keys.keys()
    assert keys["learning_rate: "].help == "peak learning rate"
    assert "Low-Rank" in keys["use_dora: "].help


def test_flags_are_those_of_the_options_less_those_given(tab):
    names = {f"--{o.name.rstrip('_').replace('_', '-')}" for o in options()} - {"--name"}
    assert set(tab("%%finetune p |")) == names
    assert set(tab("%%finetune p --data x --attach |")) == names - {"--data", "--attach"}
    assert {o.help for o in tab("%%finetune p |").values()} <= {
        o.metadata["help"] for o in options()
    }


def test_layers_are_the_models_own_whatever_is_attached(tab, tiny_pair):
    from peft import LoraConfig, inject_adapter_in_model

    bare = list(tab("%%finetune p\ntarget_modules: |"))
    inject_adapter_in_model(LoraConfig(target_modules="all-linear"), tiny_pair[0])
    assert list(tab("%%finetune p\ntarget_modules: |")) == bare
    assert "q_proj" in bare
    assert tab("%%finetune p\ntarget_modules: |")["q_proj"].help == "6 in this model"


def test_pressing_tab_does_not_settle_where_the_shelf_lies(tab):
    tab("%peft_attach |")
    assert session.current()._folders == {}


@pytest.mark.parametrize("name", sorted(MAGICS.keys() - RUNS))
def test_the_flags_in_a_magic_s_help_are_those_it_takes(name):
    """What Tab offers comes from the help, so the help must be whole."""
    taken = refusal(MAGICS[name], "--zzz=1").partition("Its flags: ")[2].removesuffix(".")
    offered = {f"--{word.replace('_', '-')}" for word in flags_of(MAGICS[name])}
    assert offered == set(taken.split(", ")) - {"none"}


def test_a_flag_takes_a_value_where_its_help_shows_one():
    flags = flags_of(MAGICS["peft_attach"])
    assert {w for w, flag in flags.items() if not flag.value} == {"none", "in_place", "dry_run"}
    switches = {word for word, flag in flags_of(MAGICS["finetune"]).items() if not flag.value}
    assert switches == {"in_place", "attach", "auto", "background", "form", "resume", "dry_run"}


# As IPython has it


def completions(shell, cell):
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        code = cell.replace("|", "", 1)
        return [c.text for c in shell.Completer.completions(code, cell.index("|"))]


@pytest.fixture
def shell():
    shell = new_shell()
    shell.run_line_magic("load_ext", "nbpeft")
    return shell


def test_python_is_left_alone(shell):
    bare = new_shell()
    for cell in ("imp|", "%tim|", "%%finet|", "%config NbP|", "%%time\nprin|", "x = 5\nx.re|"):
        ours = set(completions(shell, cell))
        assert set(completions(bare, cell)) <= ours, cell
        assert ours - set(completions(bare, cell)) <= {"%%finetune", "%finetune", "NbPeft"}, cell


def test_where_nothing_fits_python_does_not_step_in(shell):
    assert completions(shell, "%%finetune p\nfrom: |") == [""]
    assert completions(shell, "%%peft_compare base\nprin|") == ["prin"]
    assert completions(shell, "%%finetune p --zz|") == ["--zz"]


def test_loading_twice_and_unloading(shell):
    matchers = shell.Completer.custom_matchers
    shell.run_line_magic("reload_ext", "nbpeft")
    assert len(matchers) == 1
    shell.run_line_magic("unload_ext", "nbpeft")
    assert matchers == []
    shell.run_line_magic("load_ext", "nbpeft")
    assert completions(shell, "%%finetune p --le|") == ["--learning-rate"]


class Trap:
    """A variable that no glance survives, while it is set."""


def test_it_never_raises(shell, capsys, monkeypatch):
    def spring(trap, name):
        raise RuntimeError("don't look")

    shell.user_ns["trap"] = Trap()
    monkeypatch.setattr(Trap, "__getattribute__", spring)
    for cell in ("%%finetune p --data |", "%%finetune p --model |", "%%finetune p --columns a=|"):
        completions(shell, cell)
    for hostile in ("\x00", "'" * 999, "-" * 999, "%" * 999, "[" * 999, "a:" * 999, "\u202e"):
        for cell in (
            f"%%finetune {hostile}|",
            f"%%finetune p\n{hostile}|",
            f"%finetune {hostile}|",
        ):
            completions(shell, cell)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_a_megabyte_is_no_obstacle(shell):
    long = "x " * 500_000
    assert completions(shell, f"%%finetune p --le|\ndata:\n- {long}") == ["--learning-rate"]
    completions(shell, f"%%finetune {long}|")
    completions(shell, f"%%finetune p\n{long}|")


def test_what_is_shown_beside_is_short_and_one_line():
    shown = kind_and_help(Offer("x", "lora field", 'see <a href="x">paper</a>\n' + "word " * 99))
    assert shown.startswith("lora field: see paper word".replace(" ", "\N{NO-BREAK SPACE}"))
    assert len(shown) < 80
    assert not {" ", "\n"} & set(shown)
    assert kind_and_help(Offer("x", "choice")) == "choice"


def test_nothing_heavy_is_imported_by_it():
    code = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.completer import provisionalcompleter
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "nbpeft")
for code in ("%%finetune p --data ", "%%finetune p --model ", "%%finetune p\\nrank: ",
             "%%finetune p\\nle", "%peft_attach ", "%%finetune p --lr", "%%finetune p\\nbias: "):
    with provisionalcompleter():
        assert list(shell.Completer.completions(code, len(code))), code
heavy = {"torch", "transformers", "peft", "trl", "datasets", "pandas", "pyarrow"}
print([m for m in sys.modules if m.split(".")[0] in heavy])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
