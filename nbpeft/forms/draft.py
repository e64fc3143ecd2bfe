"""What is typed into the form -> a request, or what is wrong with which field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from nbpeft.cells import read_context
from nbpeft.coerce import coerce
from nbpeft.errors import AdapterError, DataError, ModelError, RequestError
from nbpeft.forms.controls import Control
from nbpeft.registry import check_pair
from nbpeft.request import Request, field_name, options, typed
from nbpeft.typed import request_of, scalar
from nbpeft.writing import context_text

Texts = Mapping[str, str | bool]
"""What stands in the fields, by their words; '' or False where nothing was given."""
Problems = dict[str, str]
"""What is wrong, by the word of the field."""


def texts_of(words: Mapping[str, Any], fields: Iterable[Control]) -> dict[str, str | bool]:
    """Values as they would be typed."""
    known = {control.word: control for control in fields}
    return {word: _text(value, known.get(word)) for word, value in words.items()}


def words_of(request: Request) -> dict[str, Any]:
    """All that a request gives: word -> value."""
    asked = request.to_dict()
    return asked | asked.pop("fields", {})


def read(texts: Texts, fields: Iterable[Control]) -> tuple[Request | None, Problems]:
    """The request that the fields ask for; None where one of them can't be read."""
    words: dict[str, Any] = {}
    problems: Problems = {}
    for control in fields:
        typed_in = texts.get(control.word, "")
        if typed_in in ("", False):
            continue
        try:
            words[control.word] = _value(typed_in, control)
        except RequestError as error:
            problems[control.word] = str(error)
    if not words.get("name"):
        problems.setdefault("name", "The adapter needs a name.")
    if problems:
        return None, problems
    # What stands at its default wasn't asked for: the cell doesn't say it either.
    default = {typed(o.name): o.default for o in options()}
    asked = {w: v for w, v in words.items() if w == "name" or v != default.get(w, _NEVER)}
    return request_of({"form": asked}), {}


_NEVER = object()


def pair_problem(method: Any, objective: Any) -> str:
    """Why they don't go together; '' where they do."""
    try:
        check_pair(method, objective)
    except RequestError as error:
        return str(error)
    return ""


def _value(typed_in: str | bool, control: Control) -> Any:
    if isinstance(typed_in, bool):
        return typed_in
    if control.word == "context":
        return read_context(typed_in)
    if control.word == "principles":
        return [line.strip() for line in typed_in.splitlines() if line.strip()]
    value = typed_in.strip() if control.lone_text or control.kind == "choice" else scalar(typed_in)
    if control.kind == "choice" and value in ("true", "false"):
        value = value == "true"
    return coerce(control.word, value, control.hint)


def _text(value: Any, control: Control | None) -> str | bool:
    if isinstance(value, bool) and (control is None or control.kind == "switch"):
        return value
    if control is not None and control.word == "principles":
        return "\n".join(value)
    if control is not None and control.word == "context":
        return context_text(value)
    if isinstance(value, str):
        lone = control is None or control.lone_text or control.kind in ("choice", "texts")
        return value if lone or scalar(value) == value else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


def blamed(error: Exception, texts: Texts, aliases: Mapping[str, str]) -> str:
    """The word of the field that a refusal is about; '' where it is about none."""
    message = str(error)
    start = message.partition(" ")[0].rstrip(":").strip("'\"")
    own = {key: word for word, key in aliases.items()}
    word = own.get(start, start)
    if word in texts or field_name(word) in {o.name for o in options()}:
        return word
    if isinstance(error, RequestError):
        wanted = re.search(r" needs an? (\w+)", message)
        if wanted and wanted[1] in texts:
            return wanted[1]
        return next((w for w in _TOLD if texts.get(w) and f"'{texts[w]}'" in message), "")
    if isinstance(error, AdapterError):
        return "from" if texts.get("from") else "name"
    if isinstance(error, ModelError):
        return "tokenizer" if "tokenizer" in message.partition(":")[0] else "model"
    return "data" if isinstance(error, DataError) else ""


_TOLD = ("method", "objective", "place", "reward", "judge", "teacher", "budget", "name")
"""Options whose value a refusal names."""
