"""Schemas of JSON as data: what a value must look like, and what is wrong with one that doesn't."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbpeft.errors import listed, quoted


@dataclass(frozen=True)
class Text:
    """A string with something in it."""


@dataclass(frozen=True)
class OneOf:
    """One of some plain values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Anything:
    """Any JSON value."""


@dataclass(frozen=True)
class ListOf:
    """A list of so many values of one shape."""

    item: Shape
    fewest: int = 1
    most: int | None = None


@dataclass(frozen=True)
class Object:
    """A JSON object with these keys and no others."""

    required: Mapping[str, Shape]
    optional: Mapping[str, Shape] = field(default_factory=dict)


@dataclass(frozen=True)
class ByRole:
    """A message, whose keys depend on who speaks."""

    roles: Mapping[str, Object]


Shape = Text | OneOf | Anything | ListOf | Object | ByRole


@functools.singledispatch
def misfits(shape: Shape, value: Any, path: str = "") -> Iterator[str]:
    """What is wrong with a value, each in words that begin with the path to it.

    Args:
        path: to the value, as 'messages[2].content'; empty for a whole line.
    """
    raise NotImplementedError(type(shape).__name__)


@misfits.register
def _(shape: Text, value: Any, path: str = "") -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path} is of type {type(value).__name__}, not a string"
    elif not value.strip():
        yield f"{path} is empty"


@misfits.register
def _(shape: OneOf, value: Any, path: str = "") -> Iterator[str]:
    if value not in shape.values:
        yield f"{path} is {quoted(value)}, not one of {listed(map(str, shape.values))}"


@misfits.register
def _(shape: Anything, value: Any, path: str = "") -> Iterator[str]:
    yield from ()


@misfits.register
def _(shape: ListOf, value: Any, path: str = "") -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path} is of type {type(value).__name__}, not a list"
        return
    most = len(value) if shape.most is None else shape.most
    if not shape.fewest <= len(value) <= most:
        wanted = f"{shape.fewest} or more" if shape.most is None else str(shape.most)
        yield f"{path} holds {len(value)}, not {wanted}"
    for place, item in enumerate(value):
        yield from misfits(shape.item, item, f"{path}[{place}]")


@misfits.register
def _(shape: Object, value: Any, path: str = "") -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path or 'the line'} is of type {type(value).__name__}, not an object"
        return
    inside = f"{path}." if path else ""
    for key, own in {**shape.required, **shape.optional}.items():
        if key in value:
            yield from misfits(own, value[key], f"{inside}{key}")
        elif key in shape.required:
            yield f"{inside}{key} is missing"
    for key in value:
        if key not in shape.required and key not in shape.optional:
            yield f"{path or 'the line'} has a key {quoted(key)}, which is not known there"


@misfits.register
def _(shape: ByRole, value: Any, path: str = "") -> Iterator[str]:
    role = value.get("role") if isinstance(value, dict) else None
    if not isinstance(role, str) or role not in shape.roles:
        yield f"{path} has the role {quoted(role)}, not one of {listed(shape.roles)}"
    else:
        yield from misfits(shape.roles[role], value, path)
