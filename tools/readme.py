"""Write the generated parts of README.md, or check that they are true.

usage: python tools/readme.py [--check]
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from nbpeft.methods import Family, methods
from nbpeft.objectives import objectives
from nbpeft.places import places
from nbpeft.request import options, typed

README = Path(__file__).resolve().parent.parent / "README.md"


def options_table() -> str:
    """Every declared option: how it is typed, and its help."""
    lines = ["| option | what it does |", "|---|---|"]
    for option in options():
        shown = option.metadata["shown"].replace("|", "\\|")
        flag = f"--{typed(option.name).replace('_', '-')} {shown}".strip()
        flag = shown if option.name == "name" else flag
        default = f" (default: {option.default})" if isinstance(option.default, str) else ""
        lines.append(f"| `{flag}` | {option.metadata['help']}{default} |")
    return "\n".join(lines)


def entries_table() -> str:
    """Methods, objectives and places."""
    lines = ["| | name | what | defaults from |", "|---|---|---|---|"]
    lines += [
        f"| method, {family} | `{m.name}` | {m.summary} | {m.paper} |"
        for family in get_args(Family)
        for m in methods
        if m.family == family
    ]
    lines += [f"| objective | `{o.name}` | {o.summary} | {o.paper} |" for o in objectives]
    lines += [f"| place | `{p.name}` | {p.summary} | |" for p in places]
    return "\n".join(lines)


MEASURED = README.parent / "benchmarks" / "measured"


def measured() -> str:
    """The tables of benchmarks that are kept, each with what it was measured on."""
    parts = []
    for path in sorted(MEASURED.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        machine = found["machine"]
        where = machine["gpu"] or f"{machine['processor']}, {machine['capability']}"
        versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "transformers", "trl"))
        parts += [
            f"{found['title']} (`{path.stem}`; {found['date'][:10]}, {where}, "
            f"{machine['threads']} threads; {versions}):",
            "",
            _row(found["header"]),
            _row("---" for _ in found["header"]),
            *map(_row, found["rows"]),
            "",
        ]
    return "\n".join(parts[:-1])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


PARTS = {"options": options_table, "entries": entries_table, "measured": measured}


def filled(text: str) -> str:
    """The README with its generated parts made anew."""
    for name, make in PARTS.items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        part = make().replace("\\", r"\\")
        text, count = re.subn(pattern, rf"\g<1>{part}\n\g<2>", text, flags=re.DOTALL)
        if count != 1:
            sys.exit(f"README.md has {count} parts called {name}, not one")
    return text


def main() -> None:
    """Write or check."""
    text = README.read_text(encoding="utf-8")
    if "--check" not in sys.argv:
        README.write_text(filled(text), encoding="utf-8")
    elif filled(text) != text:
        sys.exit("README.md is out of date: python tools/readme.py")


if __name__ == "__main__":
    main()
