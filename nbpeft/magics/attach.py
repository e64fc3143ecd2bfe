"""%peft_attach: the model answers as an adapter from now on."""

from __future__ import annotations

from nbpeft import api
from nbpeft.attaching import AttachRequest, Sizes
from nbpeft.errors import RequestError, listed
from nbpeft.magics.help import attach_help
from nbpeft.session.session import Attached
from nbpeft.typed import split_line, with_body

FLAGS = frozenset({"none", "dry_run", "in_place"})
TEXTS = frozenset({"model", "tokenizer", "method", "as_"})


def peft_attach(line: str, cell: str = "") -> Sizes | None:
    words, names = split_line(line, flags=FLAGS, texts=TEXTS)
    if len(names) > 1:
        raise RequestError(
            f"%peft_attach wants one NAME, {len(names)} were given: {listed(names, limit=4)}; "
            "a+b, without spaces, combines two."
        )
    asked = AttachRequest.of(names[0] if names else None, with_body(words, cell))
    done = api.execute_attach(asked)
    if isinstance(done, Sizes):
        return done
    what = done.record.label if done.notes and done.record else asked.name
    print(f"[nbpeft] attached: {_said(done, what)}{_rebound(done)}")  # noqa: T201  the answer
    return None


peft_attach.__doc__ = attach_help()


def _said(done: Attached, what: str | None) -> str:
    if done.record is None:
        return "none, the model is the base"
    return ": ".join([str(what), *(["; ".join(done.notes)] if done.notes else [])])


def _rebound(done: Attached) -> str:
    """Which names hold another object now; a reference elsewhere doesn't."""
    if not done.names:
        return ""
    from nbpeft.mounts.prompts import is_wrapper

    what = "a wrapper that puts the prompt first" if is_wrapper(done.model) else "the model again"
    return (
        f"; {listed(done.names)} {'is' if len(done.names) == 1 else 'are'} {what} (what you keep "
        "elsewhere, in a list or a pipeline, is as before)"
    )
