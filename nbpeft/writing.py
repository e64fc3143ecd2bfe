"""A request as the cell that asks for it: what `nbpeft.typed` and `nbpeft.cells` read, written.

On the line stand plain words; whatever else was given is YAML in the body, which IPython leaves as
it is (in a line it puts variables in place of `{name}` and `$name`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from nbpeft.cells import CONTEXT, KNOWLEDGE, LINE, OTHER, read_context
from nbpeft.request import Request

_ON_THE_LINE = ("data", "model", "tokenizer", "teacher", "method", "objective", "from")
_PLAIN = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./:@,+~-]*", re.ASCII)


def cell_of(request: Request, rows: Sequence[Any] | None = None) -> str:
    """The cell that asks for this run, and for no other.

    Args:
        rows: inline rows, which stand in its body.
    """
    words = request.to_dict()
    words |= words.pop("fields", {})
    context = words.pop("context", None)
    if request.objective == CONTEXT and context is not None:
        del words["objective"]
        return _cell("distill", words, rows, context)
    if context is not None:
        words["context"] = context
    if request.objective == KNOWLEDGE and request.teacher is not None:
        del words["objective"]
        words = {"method": request.method, **words}
        if request.method == "full":  # a student's own default
            del words["method"]
        return _cell("distill", words, rows)
    return _cell("finetune", words, rows)


def _cell(magic: str, words: dict[str, Any], rows: Any, context: Any = None) -> str:
    if magic == "distill":
        other = {own: word for word, own in OTHER.items()}
        if context is None:
            del other["data"]  # a teacher's rows are data
        words = {other.get(word, word): value for word, value in words.items()}
    first = [word for own in _ON_THE_LINE for word in words if own == OTHER.get(word, word)]
    line = [f"--{word} {words.pop(word)}" for word in first if _fits_the_line(words[word])]
    name = words.pop("name")
    if rows is not None:
        words["data"] = list(rows)
    body = _body(words, context)
    start = f"%%{magic}" if body else f"%{magic}"  # IPython refuses a cell magic without a body
    return " ".join([start, name, *line]) + (f"\n{body}" if body else "")


def _fits_the_line(value: Any) -> bool:
    return isinstance(value, str) and _PLAIN.fullmatch(value) is not None


def _body(words: dict[str, Any], context: Any) -> str:
    if context is None:
        return _yaml(words)
    told = context_text(context)
    if read_context(told) != context:  # it would be read as something else than it is
        return f"{_yaml({**words, 'context': context})}\n{LINE}"
    if not words and LINE not in (line.rstrip() for line in told.split("\n")):
        return told
    return "\n".join(part for part in (_yaml(words), LINE, told) if part)


def context_text(context: Any) -> str:
    """A context as the body of a cell: a text as it stands, examples as YAML."""
    return context if isinstance(context, str) else _yaml(context)


def _yaml(value: Any) -> str:
    """YAML 1.2, as `nbpeft.typed.read_yaml` takes it; '' of an empty mapping."""
    if not value:
        return ""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 10_000
    # No anchors, which are refused: what stands there twice is written twice.
    yaml.representer.ignore_aliases = lambda *_: True
    yaml.representer.sort_base_mapping_type_on_output = False
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue().rstrip("\n")
