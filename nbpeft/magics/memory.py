"""%peft_memory: who holds memory, and letting go of it."""

from __future__ import annotations

from nbpeft import api
from nbpeft.errors import RequestError
from nbpeft.holding import Memory
from nbpeft.typed import known_words, split_line

FLAGS = frozenset({"free"})


def peft_memory(line: str) -> Memory:
    """Show what holds memory: variables, outputs, the last traceback, adapters.

    %peft_memory                 who leads to how much, and what each holds alone
    %peft_memory --free          let go of outputs and the traceback that hold tensors, and of
                                 adapters that the shelf has; they are read again when needed
    %peft_memory X Y --free      and of these variables
    --free                       let go

    In a notebook there is a button for each that can be let go of by itself.
    """
    words, names = split_line(line, flags=FLAGS)
    known_words(words, FLAGS, "%peft_memory")
    if names and not words.get("free"):
        raise RequestError(
            f"%peft_memory shows everything; to let go of variables: %peft_memory "
            f"{' '.join(names)} --free."
        )
    return api.memory(*names, free=bool(words.get("free")))
