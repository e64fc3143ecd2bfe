"""Buttons and keys for a rating, of widgets that ipywidgets 7.7 (Colab) and 8 both have.

Keys are typed into a small text box: no script, and no shortcut of the frontend is in the way (in
JupyterLab '1' beside a text box turns the cell into a heading).

A notebook that is opened later has no widget. So a line of text above it says how far the rating
is, kept up to date, and once all is rated the closing table takes the widget's place.
"""

from __future__ import annotations

import uuid
from typing import Any

from IPython.display import display, update_display

from nbpeft.errors import NbPeftError
from nbpeft.rating.cards import answer_html, head_html, note_html, prompt_html
from nbpeft.rating.deck import BAD, MARKS, SKIP, UNDO
from nbpeft.rating.rating import Rating
from nbpeft.widgets import GONE, MIME, Later, later, view_of

FINISH = "f"
_FRAME = "1px solid rgba(128, 128, 128, 0.4)"
_MARKS = ("1 · bad", "2", "3", "4", "5 · good")
_BESIDE = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}
"""Answers in a row, by how many there are."""
_RANKS = ("best", "second", "third", "fourth", "fifth", "sixth")


def show(rating: Rating) -> None:
    """Into the output of the cell that runs: buttons in a notebook, text elsewhere."""
    in_kernel = later()
    if rating.done or in_kernel is None:
        display(rating.table()._repr_mimebundle_(), raw=True)
        return
    View(rating, in_kernel).show()


class View:
    """The widgets of one output."""

    def __init__(self, rating: Rating, later: Later) -> None:
        import ipywidgets as widgets

        self.rating = rating
        self._later = later
        self._writing = False
        self._line = ""
        self._line_id, self._widget_id = (f"nbpeft-{uuid.uuid4().hex}" for _ in range(2))
        self._typed = ""
        self._head, self._prompt, self._note = (widgets.HTML() for _ in range(3))
        self.buttons = self._made_buttons()
        self._answers = [widgets.HTML() for _ in range(rating.most_answers)]
        self._panels = [self._panel(i) for i in range(rating.most_answers)]
        self.keys = widgets.Text(
            placeholder="keys: click here, and type", layout=widgets.Layout(width="15em")
        )
        self.keys.observe(self._on_type, "value")
        beside = _BESIDE[rating.most_answers]
        body = widgets.GridBox(
            self._panels,
            layout=widgets.Layout(grid_template_columns=f"repeat({beside}, minmax(0, 1fr))"),
        )
        rest = [self.buttons[key] for key in self.buttons if not key.isdecimal()]
        foot = widgets.HBox([*rest, self.keys], layout=widgets.Layout(flex_flow="row wrap"))
        self.box = widgets.VBox([self._head, self._prompt, body, foot, self._note])
        rating.listen(self.refresh)

    def show(self) -> None:
        """Display the line and the widget."""
        self._line = self.rating.line()
        display({"text/plain": self._line}, raw=True, display_id=self._line_id)
        self.refresh()
        bundle = {MIME: view_of(self.box), "text/plain": GONE}
        display(bundle, raw=True, display_id=self._widget_id)

    def refresh(self) -> None:
        """Show the rating as it is now, and have answers written ahead."""
        if self._line != self.rating.line():
            self._line = self.rating.line()
            update_display({"text/plain": self._line}, raw=True, display_id=self._line_id)
        if self.rating.done:
            self._close()
            return
        rating, card = self.rating, self.rating.deck.card
        self._head.value = head_html(rating)
        self._prompt.value = prompt_html(card)
        for i, (panel, answer) in enumerate(zip(self._panels, self._answers, strict=True)):
            there = card is not None and i < len(card.answers)
            panel.layout.display = "" if there else "none"
            answer.value = answer_html(card.answers[i].text) if card and there else ""
        keys = rating.keys
        for key, button in self.buttons.items():
            button.disabled = key not in (*keys, FINISH)
        if not rating.request.mark:
            self._label_ranks()
        if rating.wants_more() and not self._writing:
            self._writing = True
            self._later(self._write)

    def press(self, key: str) -> None:
        """A click or a key; one that does nothing now is passed over, as keyboards have more."""
        self._note.value = ""
        try:
            if key == FINISH:
                self.rating.finish()
            elif key in self.rating.keys:
                self.rating.take(key)
        except NbPeftError as error:  # a disk that is full, say
            self._note.value = note_html(str(error))

    def _write(self) -> None:
        """One card; the next one after whatever else the kernel has to do."""
        self._writing = False
        try:
            if self.rating.wants_more():
                self.rating.deal_one()
        except Exception as error:  # noqa: BLE001  there is no cell to show it: the widget does
            self.rating.stop(str(error) if isinstance(error, NbPeftError) else repr(error))

    def _close(self) -> None:
        """The closing table in the place of the widget."""
        import ipywidgets as widgets

        bundle = self.rating.table()._repr_mimebundle_()
        # Where a frontend doesn't take the update, it stands in the widget.
        self.box.children = (widgets.HTML(bundle["text/html"]),)
        update_display(bundle, raw=True, display_id=self._widget_id)

    def _made_buttons(self) -> dict[str, Any]:
        """By key, in the order of the output."""
        mark = self.rating.request.mark
        labels = dict(zip("12345", _MARKS, strict=True)) if mark else {}
        labels |= {str(i + 1): "" for i in range(self.rating.most_answers)} if not mark else {}
        labels |= {SKIP: "skip (s)"} | ({} if mark else {BAD: "all bad (b)"})
        labels |= {UNDO: "undo (u)", FINISH: "finish (f)"}
        return {key: self._button(key, label) for key, label in labels.items()}

    def _button(self, key: str, label: str) -> Any:
        import ipywidgets as widgets

        button = widgets.Button(description=label, layout=widgets.Layout(width="auto"))
        button.on_click(lambda _: self._on_click(key))
        return button

    def _panel(self, place: int) -> Any:
        """An answer under its button, or above the five marks."""
        import ipywidgets as widgets

        own = [str(i + 1) for i in range(MARKS)] if self.rating.request.mark else [str(place + 1)]
        buttons = widgets.HBox(
            [self.buttons[key] for key in own], layout=widgets.Layout(flex_flow="row wrap")
        )
        layout = widgets.Layout(border=_FRAME, padding="0.4em", margin="0.2em")
        return widgets.VBox([buttons, self._answers[place]], layout=layout)

    def _label_ranks(self) -> None:
        """What a press of each answer's button says, or said."""
        placed, two = self.rating.deck.placed, self.rating.most_answers == 2
        for key, button in self.buttons.items():
            if key.isdecimal():
                rank = placed.index(int(key) - 1) if int(key) - 1 in placed else None
                open_ = f"{key} is better" if two else f"choose {key}"
                button.description = open_ if rank is None else f"{key} is {_RANKS[rank]}"
                button.button_style = "" if rank is None else "success"

    def _on_click(self, key: str) -> None:
        import ipywidgets as widgets

        self.press(key)
        if not widgets.__version__.startswith("7.") and not self.rating.done:
            self.keys.focus()  # so that keys go on from here, and none to the frontend's shortcuts

    def _on_type(self, change: Any) -> None:
        """What is new in the box. It isn't emptied: a key typed meanwhile would come twice."""
        before, self._typed = self._typed, change["new"]
        if self._typed.startswith(before):
            for key in self._typed[len(before) :]:
                self.press(key.lower())
