"""What quantizing in place takes in memory: never two copies of the model.

A model of 400M parameters, in a process of its own, whose resident memory the system counts. The
weights lie in the process's own memory, as they do unless a checkpoint is mapped as it stands.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

MIB = 1 << 20
INTERPRETER = 16 * MIB
"""What the interpreter may come to need meanwhile."""

SCRIPT = textwrap.dedent(
    """
    import json, re, sys
    from pathlib import Path

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from nbpeft.precision import Precision


    def resident(which):
        found = re.search(which + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())
        return 1024 * int(found[1])


    def size(module):
        return sum(p.numel() * p.element_size() for p in module.parameters())


    def llama(hidden, layers, vocab):
        config = LlamaConfig(
            hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
            num_attention_heads=16, num_key_value_heads=16, vocab_size=vocab,
        )
        with torch.device("meta"):
            model = LlamaForCausalLM(config).to(torch.bfloat16)
        model.to_empty(device="cpu")
        with torch.no_grad():
            for p in model.parameters():
                p.uniform_(-0.1, 0.1)  # in place: nothing is left in the heap
        return model


    kind, in_place, folder = sys.argv[1], sys.argv[2] == "in place", sys.argv[3]
    Precision().move(llama(64, 1, 64), kind, in_place=in_place)  # imports, tables
    model = llama(1024, 28, 32_000)
    parameters, layer = model.num_parameters(), size(model.model.layers[0])
    if not in_place:
        model.save_pretrained(folder)
        model.config._name_or_path = folder
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    precision = Precision()
    precision.move(model, kind, in_place=in_place)
    peak, after = resident("VmHWM"), resident("VmRSS")
    print(json.dumps({
        "parameters": parameters,
        "place": precision.place, "layer": layer, "full": precision.known[kind].as_loaded,
        "quantized": precision.known[kind].quantized, "before": before,
        "peak": peak, "after": after,
    }))
    """
)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the system doesn't count a peak anew"
)
@pytest.mark.parametrize(
    ("kind", "keeping", "place"),
    [("nf4", "checkpoint", "checkpoint"), ("int8", "in place", None)],
    ids=["nf4-checkpoint", "int8-in_place"],
)
def test_the_peak_is_at_most_the_model_and_one_layer(tmp_path, kind, keeping, place):
    program = [sys.executable, "-c", SCRIPT, kind, keeping, str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["parameters"] > 400e6
    assert found["place"] == place
    assert found["before"] > found["full"]  # the weights were in memory
    assert found["peak"] - found["before"] <= found["layer"] + INTERPRETER
    left = found["quantized"] - found["full"]
    assert abs(found["after"] - found["before"] - left) <= INTERPRETER
