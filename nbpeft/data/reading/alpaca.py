"""Instructions with inputs, as Stanford Alpaca has them (github.com/tatsu-lab/stanford_alpaca).

The input is a context that stands under the instruction, a blank line between; Alpaca's headings
("### Instruction:") are left out, since chats mark who speaks themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbpeft.data.reading.examples import Asked, Chat, Example
from nbpeft.data.reading.shapes import REST, Cell, Format

INSTRUCTION = Cell("a string", string=True)
INPUT = Cell("a string, or nothing", string=True, optional=True, also=("context",))
INPUT_BELOW = "the input under the instruction, after a blank line"


def _instructed(row: Mapping[str, Any]) -> str:
    return row["instruction"] + (f"\n\n{row['input']}" if row.get("input") else "")


def _alpaca(row: Mapping[str, Any]) -> Example:
    asked = _instructed(row)
    return Chat(
        [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]
    )


def _asked(row: Mapping[str, Any]) -> Example:
    return Asked(_instructed(row), row[REST])


def _instructed_python(cells: Mapping[str, str]) -> str:
    asked = cells["instruction"]
    if "input" in cells:
        asked += f' + ("\\n\\n" + {cells["input"]} if {cells["input"]} else "")'
    return asked


def _alpaca_python(cells: Mapping[str, str]) -> Mapping[str, str]:
    asked, answered = _instructed_python(cells), cells["output"]
    return {
        "messages": f'[{{"role": "user", "content": {asked}}}, '
        f'{{"role": "assistant", "content": {answered}}}]'
    }


ALPACA = Format(
    "alpaca",
    {
        "instruction": INSTRUCTION,
        "input": INPUT,
        "output": Cell(
            "a string", string=True, also=("response", "answer", "completion", "target")
        ),
    },
    _alpaca,
    _alpaca_python,
    INPUT_BELOW,
)
ASKED_ALPACA = Format(
    "asked_alpaca",
    {"instruction": INSTRUCTION, "input": INPUT},
    _asked,
    lambda cells: {"prompt": _instructed_python(cells)},
    INPUT_BELOW,
    rest=True,
)
"""The same without its answer."""
