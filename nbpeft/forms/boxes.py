"""A field as widgets: where it is typed, what it is for, and what is wrong with it beside.

Widgets that ipywidgets 7.7 (Colab) and 8 both have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nbpeft.forms.controls import FIRST, Control
from nbpeft.forms.sights import wrong_html
from nbpeft.rendering import escape, plain
from nbpeft.widgets import Later

_DIM = "opacity: 0.75; font-size: 90%; line-height: 1.3"


class Box:
    """The widgets of one field; `box` holds them."""

    def __init__(self, control: Control, given: str | bool, changed: Callable[[], None]) -> None:
        import ipywidgets as widgets

        self.control = control
        self._help = control.help
        self.input = _input(control, given)
        self.note = widgets.HTML()
        self.box = widgets.VBox([self.input, self.note], layout=widgets.Layout(margin="2px 8px"))
        self.say("")
        self.input.observe(lambda _: changed(), "value")

    @property
    def value(self) -> str | bool:
        """What stands in it."""
        return self.input.value  # type: ignore[no-any-return]

    def explain(self, text: str) -> None:
        """Another help text from now on."""
        self._help = text
        self.say("")

    def say(self, problem: str) -> None:
        """The help, and before it what is wrong."""
        page = f'{wrong_html(problem)}<div style="{_DIM}">{escape(self._help)}</div>'
        if self.note.value != page:
            self.note.value = page

    def suggest(self, texts: Iterable[str]) -> None:
        """What may be chosen."""
        found = tuple(text for text in texts if plain(text, one_line=True) == text)
        if hasattr(self.input, "ensure_option") and self.input.options != found:
            self.input.options = found

    def show_default(self, text: str) -> None:
        """What holds where nothing is typed."""
        text = plain(text, 60, one_line=True)
        if hasattr(self.input, "placeholder") and self.input.placeholder != text:
            self.input.placeholder = text


def _input(control: Control, given: str | bool) -> Any:
    import ipywidgets as widgets

    common = {
        "description": control.word.replace("_", " "),
        "layout": widgets.Layout(width="auto"),
        "style": {"description_width": "120px"},
    }
    if control.kind == "switch":
        return widgets.Checkbox(value=given is True, indent=True, **common)
    text = given if isinstance(given, str) else str(given).lower() if given else ""
    if control.kind == "texts":
        return widgets.Textarea(value=text, rows=4, continuous_update=False, **common)
    if control.kind == "choice" and (not text or text in control.choices):
        return widgets.Dropdown(options=_choices(control), value=text, **common)
    return widgets.Combobox(value=text, continuous_update=False, **common)


def _choices(control: Control) -> list[tuple[str, str]]:
    blank = [] if control.word in FIRST else [("as usual", "")]
    return [*blank, *((choice, choice) for choice in control.choices)]


class Boxes:
    """The boxes of a form by their words; each is made when it is first shown, and stays."""

    def __init__(
        self, given: dict[str, str | bool], changed: Callable[[], None], later: Later
    ) -> None:
        self._texts = given
        self._known: dict[str, Box] = {}

        # A change may be heard in another thread than the kernel's own.
        def heard() -> None:
            later(changed)

        self._changed = heard

    def __iter__(self) -> Iterator[Box]:
        return iter(tuple(self._known.values()))

    def __getitem__(self, word: str) -> Box:
        return self._known[word]

    def __contains__(self, word: str) -> bool:
        return word in self._known

    def of(self, control: Control) -> Box:
        """The box of a field."""
        known = self._known.get(control.word)
        if known is None or known.control != control:
            self._known[control.word] = known = Box(control, self.text(control.word), self._changed)
        return known

    def text(self, word: str) -> str | bool:
        """What was typed under a word, whether its box was shown or not."""
        known = self._known.get(word)
        return known.value if known else self._texts.get(word, "")
