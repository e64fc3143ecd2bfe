"""What is given up when memory is asked for: what can be had again, and what was named."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError, did_you_mean, quoted
from nbpeft.holding.holders import IPYTHONS, Holder, last_error
from nbpeft.precision.heap import give_back

if TYPE_CHECKING:
    from nbpeft.session.session import Session


def check_names(names: Sequence[str], variables: MutableMapping[str, Any]) -> None:
    """RequestError for a name that no variable of the user's has."""
    own = [name for name in variables if not IPYTHONS.fullmatch(name)]
    for name in names:
        if name not in own:
            near = did_you_mean(name, own)
            raise RequestError(f"There is no variable {quoted(name)} to let go of.{near}")


def let_go(
    held: Sequence[Holder],
    session: Session,
    variables: MutableMapping[str, Any],
    shell: Any,
    names: Sequence[str],
) -> list[str]:
    """Outputs and tracebacks that hold memory, adapters that the shelf has, the variables named.

    Returns what was let go, in words.
    """
    gone = [_output(holder.name, variables, shell) for holder in held if holder.kind == "output"]
    gone += [_variable(name, variables, shell) for name in names]
    for holder in held:
        if holder.kind == "traceback":
            _traceback(shell)
            gone.append(f"the traceback of {holder.name}")
    gone += [f"{label} (it is on the shelf)" for label in session.let_go()]
    collect()
    return gone


def let_go_one(
    kind: str, name: str, session: Session, variables: MutableMapping[str, Any], shell: Any
) -> str:
    """Let go of one holder, as `Held` names it; returns what was let go, in words.

    Raises:
        RequestError: it is gone already, or can't be spared.
    """
    match kind:
        case "variable":
            names = name.split(", ")
            check_names(names, variables)
            for one in names:
                _variable(one, variables, shell)
        case "output":
            _output(name, variables, shell)
        case "traceback":
            _traceback(shell)
        case "adapter":
            if not session.let_go(only=name):
                raise RequestError(
                    f"The adapter {quoted(name)} can't be spared: it is attached, or not on the "
                    "shelf."
                )
    collect()
    return name if kind != "traceback" else f"the traceback of {name}"


def _variable(name: str, variables: MutableMapping[str, Any], shell: Any) -> str:
    _forget(variables.pop(name), variables, shell)
    return name


def _output(name: str, variables: MutableMapping[str, Any], shell: Any) -> str:
    numbered = variables.get("Out", {})
    number = int(name[4:-1]) if name.startswith("Out") else None
    value = variables.get(name) if number is None else numbered.get(number)
    if value is not None:  # not gone already, with another output of the same object
        _forget(value, variables, shell)
    return name


def _forget(value: Any, variables: MutableMapping[str, Any], shell: Any) -> None:
    """Take an object out of all that IPython keeps of outputs."""
    numbered = variables.get("Out", {})
    numbers = [number for number, output in numbered.items() if output is value]
    for number in numbers:
        del numbered[number]
    if shell is None:
        return
    hidden = shell.user_ns_hidden  # the same names once more, so that %who leaves them out
    for name in [f"_{number}" for number in numbers]:
        variables.pop(name, None)
        hidden.pop(name, None)
    for last in ("_", "__", "___"):
        if variables.get(last) is value:
            variables[last] = hidden[last] = ""
            vars(shell.displayhook)[last] = ""
    result = shell.last_execution_result
    if result is not None and result.result is value:
        result.result = None


def _traceback(shell: Any) -> None:
    """Empty the frames of the last error, and forget it."""
    for part in last_error(shell):
        error: BaseException | None = part if isinstance(part, BaseException) else None
        if error is None:
            traceback.clear_frames(part)
        while error is not None:
            traceback.clear_frames(error.__traceback__)
            error = error.__context__
    for name in ("last_exc", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    if shell is not None:
        vars(shell.InteractiveTB).pop("tb", None)
        result = shell.last_execution_result
        if result is not None:
            result.error_in_exec = result.error_before_exec = None


def collect() -> None:
    """What nobody holds any more goes back to the system."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    give_back()
