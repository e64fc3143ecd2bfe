"""Values as they were typed -> values of the declared type.

Flags and bodies are YAML 1.2 core, so `1e-3` is a number and `no` a string; what the type of the
field asks for decides the rest. One clear line when it can't be.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from nbpeft.errors import RequestError, did_you_mean, listed, quoted


def coerce(word: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint` wants it; RequestError naming `word` when it can't be.

    Numbers become floats or whole ints, a lone string a list where a list is wanted, 'a=b,c=d' a
    mapping. A hint that isn't known here (a class of a library) lets the value through.
    """
    options = _flat(hint)
    lone = isinstance(value, str) and any(_origin(o) in (list, set, tuple) for o in options)
    for attempt in (value, [value]) if lone else (value,):
        try:
            return _first(attempt, hint)
        except ValueError:
            continue
    near = did_you_mean(value, choices(hint)) if isinstance(value, str) else ""
    raise RequestError(f"{word} can't be {quoted(value)}: it must be {_named(hint)}.{near}")


def choices(hint: Any) -> tuple[str, ...]:
    """The values that a type enumerates, as they are typed; none for one that takes any."""
    found: list[str] = []
    for option in _flat(hint):
        origin = _origin(option)
        if origin is bool:
            found += ["true", "false"]
        elif origin is typing.Literal:
            found += [json.dumps(c) if isinstance(c, bool) else str(c) for c in option.__args__]
        elif _is_enum(origin):
            found += [str(member.value) for member in origin]
    return tuple(dict.fromkeys(found))


def _flat(hint: Any) -> list[Any]:
    """The alternatives of a union, those that take the value as it is before those that convert."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        flat = [option for part in typing.get_args(hint) for option in _flat(part)]
        if any(_is_enum(_origin(option)) for option in flat):
            # `SchedulerType | str` means one of its values, not any text.
            flat = [option for option in flat if option is not str]
        order = [type(None), bool, int, float, dict, list, set, tuple]
        rank = {kind: i for i, kind in enumerate(order)}
        return sorted(flat, key=lambda o: rank.get(_origin(o), len(order)))
    return [hint]


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


def _is_enum(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, enum.Enum)


def _as(value: Any, hint: Any) -> Any:
    origin = _origin(hint)
    if origin is typing.Literal:
        return _choice(value, typing.get_args(hint))
    if _is_enum(origin):
        return origin(value)
    convert = _CONVERTERS.get(origin)
    return convert(value, typing.get_args(hint)) if convert else value


def _choice(value: Any, choices: tuple[Any, ...]) -> Any:
    if value in choices:
        return value
    # PEFT writes a family of values as one: 'pissa_niter_[number of iters]'.
    for start, bracket, _ in (str(choice).partition("[") for choice in choices):
        if bracket and isinstance(value, str) and value.startswith(start):
            return value
    raise ValueError(value)


def _none(value: Any, _: Any) -> None:
    if value is not None:
        raise TypeError(value)


def _bool(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError(value)


def _int(value: Any, _: Any) -> int:
    if isinstance(value, bool | str) or int(value) != value:
        raise ValueError(value)
    return int(value)


def _float(value: Any, _: Any) -> float:
    if isinstance(value, bool | str):
        raise TypeError(value)
    return float(value)


def _str(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    raise TypeError(value)


def _list(value: Any, args: tuple[Any, ...]) -> list[Any]:
    inner = args[0] if args else Any
    if isinstance(value, str):
        # A regular expression may stand where a list may (PEFT's target_modules): only plain
        # names with commas between are a list.
        if "," not in value or not all(c.isalnum() or c in "._-, " for c in value):
            raise TypeError(value)
        return [_part(part.strip(), inner) for part in value.split(",")]
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    return [_first(item, inner) for item in value]


def _part(text: str, hint: Any) -> Any:
    """An item of 'a,b,c' or '1,2': a text where texts are wanted, else a number."""
    try:
        return _first(text, hint)
    except ValueError:
        return _first(json.loads(text), hint)


def _dict(value: Any, _: Any) -> dict[Any, Any]:
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",")]
        if not all(key.strip() and middle for key, middle, _rest in pairs):
            raise TypeError(value)
        return {key.strip(): rest.strip() for key, _middle, rest in pairs}
    if not isinstance(value, Mapping):  # dict(["ab"]) is {'a': 'b'}
        raise TypeError(value)
    return dict(value)


def _first(value: Any, hint: Any) -> Any:
    for option in _flat(hint):
        try:
            return _as(value, option)
        except (TypeError, ValueError, OverflowError):  # the last: infinity as a whole number
            continue
    raise ValueError(value)


_CONVERTERS = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    list: _list,
    set: _list,
    tuple: _list,
    dict: _dict,
}

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    list: "a list",
    dict: "a mapping (a=b,c=d)",
    type(None): "null",
}


def _named(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal or _is_enum(_origin(hint)):
        return "one of " + listed(choices(hint))
    words = [
        listed(choices(o))
        if typing.get_origin(o) is typing.Literal or _is_enum(_origin(o))
        else _WORDS.get(_origin(o), getattr(o, "__name__", str(o)))
        for o in _flat(hint)
        if o is not type(None)
    ]
    return " or ".join(dict.fromkeys(words))
