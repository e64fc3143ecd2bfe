"""What users type -> a Request: a magic's line, its YAML body, or Python keywords."""

from __future__ import annotations

import functools
import shlex
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from nbpeft.coerce import coerce
from nbpeft.errors import RequestError, did_you_mean, listed, quoted
from nbpeft.request import Request, field_name, options, typed


def from_cell(
    line: str, body: str, *, magic: str = "%%finetune", name: str | None = None
) -> tuple[Request, list[Any] | None]:
    """A `%%finetune` cell as (request, inline rows or None).

    Args:
        magic: which one it is.
        name: what the adapter is called where the cell doesn't say.
    """
    words = line_words(line, magic)
    on_body = read_yaml(body)
    rows = None
    if isinstance(on_body.get("data"), list):
        if "data" in words:
            raise given_once("data", words["data"], "inline rows")
        rows = on_body.pop("data")
    if name is not None and "name" not in {*words, *on_body}:
        words["name"] = name
    return request_of({"line": words, "body": on_body}), rows


def line_words(line: str, magic: str, texts: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The words of the line of a run's magic; what stands there without a flag is `name`.

    Args:
        texts: further words whose value is a text.
    """
    texts |= _of_kind(str, str | None)
    words, names = split_line(line, flags=_of_kind(bool), texts=texts)
    _refuse_help(words, magic)
    if len(names) > 1:
        raise RequestError(
            f"One NAME is wanted, {len(names)} were given: {listed(map(quoted, names), limit=4)}."
        )
    if names and "name" in words:
        raise given_once("name", names[0], words["name"])
    return words | ({"name": names[0]} if names else {})


def with_body(words: Mapping[str, Any], body: str) -> dict[str, Any]:
    """The words of a magic's line and those of its YAML body; none may be given twice."""
    every = dict(words)
    for typed_word, value in read_yaml(body).items():
        word = field_name(typed_word)
        if word in every:
            raise given_once(word, every[word], value)
        every[word] = value
    return every


def from_call(name: str, words: Mapping[str, Any]) -> Request:
    """A Python call as a request; keywords that are None count as not given."""
    given = {key: value for key, value in words.items() if value is not None}
    return request_of({"call": {"name": name, **given}})


def split_line(
    line: str, flags: frozenset[str] = frozenset(), texts: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], list[str]]:
    """A magic's line as ({word: value}, [names]).

    `flags` are the words that take no value, `texts` those whose value is taken as it stands (a
    path may hold what YAML reads otherwise: '1.10', 'a #b'). `--word value` and `--word=value` are
    the same; other values are YAML scalars.
    """
    try:
        parts = shlex.split(line)
    except ValueError as error:
        raise RequestError(f"The line can't be read ({error}): {quoted(line)}.") from None
    words: dict[str, Any] = {}
    names: list[str] = []
    while parts:
        part = parts.pop(0)
        if part in ("-h", "--help"):
            words["help"] = True
            continue
        if not part.startswith("--"):
            names.append(_checked_name(part))
            continue
        word, equals, value = part[2:].partition("=")
        word = field_name(word)
        if word in words:
            raise RequestError(f"{_flag(word)} is given twice; keep one.")
        if word in flags and not equals:
            words[word] = True
        elif equals or parts:
            text = value if equals else parts.pop(0)
            words[word] = text if word in texts else scalar(text)
        else:
            near = did_you_mean(part, (f"--{flag.replace('_', '-')}" for flag in flags))
            raise RequestError(f"{_flag(word)} wants a value after it.{near}")
    return words, names


def _checked_name(part: str) -> str:
    """What stands on a line without a flag; a flag with one dash (or a typeset one) is none."""
    if part[:1] in ("-", "\N{EN DASH}", "\N{EM DASH}"):
        flag = "--" + part.lstrip("-\N{EN DASH}\N{EM DASH}")
        raise RequestError(
            f"{quoted(part)} is neither a name nor a flag: flags begin with two dashes. "
            f"Did you mean {quoted(flag)[1:-1]}?"
        )
    return part


def _refuse_help(words: Mapping[str, Any], magic: str) -> None:
    if "help" in words:
        raise RequestError(f"The help of {magic} is shown by {magic}? (a question mark after it).")


def read_yaml(body: str) -> dict[str, Any]:
    """A cell's body as a mapping; YAML 1.2 core, no tags, no anchors.

    Anchors are refused because a few nested ones grow without bound ("billion laughs").
    """
    if not body.strip():
        return {}
    value = _yaml(body, "The body")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise RequestError(
            f"The body must be lines of 'key: value' (YAML); it is {quoted(body.strip())}."
        )
    return dict(value)


