"""What users type to distil -> a Request: a cell whose body is a context, or names of two models.

%%distill NAME --prompts X      optional YAML, a line ---, then the context, verbatim
%distill NAME --teacher X       the body, if there is one, is YAML as in %%finetune
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbpeft.errors import RequestError, quoted
from nbpeft.request import Request, field_name
from nbpeft.typed import (
    from_call,
    given_once,
    line_words,
    read_yaml,
    request_of,
    yaml_list,
)

LINE = "---"
OTHER = {"prompts": "data", "student": "model"}
"""Words of distilling for words of a run."""
CONTEXT, KNOWLEDGE = "context-distillation", "knowledge-distillation"
BOTH_WAYS = (
    "Say who is learned from: a context, written below %%distill {name} --prompts X; or another "
    "model, as in %distill {name} --teacher X --student Y --data Z."
)


def distill_cell(line: str, body: str) -> tuple[Request, list[Any] | None]:
    """A `%distill` line or `%%distill` cell as (request, inline rows or None)."""
    words = line_words(line, "%%distill", texts=frozenset(OTHER))
    options, context = parted(body) if "teacher" not in words else _whole(body)
    on_body = renamed(read_yaml(options))
    words = renamed(words)
    rows = on_body.pop("data") if isinstance(on_body.get("data"), list) else None
    if rows is not None and "data" in words:
        raise given_once("data", words["data"], "inline rows")
    told = {"context": read_context(context)} if context.strip() else {}
    if told and "context" in {*words, *on_body}:
        raise given_once("context", "an option", "the cell's text")
    given = {**words, **on_body, **told}
    sources = {"line": words, "body": on_body | told, "distill": _kind(given)}
    return request_of(sources, magic="%%distill"), rows


def distill_call(name: str, words: Mapping[str, Any]) -> Request:
    """A Python call as a request: words of a run, as `renamed` gives them."""
    return from_call(name, {**words, **_kind({"name": name, **words})})


def parted(body: str) -> tuple[str, str]:
    """(options, context) of a body: what stands above and below its first line ---.

    Without such a line all is context.
    """
    lines = body.split("\n")
    place = next((n for n, line in enumerate(lines) if line.rstrip() == LINE), None)
    if place is None:
        return "", body
    options = "\n".join(lines[:place])
    try:
        read_yaml(options)
    except RequestError:
        raise RequestError(
            f"What stands above the line {LINE} must be options (key: value); begin the body with "
            f"a line {LINE} if all of it is context."
        ) from None
    return options, "\n".join(lines[place + 1 :])


def read_context(text: str) -> str | list[dict[str, Any]]:
    """A context as it stands; a YAML list of prompts with completions is examples."""
    stripped = text.strip("\n").rstrip()
    if stripped.lstrip().startswith("- "):
        try:
            rows = yaml_list(stripped)
        except RequestError:
            return stripped
        if all(isinstance(row, dict) and {"prompt", "completion"} <= row.keys() for row in rows):
            return rows
    return stripped


def _whole(body: str) -> tuple[str, str]:
    """With a teacher the body is options."""
    options, context = parted(body) if f"\n{LINE}" in f"\n{body}" else (body, "")
    if context.strip():
        raise RequestError(
            "A teacher and a context are two ways: leave --teacher out to learn what the context "
            "does to the model itself, or the text below the line ---."
        )
    return options, ""


def _kind(given: Mapping[str, Any]) -> dict[str, str]:
    """The objective, and the method where nothing is said."""
    if "objective" in given:
        raise RequestError(
            f"objective {quoted(given['objective'])} is for %%finetune; %%distill has its own: "
            "leave it out."
        )
    if "teacher" not in given and given.get("resume"):
        return {}  # it goes on as what it was begun as
    if "teacher" not in given and "context" not in given:
        raise RequestError(BOTH_WAYS.format(name=given.get("name", "NAME")))
    return {word: value for word, value in usual(given).items() if word not in given}


def usual(given: Mapping[str, Any]) -> dict[str, str]:
    """The objective of what is given, and the method: a student trains whole."""
    if "teacher" in given:
        return {"objective": KNOWLEDGE, "method": "full"}
    return {"objective": CONTEXT}


def renamed(words: Mapping[str, Any]) -> dict[str, Any]:
    """The words of a run; RequestError where one is given under both its names."""
    found: dict[str, Any] = {}
    for word, value in words.items():
        own = OTHER.get(field_name(word), field_name(word))
        if own in found:
            other = next(w for w, o in OTHER.items() if o == own)
            raise RequestError(f"{other} and {own} are the same here; give one of them.")
        found[own] = value
    return found
