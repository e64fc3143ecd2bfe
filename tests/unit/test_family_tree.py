"""Every method stands in the tree once, in the text and in the picture's data."""

from __future__ import annotations

import nbpeft
from nbpeft.methods import methods
from nbpeft.rendering import tree_png, tree_text


def test_every_method_is_there_once() -> None:
    tree = nbpeft.family_tree()
    assert sorted(name for family in tree.values() for name in family) == sorted(methods.names())
    data, _ = tree._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    for name in methods.names():
        assert f"    {name} " in data["text/plain"]


def test_names_are_shown_as_text() -> None:
    hostile = {"<b>\x1b[31m": {"$x$\u202e": "</svg>\nnext"}}
    assert tree_png("root", hostile).startswith(b"\x89PNG")
    text = tree_text("root", hostile)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text.splitlines()) == 3