def _yaml(text: str, what: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import AliasEvent

    try:
        if any(isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(text)):
            raise RequestError(f"{what} uses a YAML alias (*name); write the value out instead.")
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = _core()
        return yaml.load(text)
    except RecursionError:
        raise RequestError(f"{what} is nested too deeply; write it flatter.") from None
    except (YAMLError, ValueError) as error:  # a ValueError: a number of 5000 digits, say
        problem = quoted(" ".join(str(getattr(error, "problem", None) or error).split()), 200)
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise RequestError(
            f"{what} is no valid YAML{where}: {problem[1:-1]}. Write lines of 'key: value'."
        ) from None


@functools.cache
def _core() -> Any:
    """YAML 1.2 core has no dates and no `=`: both are texts."""
    from ruamel.yaml.constructor import SafeConstructor

    core: Any = type("Core", (SafeConstructor,), {})
    for tag in ("timestamp", "value"):
        core.add_constructor(f"tag:yaml.org,2002:{tag}", SafeConstructor.construct_yaml_str)
    return core


def scalar(text: str) -> Any:
    """A flag's value: a YAML scalar or flow list; text that isn't YAML stays text."""
    try:
        return _yaml(text, "The value")
    except RequestError:
        return text


def request_of(sources: Mapping[str, Mapping[str, Any]], magic: str = "%%finetune") -> Request:
    """The words of several sources as one request; a word that two of them give is refused."""
    hints = typing.get_type_hints(Request)
    declared = {o.name for o in options()}
    known: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, words in sources.items():
        for typed_word, value in words.items():
            word = field_name(typed_word)
            if word in origins:
                raise given_once(word, (known | fields)[word], value)
            origins[word] = origin
            if word in declared:
                known[word] = coerce(typed_word, value, hints[word])
            else:
                fields[word] = value
    if "name" not in known:
        raise RequestError(f"The adapter needs a name: {magic} NAME --data X." + _lone_hint(fields))
    return Request(**known, fields=fields, origins=origins)


def _lone_hint(fields: Mapping[str, Any]) -> str:
    return "".join(did_you_mean(word, (o.name for o in options())) for word in list(fields)[:1])


def given_once(word: str, first: Any, second: Any) -> RequestError:
    """A word may be given once."""
    return RequestError(
        f"{quoted(typed(word))} is given twice, as {quoted(first)} and as {quoted(second)}; "
        "keep one."
    )


def _flag(word: str) -> str:
    return quoted(f"--{typed(word).replace('_', '-')}")


def _of_kind(*kinds: Any) -> frozenset[str]:
    hints = typing.get_type_hints(Request)
    return frozenset(o.name for o in options() if hints[o.name] in kinds)


def known_words(words: Mapping[str, Any], known: Iterable[str], magic: str) -> None:
    """Refuse a flag that a magic doesn't have."""
    _refuse_help(words, magic)
    known = sorted(known)
    for word in words:
        if word not in known:
            flags = [f"--{name.replace('_', '-')}" for name in known]
            near = did_you_mean(f"--{word.replace('_', '-')}", flags)
            every = listed(flags, limit=len(flags))
            raise RequestError(f"{magic} has no {_flag(word)}.{near} Its flags: {every}.")


def yaml_list(text: str) -> list[Any]:
    """A YAML list; RequestError for anything else."""
    found = _yaml(text, "The list")
    if not isinstance(found, list):
        raise RequestError(f"A list is wanted; this is {quoted(text)}.")
    return found


def read_prompts(body: str) -> list[Any]:
    """The prompts in a cell: a YAML list (texts or chats), else a prompt a line."""
    if body.lstrip().startswith("- "):
        prompts = _yaml(body, "The list of prompts")
        if all(isinstance(p, str) or is_chat(p) for p in prompts):
            return list(prompts)
        raise RequestError(
            "Each item of the list must be a text, or a chat: a list of {role, content}."
        )
    return [line.strip() for line in body.splitlines() if line.strip()]


def read_rows(body: str) -> list[Any]:
    """The texts in a cell: a YAML list (texts, chats, or rows of key: value), else one a line."""
    if body.lstrip().startswith("- "):
        rows = _yaml(body, "The list of texts")
        if all(isinstance(row, str | dict) or is_chat(row) for row in rows):
            return list(rows)
        raise RequestError(
            "Each item of the list must be a text, a chat (a list of {role, content}), or a row "
            "with prompt and completion."
        )
    return [line.strip() for line in body.splitlines() if line.strip()]


def is_chat(prompt: Any) -> bool:
    """Whether a prompt is a list of {role, content}."""
    return isinstance(prompt, list) and all(
        isinstance(message, dict) and {"role", "content"} <= set(message) for message in prompt
    )
