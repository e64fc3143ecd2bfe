"""What came of an export: where the file lies, and what it was checked against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbpeft.rendering import Table, bytes_size, count


@dataclass(frozen=True)
class Exported:
    """One file for a hosted service; shows itself as a table."""

    label: str
    """Of the data."""
    path: Path
    service: str
    """As people write it: 'OpenAI'."""
    kind: str
    """'chats' or 'preferences'."""
    checked: str
    """When the schema's documentation was read, ISO 8601."""
    page: str
    """Where it is documented."""
    rows: int
    tokens: int
    """About how many, by characters."""
    size: int
    """Bytes."""
    notes: tuple[str, ...] = ()

    def table(self) -> Table:
        """The figures."""
        rows = (
            ("file", str(self.path)),
            ("lines", f"{count(self.rows)} {self.kind}, each checked when read back"),
            ("tokens", f"about {count(self.tokens)}, by characters"),
            ("size", bytes_size(self.size)),
            ("schema", f"{self.service}, as documented on {self.checked}"),
            ("documentation", self.page),
        )
        title = f"{self.label}: written for {self.service}"
        return Table(title, ("", ""), rows, notes=self.notes)

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()
