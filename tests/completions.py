"""Where Tab is pressed in a real kernel, and what is offered there; on every IPython alike."""

SETUP = """
%load_ext nbpeft
import json, pathlib, nbpeft
model, tokenizer = nbpeft.load_tiny()
chats = [{"question": "q", "answer": "a"}] * 20
for version in ("1", "2"):
    folder = pathlib.Path("adapters", "pirate", version)
    folder.mkdir(parents=True)
    record = {"name": "pirate", "version": int(version), "method": "lora", "objective": "sft",
              "model": "", "trainable_parameters": 1, "total_parameters": 1,
              "losses": [], "held_out": [], "metrics": {"loss": 0.5}}
    _ = (folder / "nbpeft.json").write_text(json.dumps(record))
"""

# cell with the cursor as `|`, what is replaced, some of what is offered, the beginning of its type
POSITIONS = [
    ("%%finetune p --le|", "--le", ["--learning-rate"], "flag: peak learning rate"),
    ("%%finetune p --method |", "", ["lora"], "choice: low-rank"),
    ("%%finetune p --data |\nrank: 8", "", ["chats", "tiny:pirate"], "rows: "),
    ("%%finetune p --data tiny:pi|", "tiny:pi", ["tiny:pirate"], "rows: comes with nbpeft"),
    ("%%finetune p --model |", "", ["model"], "model: LlamaForCausalLM"),
    ("%%finetune p --from |", "", ["pirate", "pirate@1"], "adapter: lora, sft, loss 0.5"),
    ("%%finetune p --columns prompt=|  --data chats", "", ["question"], "column: of chats"),
    ("%%finetune p --data chats\nle|", "le", ["learning_rate: "], "key: peak learning rate"),
    ("%%finetune p --data chats\nuse_do|\nrank: 8", "use_do", ["use_dora: "], "lora field: "),
    ("%%finetune p --data chats\nwarmup_|", "warmup_", ["warmup_steps: "], "trainer field: "),
    ("%%finetune p\nuse_dora: |\nrank: 8", "", ["true", "false"], "choice"),
    ("%%finetune p\nbias: l|", "l", ["lora_only"], "choice"),
    ("%%finetune p\ntarget_modules: [q_proj, v|", "v", ["v_proj"], "module: 6 in this model"),
    ("%%finetune p\ntarget_modules: |", "", ["all-linear"], "modules: every linear layer"),
    ("chats\n%peft_attach pi|", "pi", ["pirate", "pirate@1"], "adapter: lora, sft"),
    ("%peft_attach --n|", "--n", ["--none"], "flag: the base again"),
    ("%%peft_compare pirate b|\nWho?", "b", ["base"], "model: the base"),
]


def check(kernel):
    """Ask at each position; then elsewhere, and after unloading, where nothing of ours is given."""
    kernel.run(SETUP)
    for cell, replaced, offered, kind in POSITIONS:
        fragment, found = kernel.complete(cell)
        assert fragment == replaced, cell
        assert set(offered) <= found.keys(), (cell, found)
        shown = found[offered[0]].replace("\N{NO-BREAK SPACE}", " ")
        assert shown.startswith(kind), (cell, shown)
        assert "print" not in found, "Python's names stay out"
    assert "chats" in kernel.complete("cha|")[1]
    assert "--learning-rate" not in kernel.complete("x = 1\n# --le|")[1]
    kernel.run("%unload_ext nbpeft")
    assert "--learning-rate" not in kernel.complete("%%finetune p --le|")[1]
    assert "chats" in kernel.complete("cha|")[1]
