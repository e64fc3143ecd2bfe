"""Tab in the cells of the magics, on IPython 7.34 and on 8.6 or newer.

What is offered carries its help in the completion's type: ipykernel 7.4 hands on nothing else of
what a matcher says (`signature` is always empty), JupyterLab shows it beside the completion, and
IPython's terminal below the menu.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import IPython

from nbpeft.listing.glance import Offer
from nbpeft.magics.cursor import locate
from nbpeft.magics.offers import flags_of, offers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from IPython.core.interactiveshell import InteractiveShell

IDENTIFIER = "nbpeft"
LONGEST_HELP = 60


class Completer:
    """Completes in the cells of some magics, and nowhere else."""

    def __init__(
        self, magics: Mapping[str, Callable[..., Any]], variables: Mapping[str, Any]
    ) -> None:
        self._flags = {name: flags_of(magic) for name, magic in magics.items()}
        self._variables = variables

    def complete(self, cell: str, row: int, column: int) -> tuple[str, list[Offer]] | None:
        """(what is typed, the offers in its place); None outside, and on any error."""
        if "%" not in cell:
            return None
        try:
            cursor = locate(cell, row, column, self._flags, self._switches)
            if cursor is None:
                return None
            return offers(cursor, self._flags[cursor.magic], self._variables)
        except Exception:  # noqa: BLE001  a key that was pressed must never end in a traceback
            return None

    def _switches(self, magic: str) -> list[str]:
        return [word for word, flag in self._flags[magic].items() if not flag.value]


def kind_and_help(offer: Offer) -> str:
    """What a frontend shows beside a completion: 'flag: peak learning rate'.

    In one short line whose spaces don't break: JupyterLab's column is as wide as its longest word.
    """
    text = " ".join(re.sub(r"<[^>]*>", "", offer.help).split())  # peft's help links to papers
    if len(text) > LONGEST_HELP:
        text = text[:LONGEST_HELP].rpartition(" ")[0] + " …"
    return (f"{offer.kind}: {text}" if text else offer.kind).replace(" ", "\N{NO-BREAK SPACE}")


_matchers: weakref.WeakKeyDictionary[InteractiveShell, Callable[..., Any]] = (
    weakref.WeakKeyDictionary()
)


def register(shell: InteractiveShell, magics: Mapping[str, Callable[..., Any]]) -> None:
    """Complete in the cells of `magics` from now on; once, however often it is called."""
    unregister(shell)
    completer, theirs = Completer(magics, shell.user_ns), _of_ipython(shell)
    if IPython.version_info >= (8, 6):
        _matchers[shell] = _matcher(completer)
        theirs.custom_matchers.append(_matchers[shell])
    else:
        theirs.completions = _wrapped(completer, theirs.completions)


def unregister(shell: InteractiveShell) -> None:
    """Leave IPython's completer as it was."""
    theirs, matcher = _of_ipython(shell), _matchers.pop(shell, None)
    if IPython.version_info < (8, 6):
        vars(theirs).pop("completions", None)
    elif matcher in theirs.custom_matchers:
        theirs.custom_matchers.remove(matcher)


def _of_ipython(shell: InteractiveShell) -> Any:
    return shell.Completer


def _matcher(completer: Completer) -> Callable[[Any], Any]:
    from IPython.core.completer import SimpleCompletion, context_matcher

    @context_matcher(identifier=IDENTIFIER)
    def matcher(context: Any) -> Any:
        answer = completer.complete(context.full_text, context.cursor_line, context.cursor_position)
        if answer is None:
            return {"completions": []}
        fragment, found = answer
        # IPython lets others be suppressed only by a completion; one that changes nothing keeps
        # Python's names out of YAML and prompts.
        found = found or [Offer(fragment, "nothing to offer")]
        return {
            "completions": [SimpleCompletion(o.text, type=kind_and_help(o)) for o in found],
            "matched_fragment": fragment,
            "suppress": True,
            "ordered": True,
        }

    return matcher


def _wrapped(completer: Completer, theirs: Callable[..., Any]) -> Callable[..., Any]:
    """IPython 7's hooks are shown the cursor's line alone; a body needs the whole cell."""

    def completions(text: str, offset: int) -> Iterator[Any]:
        from IPython.core.completer import Completion

        before = text[:offset]
        column = offset - (before.rfind("\n") + 1)
        answer = completer.complete(text, before.count("\n"), column)
        if answer is None:
            yield from theirs(text, offset)
            return
        fragment, found = answer
        for offer in found:
            yield Completion(offset - len(fragment), offset, offer.text, type=kind_and_help(offer))

    return completions
