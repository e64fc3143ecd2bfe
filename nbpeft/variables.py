"""What the user means by a name, or by giving none: the variables of the notebook or script."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from nbpeft.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.session.models import Handle


def namespace() -> MutableMapping[str, Any]:
    """The user's variables: the notebook's, or those of the running script."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is not None:
        variables: MutableMapping[str, Any] = shell.user_ns
        return variables
    return vars(sys.modules["__main__"])


def handle_of(model: Any) -> Handle:
    """The session's handle of a model given as object or name, or of the only one in the kernel."""
    from nbpeft.session import current
    from nbpeft.session.models import find_model

    if model is None or isinstance(model, str):
        model = find_model(namespace(), model).value
    return current().handle(model)


def tokenizer_of(given: Any) -> Any:
    """A tokenizer given as object or name, or the only one in the kernel."""
    from nbpeft.session.models import find_tokenizer

    if given is None or isinstance(given, str):
        return find_tokenizer(namespace(), given).value
    return given


def tokenizer_if_known(given: Any) -> Any:
    """A tokenizer given as object or name, or the kernel's only one; None where that says none."""
    from nbpeft.session.models import find_tokenizer, tokenizers_in

    if given is not None and not isinstance(given, str):
        return given
    if given is None and len(tokenizers_in(namespace())) != 1:
        return None
    return find_tokenizer(namespace(), given).value


def reader_of(model: Any) -> nn.Module | None:
    """The model that would read the rows: as given, or the kernel's only one if there is one."""
    from nbpeft.session.models import find_model, root_of

    if model is None or isinstance(model, str):
        try:
            model = find_model(namespace(), model).value
        except ModelError:
            if model is not None:
                raise
            return None
    return root_of(model)
