"""Requests of every kind, and how a cell is read as one."""

from __future__ import annotations

from nbpeft.cells import distill_cell
from nbpeft.request import Request
from nbpeft.typed import from_cell

EVIL = "a'b\"c $HOME {x} \\ # <script>\n---\n- é\u202e: [1"


def read(cell):
    """The request and the rows of a cell, as the magics read it."""
    line, _, body = cell.partition("\n")
    magic, _, line = line.partition(" ")
    assert magic.startswith("%%") == bool(body), "IPython wants a body below %%, and none below %"
    return (distill_cell if magic.lstrip("%") == "distill" else from_cell)(line, body)


REQUESTS = {
    "the least": Request("a", data="chats"),
    "numbers": Request(
        "a", data="tiny:pirate", learning_rate=1e-5, rank=4, epochs=0.5, eval=0, max_steps=3
    ),
    "words": Request(
        "a", data="data/my rows.jsonl", model="m", method="prompt", objective="dpo",
        from_="b@2", attach=True, budget="15min", loss_on="last", columns={"prompt": "a b"},
        target_modules=["q_proj", "v_proj"], dry_run=True,
    ),
    "texts that read as others": Request(
        "1.10", data="1.10", rubric="no", model="true", principles=["1", "null", "- x"],
        fields={"beta": 0.1, "loss_type": ["ipo", "sft"], "label": "1e-3", "none": None},
    ),
    "hostile": Request("a", data=EVIL, rubric=EVIL, fields={"x": EVIL, "y": [EVIL]}),
    "a context": Request(
        "a", data="auto", objective="context-distillation", context="Be brief.\n  Always."
    ),
    "options above a context": Request(
        "a", data="questions", model="m", objective="context-distillation", method="prompt",
        context="Be brief.", turns=2, fields={"top_k": 8},
    ),
    "a context that looks like options": Request(
        "a", data="q", objective="context-distillation", context="rank: 4\n---\nx"
    ),
    "a context that looks like examples": Request(
        "a", data="q", objective="context-distillation",
        context="- prompt: a\n  completion: b",
    ),
    "a context with spaces around": Request(
        "a", data="q", objective="context-distillation", context="\n Be brief. \n"
    ),
    "examples": Request(
        "a", data="q", objective="context-distillation",
        context=[{"prompt": "a", "completion": EVIL}],
    ),
    "a student": Request(
        "a", data="chats", model="small", teacher="big", objective="knowledge-distillation",
        method="full", baseline="off",
    ),
    "a student with an adapter": Request(
        "a", data="chats", teacher="big", objective="knowledge-distillation"
    ),
    "to be resumed": Request("a", objective="context-distillation", resume=True),
}  # fmt: skip
