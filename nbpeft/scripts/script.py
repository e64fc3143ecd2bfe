"""A script as it is shown: code in colours in a notebook, text elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nbpeft.rendering import escape, plain


@dataclass(frozen=True)
class Script:
    """Plain transformers, peft and trl that do what a run of nbpeft does."""

    text: str
    """Python that runs as it stands; '' where the libraries have nothing that does the same."""
    own: tuple[str, ...] = ()
    """What is nbpeft's own, and so isn't in the text."""

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        lines = [f"# {line}" for line in self.own]
        return plain("\n".join([*lines, self.text]).rstrip(), LONGEST)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._html()}

    def _html(self) -> str:
        told = "".join(f"<li>{escape(line)}</li>" for line in self.own)
        own = f"<p>Not in the script:</p><ul>{told}</ul>" if told else ""
        return f"<div>{own}{coloured(self.text) if self.text else ''}</div>"


LONGEST = 1_000_000
"""Characters of a script that are shown."""


def coloured(code: str) -> str:
    """Python as HTML, inert, in colours that can be read on light and dark."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    formatter = HtmlFormatter(noclasses=True, nobackground=True, style="solarized-light")
    return str(highlight(plain(code, LONGEST), PythonLexer(), formatter))
