"""The names under which a kernel keeps what takes memory."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nbpeft.holding.blocks import Blocks, blocks, every_tensor

if TYPE_CHECKING:
    from nbpeft.session.session import Session

Kind = Literal["variable", "output", "traceback", "adapter", "originals", "elsewhere"]

IPYTHONS = re.compile(r"_{1,3}|_i{0,3}\d*|_[dio]h|In|Out|_exit_code")
"""Variables that IPython keeps of inputs and outputs."""


@dataclass(frozen=True)
class Holder:
    """One that keeps memory from being freed."""

    name: str
    kind: Kind
    """'originals' are the weights that a quantized model had, 'elsewhere' is in no name."""
    blocks: Blocks

    @property
    def size(self) -> int:
        """Bytes of all that it leads to."""
        return sum(block.size for block in self.blocks.values())


def holders(session: Session, variables: Mapping[str, Any], shell: Any) -> list[Holder]:
    """Everybody who holds something, each with all that it leads to.

    Args:
        variables: the notebook's, or a script's.
        shell: IPython's, or None in plain Python.
    """
    beyond = {id(variables), id(shell), id(session), id(sys.modules)}
    beyond |= {id(vars(module)) for module in list(sys.modules.values()) if module is not None}
    every = [
        *_variables(variables, beyond),
        *_outputs(variables, beyond),
        *_tracebacks(shell, beyond),
        *_adapters(session, beyond),
    ]
    known = {key for holder in every for key in holder.blocks}
    rest = {key: block for key, block in every_tensor().items() if key not in known}
    return [holder for holder in (*every, Holder("", "elsewhere", rest)) if holder.blocks]


def _variables(variables: Mapping[str, Any], beyond: set[int]) -> Iterator[Holder]:
    """The user's; names of one object are one holder."""
    named: dict[int, list[str]] = {}
    own = {n: v for n, v in list(variables.items()) if not IPYTHONS.fullmatch(n)}
    for name, value in own.items():
        named.setdefault(id(value), []).append(name)
    for names in named.values():
        yield Holder(", ".join(names), "variable", blocks([own[names[0]]], beyond))


def _outputs(variables: Mapping[str, Any], beyond: set[int]) -> Iterator[Holder]:
    """Those that IPython keeps by their number, and the last three."""
    numbered = dict(variables.get("Out", {}))
    for number, value in numbered.items():
        yield Holder(f"Out[{number}]", "output", blocks([value], beyond))
    kept = set(map(id, numbered.values()))
    for name in ("_", "__", "___"):
        value = variables.get(name)
        if id(value) not in kept:
            yield Holder(name, "output", blocks([value], beyond))


def _tracebacks(shell: Any, beyond: set[int]) -> Iterator[Holder]:
    """That of the last error: its frames keep what was on the way when it was raised."""
    kept = last_error(shell)
    error = next((part for part in kept if isinstance(part, BaseException)), None)
    name = "an error" if error is None else type(error).__name__
    yield Holder(name, "traceback", blocks(kept, beyond))


def last_error(shell: Any) -> list[Any]:
    """What Python and IPython keep of the last error, for a debugger."""
    kept = [vars(sys).get(name) for name in ("last_exc", "last_value", "last_traceback")]
    if shell is not None:
        result = shell.last_execution_result
        kept.append(vars(shell.InteractiveTB).get("tb"))
        kept += [] if result is None else [result.error_in_exec, result.error_before_exec]
    return [part for part in kept if part is not None]


def _adapters(session: Session, beyond: set[int]) -> Iterator[Holder]:
    """Those in memory, beside the base that they stand on; and the weights that it had before."""
    for handle in session.handles:
        # A model that is being tuned is left alone, and its adapter counts as a part of it.
        tuned = handle.turn.is_others
        with contextlib.nullcontext() if tuned else handle.bare():
            base = blocks([handle.root], beyond)
        for label, mount in list(handle.mounts.items()):
            yield Holder(label, "adapter", _without(base, blocks([mount], beyond)))
        parked = _without(base, blocks([handle.precision], beyond))
        yield Holder(type(handle.root).__name__, "originals", parked)


def _without(base: Blocks, found: Blocks) -> Blocks:
    return {key: block for key, block in found.items() if key not in base}
