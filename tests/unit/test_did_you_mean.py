"""Whatever names something that isn't there gives the nearest that is: one table."""

import pytest
from test_errors import refusal

from nbpeft import session, variables
from nbpeft.config import NbPeft, settings
from nbpeft.magics.adapters import peft_adapters
from nbpeft.magics.attach import peft_attach
from nbpeft.magics.compare import peft_compare
from nbpeft.magics.finetune import finetune
from nbpeft.session.record import Record
from nbpeft.tiny import load_data

CHATS = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(20)]
MESSAGES = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]] * 20


@pytest.fixture
def kernel(tiny_pair, monkeypatch, working_folder):
    """A kernel with a model, its tokenizer, rows, files, and the adapters pirate@1 and pirate@2."""
    model, tokenizer = tiny_pair
    own = {
        "model": model,
        "tokenizer": tokenizer,
        "chats": CHATS,
        "talks": {"messages": MESSAGES},
        "path": "data/chats.jsnl",
    }
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: own)
    monkeypatch.setattr(session, "_current", None)
    NbPeft.clear_instance()
    (working_folder / "data").mkdir()
    (working_folder / "data" / "chats.jsonl").write_text("")
    (working_folder / "rows.csv").write_text("")
    current = session.current()
    record = Record("pirate", 1, "lora", "sft", current.handle(model).fingerprint, 1, 1)
    for _ in range(2):
        current.shelf.put(record, lambda folder: (folder / "a").touch())
    yield
    NbPeft.clear_instance()


CASES = {
    # flags of every magic
    "flag": (finetune, "p --data chats --learnin-rate 1", "learning_rate"),
    "flag-short": (finetune, "p --data chats --lr 1", "learning_rate"),
    "flag-of-the-run": (finetune, "p --dta chats", "data"),
    "flag-one-dash": (finetune, "p -data chats", "--data"),
    "flag-attach": (peft_attach, "pirate --modle m", "--model"),
    "flag-attach-none": (peft_attach, "--non", "--none"),
    "flag-compare": (peft_compare, "base --max-token 3", "--max-new-tokens"),
    # body keys
    "key": (finetune, "p --data chats", "lerning_rate: 1", "learning_rate"),
    "key-of-the-method": (finetune, "p --data chats", "use_dara: true", "use_dora"),
    "key-of-the-trainer": (finetune, "p --data chats", "warmup_stepps: 1", "warmup_steps"),
    # choices
    "method": (finetune, "p --data chats --method lorra", "lora"),
    "objective": (finetune, "p --data chats --objective stf", "sft"),
    "place": (finetune, "p --data chats --place kernle", "kernel"),
    "literal": (finetune, "p --data talks", "bias: al", "all"),
    "literal-or-boolean": (finetune, "p --data talks", "init_lora_weights: pisa", "pissa"),
    "enum": (finetune, "p --data talks", "lr_scheduler_type: cosin", "cosine"),
    "enum-optim": (finetune, "p --data talks", "optim: adamw_torc", "adamw_torch"),
    "boolean": (finetune, "p --data talks", "use_dora: tru", "true"),
    # variables
    "model": (finetune, "p --data chats --model modl", "model"),
    "tokenizer": (finetune, "p --data chats --tokenizer tokeniser", "tokenizer"),
    "data": (finetune, "p --data chat", "chats"),
    "eval": (finetune, "p --data talks --eval chat", "chats"),
    "model-attach": (peft_attach, "pirate --model modle", "model"),
    "model-compare": (peft_compare, "base --model modle", "Hello", "model"),
    # data sets and files
    "tiny": (finetune, "p --data tiny:pirat", "pirate"),
    "tiny-forgotten": (finetune, "p --data pirate", "tiny:pirate"),
    "tiny-in-python": (load_data, "pirrate", "pirate"),
    "file": (finetune, "p --data data/chat.jsonl", "chats.jsonl"),
    "file-ending": (finetune, "p --data rows.cvs", "rows.csv"),
    "folder": (finetune, "p --data dta/chats.jsonl", "data"),
    "file-in-a-variable": (finetune, "p --data path", "chats.jsonl"),
    # columns
    "column": (finetune, "p --data chats --columns prompt=qestion,completion=answer", "question"),
    "column-of-ours": (finetune, "p --data chats --columns promt=question", "prompt"),
    # adapters
    "adapter": (peft_attach, "pirat", "pirate"),
    "adapter-base": (peft_attach, "bse", "base"),
    "adapter-version": (peft_attach, "pirate@7", "pirate@2"),
    "adapter-compare": (peft_compare, "base piratte", "Hello", "pirate"),
    "adapter-from": (finetune, "p --data chats --from pirte", "pirate"),
    "adapter-from-version": (finetune, "p --data chats --from pirate@9", "pirate@2"),
    "adapter-resume": (finetune, "pirat --data chats --resume", "pirate"),
    # modules
    "modules": (finetune, "p --data talks --target-modules q_prj", "q_proj"),
    "modules-one-of-two": (finetune, "p --data talks --target-modules q_proj,v_porj", "v_proj"),
    "modules-left-out": (finetune, "p --data talks", "exclude_modules: [q_pro]", "q_proj"),
    "modules-saved": (finetune, "p --data talks", "modules_to_save: lm_haed", "lm_head"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_nearest_is_offered(kernel, case):
    call, *given, meant = case
    message = refusal(call, *given)
    offered = message.partition("Did you mean ")[2].partition("?")[0].split(" or ")
    assert meant in offered, message


@pytest.mark.parametrize(
    ("defaults", "says"),
    [
        ({"learnin_rate": 1}, "Did you mean learning_rate?"),
        ({"lr": 1}, "Did you mean learning_rate or r?"),
        ({"attach": True}, "'attach': it says what one run does"),
        ({"atach": True}, "'atach'"),
        ({1: 2}, "'1': its keys are words"),
        ({None: 2}, "'None'"),
        ({("a", "b"): 2}, "words"),
        ({"output_dir": "x"}, "'output_dir': nbpeft sets it itself"),
        ({"rank": "many"}, "rank can't be 'many'"),
    ],
)
def test_defaults_that_cannot_be_are_one_line_at_the_next_run(kernel, defaults, says):
    settings().defaults = defaults
    message = refusal(finetune, "p --data talks --dry-run")
    assert says in message
    assert "Did you mean attach" not in message  # it could not be there either


def test_defaults_may_be_typed_with_dashes(kernel, capsys):
    settings().defaults = {"learning-rate": 0.5}
    finetune("p --data talks --dry-run")
    assert "0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "magic"),
    [
        (finetune, "%%finetune"),
        (peft_attach, "%peft_attach"),
        (peft_compare, "%%peft_compare"),
        (peft_adapters, "%peft_adapters"),
    ],
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_a_flag_for_help_points_to_the_help(call, magic, flag):
    assert f"{magic}?" in refusal(call, flag)


def test_a_lone_module_name_is_a_list_of_one(kernel, capsys):
    finetune("p --data talks --target-modules q_proj --layers-to-transform 0,1 --dry-run")
    assert "8,192" in capsys.readouterr().out  # 2 layers, 128 inputs + 128 outputs, rank 16


@pytest.mark.parametrize("line", ["p --data chats --modle model", "p --data chats --modle=model"])
def test_a_mistyped_flag_comes_before_what_it_would_have_said(kernel, monkeypatch, line):
    """With two models the question which one would send the user astray."""
    two = dict(variables.namespace())
    two["other"] = type(two["model"])(two["model"].config)
    monkeypatch.setattr("nbpeft.variables.namespace", lambda: two)
    assert "Did you mean model?" in refusal(finetune, line)
