"""%peft_attach: the model answers as an adapter from now on."""

from __future__ import annotations

from nbpeft import api
from nbpeft.errors import RequestError, listed
from nbpeft.session.session import Attached
from nbpeft.typed import known_words, split_line


def peft_attach(line: str) -> None:
    """Attach an adapter, so that model(...) and model.generate(...) answer as it.

    %peft_attach NAME            the newest version
    %peft_attach NAME@1          an earlier one
    %peft_attach --none          the base again, bit for bit
    --model X                    which model, when there are several
    """
    words, names = split_line(line, flags=frozenset({"none"}), texts=frozenset({"model"}))
    known_words(words, {"none", "model"}, "%peft_attach")
    if len(names) + bool(words.get("none")) != 1:
        raise RequestError("%peft_attach wants one NAME, or --none for the base.")
    name = names[0] if names else None
    done = api.attached(name, model=words.get("model"))
    print(f"[nbpeft] attached: {name or 'none, the model is the base'}{_rebound(done)}")  # noqa: T201  the answer


def _rebound(done: Attached) -> str:
    """Which names hold another object now; a reference elsewhere doesn't."""
    if not done.names:
        return ""
    what = "the model again" if done.record is None else "a wrapper that puts the prompt first"
    return (
        f"; {listed(done.names)} {'is' if len(done.names) == 1 else 'are'} {what} (what you keep "
        "elsewhere, in a list or a pipeline, is as before)"
    )
