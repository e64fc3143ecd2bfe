"""What holds memory, as it is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.holding.holders import holders
from nbpeft.holding.letting_go import check_names, let_go
from nbpeft.rendering import Table, bytes_size
from nbpeft.room import free_host_memory, memory_in_use

if TYPE_CHECKING:
    from nbpeft.session.session import Session

SMALL = 0.01
"""Holders below this share of all are shown in one row."""


@dataclass(frozen=True)
class Held:
    """One row: a holder, without what it holds."""

    name: str
    kind: str
    size: int
    """Bytes of the tensors and arrays that it leads to."""
    alone: int
    """Of those, what nobody else leads to: what would be freed without it."""
    devices: tuple[str, ...]
    spared: bool = False
    """Whether it can be let go of by itself."""


@dataclass(frozen=True)
class Memory:
    """Who holds how much; shows itself as a table, and holds nothing itself."""

    held: tuple[Held, ...]
    """The largest first."""
    notes: tuple[str, ...]
    """What the process and the GPU have in use and free, and what was let go."""

    @property
    def large(self) -> list[Held]:
        """Those that get a row of their own."""
        total = sum(held.alone for held in self.held)
        return [held for held in self.held if held.size >= SMALL * total]

    def table(self) -> Table:
        """A row a holder; the small ones in one."""
        shown = self.large
        small = [held for held in self.held if held not in shown]
        rows = [
            (_WORDS[held.kind].format(held.name), bytes_size(held.size), bytes_size(held.alone),
             ", ".join(held.devices), _WAYS[held.kind].format(held.name.split(", ")[0]))
            for held in shown
        ]  # fmt: skip
        if small:
            alone = bytes_size(sum(held.alone for held in small))
            rows.append((f"{len(small)} small ones", "", alone, "", ""))
        return Table(
            title="memory",
            header=("what holds it", "leads to", "holds alone", "on", "freed by"),
            rows=tuple(rows),
            align=("left", "right", "right"),
            notes=self.notes,
        )

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.table()._repr_mimebundle_()

    def _ipython_display_(self) -> None:
        """In a notebook, with a button for each that can be let go of."""
        from nbpeft.holding.view import show

        show(self)


_WORDS = {
    "variable": "{}",
    "output": "{}",
    "traceback": "traceback of {}",
    "adapter": "adapter {}",
    "originals": "weights of {} as loaded",
    "elsewhere": "in no variable",
}
_WAYS = {
    "variable": "%peft_memory {} --free",
    "output": "%peft_memory --free",
    "traceback": "%peft_memory --free",
    "adapter": "%peft_memory --free, once it is on the shelf and not attached",
    "originals": "--in-place, in a run on 4 or 8 bits",
    "elsewhere": "",
}


def memory(
    session: Session,
    variables: MutableMapping[str, Any],
    shell: Any,
    names: Sequence[str] = (),
    *,
    free: bool = False,
) -> Memory:
    """Who holds memory now; with `free`, once what needn't be held was let go.

    Args:
        names: variables that are let go, too.

    Raises:
        RequestError: a name that no variable has; nothing is let go then.
    """
    check_names(names, variables)
    note = ""
    if free:
        note = freeing(
            lambda: let_go(holders(session, variables, shell), session, variables, shell, names)
        )
    return look(session, variables, shell, note)


def freeing(let: Callable[[], list[str]]) -> str:
    """What was let go of, and how much less is in use since, in a line."""
    before = memory_in_use()
    gone = let()
    freed = bytes_size(max(0, before - memory_in_use()))
    return f"let go of {', '.join(gone)}: {freed} freed" if gone else NOTHING


def look(
    session: Session, variables: MutableMapping[str, Any], shell: Any, note: str = ""
) -> Memory:
    """Who holds memory now."""
    found = holders(session, variables, shell)
    adapters = {label for handle in session.handles for label in session.spared(handle)}
    leading = Counter(key for holder in found for key in holder.blocks)
    held = [
        Held(
            name=holder.name,
            kind=holder.kind,
            size=holder.size,
            alone=sum(b.size for key, b in holder.blocks.items() if leading[key] == 1),
            devices=tuple(sorted({block.device for block in holder.blocks.values()})),
            spared=holder.kind in ("variable", "output", "traceback") or holder.name in adapters,
        )
        for holder in found
    ]
    held.sort(key=lambda one: -one.size)
    return Memory(tuple(held), (*([note] if note else []), *_totals()))


NOTHING = "no output, traceback or adapter held memory that could be let go"


def _totals() -> list[str]:
    import psutil
    import torch

    process = bytes_size(psutil.Process().memory_info().rss)
    notes = [f"this process: {process} in use; {bytes_size(free_host_memory())} free"]
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        tensors, kept = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        notes.append(
            f"GPU: {bytes_size(tensors)} in tensors and {bytes_size(kept - tensors)} kept for new "
            f"ones; {bytes_size(free)} of {bytes_size(total)} free"
        )
    return notes
