"""Models and tokenizers in the kernel: which one is meant, and what nbpeft knows of a model."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.errors import ModelError, did_you_mean, listed, quoted
from nbpeft.precision import Precision
from nbpeft.precision.checks import loaded_as
from nbpeft.quiet import import_peft
from nbpeft.session.fingerprint import fingerprint
from nbpeft.session.turn import Turn

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.mounts import Mount
    from nbpeft.mounts.heads import HeadMount


class Handle:
    """One model of the kernel, held weakly, with the mounts over it.

    `in_tree` is the mount whose layers are in the module tree now, `attached` the label that the
    user knows it by. A PeftModel's own adapters rest in the tree switched off when none is
    attached, so that the user's object stays whole.
    """

    def __init__(self, root: nn.Module, owner: nn.Module) -> None:
        from nbpeft.mounts.adopted import AdoptedMount, active_name, adapter_names

        self.turn = Turn()
        self._root = weakref.ref(root)
        self._owner = weakref.ref(owner)
        self.attached: str | None = None
        self.in_tree: Mount | None = None
        self.resting: AdoptedMount | None = None
        self.mounts: dict[str, Mount] = {}
        self.heads: dict[str, HeadMount] = {}
        """Those beside an adapter that isn't on the shelf; of others they lie there."""
        self.precision = Precision(loaded_as(root))
        self._seen: dict[str, str] = {}
        self.adopted = {name: AdoptedMount(root, name) for name in adapter_names(root)}
        if self.adopted:
            self.mounts.update(self.adopted)
            self.attached = active_name(root)
            self.resting = next(iter(self.adopted.values()))
            self.in_tree = self.adopted.get(self.attached or "", self.resting)
        self.fingerprint = ""
        self.refresh()
        with self.bare():
            # transformers' count knows that a 4-bit weight's values are packed.
            self.total_parameters: int = root.num_parameters()  # type: ignore[operator]

    @property
    def root(self) -> nn.Module:
        """The transformers model."""
        root = self._root()
        assert root is not None  # a handle is dropped with its model
        return root

    @property
    def owner(self) -> nn.Module:
        """What the user holds: the model, or their PeftModel around it."""
        return self._owner() or self.root

    @property
    def answering(self) -> nn.Module:
        """What answers as the adapter that is attached: the owner, or what is around the model."""
        mount = self.mounts[self.attached] if self.attached else None
        around = self.root if mount is None else mount.model(self.root)
        return self.owner if around is self.root else around

    @property
    def face(self) -> nn.Module:
        """What the user's names of the model hold: what answers, or the owner all the same."""
        mount = self.mounts[self.attached] if self.attached else None
        return self.answering if mount is not None and mount.rebinds else self.owner

    def refers_to(self, root: nn.Module) -> bool:
        """Whether this is the handle of that model."""
        return self._root() is root

    def refresh(self) -> None:
        """Look at the base again: trained by hand meanwhile, it is another one to its adapters."""
        with self.turn.used():
            self._refresh()

    def _refresh(self) -> None:
        with self.bare():
            now = fingerprint(self.root)
        state = self.precision.now
        before = self._seen.setdefault(state, now if self._seen else "")
        if now != before:
            self._seen = {state: now}
            self.fingerprint = now
            kept = {*self.adopted, self.attached}
            self.mounts = {label: m for label, m in self.mounts.items() if label in kept}

    def keep(self, label: str, mount: Mount, state: str) -> None:
        """Take in a mount that was built over the base in that state."""
        mount.state = state
        self.mounts[label] = mount

    def relabel(self, renamed: Callable[[str], str]) -> None:
        """Adapters have other names from now on; what is attached stays so."""

        def new(label: str) -> str:
            return label if label in self.adopted else renamed(label)

        self.mounts = {new(label): mount for label, mount in self.mounts.items()}
        self.heads = {new(label): head for label, head in self.heads.items()}
        self.attached = self.attached and new(self.attached)

    def attach(self, label: str | None, *, in_place: bool = False) -> None:
        """Answer as the mount called `label` from now on, or as the bare base.

        Args:
            in_place: where the base must be quantized for it, quantize it for good.

        Raises:
            ModelError: the base can't be brought into the mount's state; what was attached stays.
                Or another thread uses the model.
        """
        with self.turn.used():
            self._attach(label, in_place)

    def _attach(self, label: str | None, in_place: bool) -> None:
        mount = self.mounts[label] if label else None
        before = self.in_tree
        if before is not None:
            before.detach(self.root)
        try:
            state = mount.state if mount else self.precision.home
            self.precision.move(self.root, state, in_place=in_place)
        except BaseException:
            if before is not None:
                before.attach(self.root)
            raise
        self.in_tree = mount
        self.attached = label
        if mount is not None:
            mount.attach(self.root)
        elif self.resting is not None:
            self.resting.rest(self.root)
            self.in_tree = self.resting

    @contextlib.contextmanager
    def bare(self, state: str | None = None, *, in_place: bool = False) -> Iterator[None]:
        """The base without any adapter in its tree; what was there is back after.

        Args:
            state: the precision that it has inside; None is that which it has.
            in_place: quantize it for good; no adapter may be attached then.

        Raises:
            ModelError: it can't be brought into that state, or another thread uses the model; all
                is as before.
        """
        with (
            self.turn.used(),
            self._with(None, state or self.precision.now, in_place=in_place),
        ):
            yield

    @contextlib.contextmanager
    def answering_as(self, label: str | None, state: str | None = None) -> Iterator[nn.Module]:
        """Answer as another adapter for a while, in eval mode. Re-entrant; no flag is touched.

        Args:
            label: None is the base.
            state: a precision for the base alone; by default that which the user knows it by.

        Yields what answers: the model, or what is around it.
        """
        with self.turn.used(), self._answering_as(label, state) as model:
            yield model

    @contextlib.contextmanager
    def _answering_as(self, label: str | None, state: str | None) -> Iterator[nn.Module]:
        modes = [(m, m.training) for m in self.root.modules()]
        # All adapters of a user's PeftModel share their layers.
        adopted = self.adopted.get(label or "")
        switched = adopted.switched_on() if adopted else contextlib.nullcontext()
        mount = self.mounts[label] if label else None
        try:
            state = mount.state if mount else state or self.precision.home
            with self._with(mount, state), switched:
                answering = self.root if mount is None else mount.model(self.root)
                answering.eval()
                yield answering
        finally:
            for module, mode in modes:
                module.training = mode

    @contextlib.contextmanager
    def _with(self, mount: Mount | None, state: str, *, in_place: bool = False) -> Iterator[None]:
        before, root, was = self.in_tree, self.root, self.precision.now
        if before is not None:
            before.take_out(root)
        self.in_tree = None
        try:
            self.precision.move(root, state, in_place=in_place)
            if mount is not None:
                mount.put_in(root)
            self.in_tree = mount
            yield
        finally:
            if self.in_tree is not None:
                self.in_tree.take_out(root)
            self.in_tree = None
            self._put_back(before, was)

    def _put_back(self, before: Mount | None, state: str) -> None:
        """What was in the tree, over the base in the state that it had."""
        try:
            if not self.precision.given_up:
                self.precision.move(self.root, state)
        finally:
            if before is not None and before.state == self.precision.now:
                before.put_in(self.root)
                self.in_tree = before
            elif before is not None:  # it has nothing to stand on any more
                self.attached = None


@dataclass(frozen=True)
class Found:
    """An object and the variable that it was found under."""

    name: str
    value: Any


def find_model(namespace: Mapping[str, Any], name: str | None = None) -> Found:
    """The model called `name`, or the only one there is; ModelError lists the candidates."""
    return _find(namespace, name, models_in(namespace), "model", "--model")


def find_tokenizer(namespace: Mapping[str, Any], name: str | None = None) -> Found:
    """The tokenizer called `name`, or the only one in the namespace."""
    return _find(namespace, name, tokenizers_in(namespace), "tokenizer", "--tokenizer")


def notebook() -> MutableMapping[str, Any]:
    """The notebook's variables; none in plain Python."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return {} if shell is None else shell.user_ns


def rebind(namespace: MutableMapping[str, Any], before: object, after: object) -> list[str]:
    """Let every name of the user's that holds one object hold another; returns the names.

    IPython's own names (`_`, `_12`) and what lies in containers stay as they are.
    """
    names = [n for n, v in list(namespace.items()) if v is before and not n.startswith("_")]
    for name in names if before is not after else ():
        namespace[name] = after
    return names if before is not after else []


def root_of(value: Any) -> nn.Module:
    """The transformers model inside what the user holds; ModelError when it can't be tuned."""
    import_peft()
    from peft import PeftMixedModel, PeftModel
    from transformers import PreTrainedModel

    from nbpeft.mounts.prompts import is_wrapper

    if isinstance(value, PeftMixedModel):
        raise ModelError("A PeftMixedModel can't be adopted; give the model inside it.")
    if is_wrapper(value):
        return value.get_base_model()
    if isinstance(value, PeftModel):
        if value.active_peft_config.is_prompt_learning:
            raise ModelError(
                "A PeftModel with a soft prompt can't be adopted; give the model inside it: "
                "model = model.get_base_model()."
            )
        value = value.get_base_model()
    if not isinstance(value, PreTrainedModel):
        raise ModelError(f"A transformers model is wanted; this is a {type(value).__name__}.")
    root: nn.Module = value
    return root


def _find(
    namespace: Mapping[str, Any], name: str | None, found: dict[str, Any], kind: str, flag: str
) -> Found:
    if name is not None:
        if name not in namespace:
            raise ModelError(
                f"There is no variable {quoted(name)}.{did_you_mean(name, found)} "
                f"The {kind}s in the kernel are: {listed(found)}."
            )
        if name not in found:
            raise ModelError(
                f"{name} is no {kind} but a {type(namespace[name]).__name__}. "
                f"The {kind}s in the kernel are: {listed(found)}."
            )
        return Found(name, found[name])
    distinct = {id(_inner(value)): Found(label, value) for label, value in found.items()}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    if not distinct:
        raise ModelError(
            f"There is no {kind} in the kernel; load one first, as model, tokenizer = "
            "nbpeft.load_tiny() or with transformers' from_pretrained."
        )
    raise ModelError(f"There are several {kind}s: {listed(found)}. Say which with {flag} NAME.")


def models_in(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that hold a model; imports nothing that the user hasn't."""
    if "transformers.modeling_utils" not in sys.modules:
        return {}
    from transformers import PreTrainedModel

    kinds: tuple[type, ...] = (PreTrainedModel,)
    if "peft" in sys.modules:
        from peft import PeftMixedModel, PeftModel

        kinds = (PreTrainedModel, PeftModel, PeftMixedModel)
    return _instances(namespace, kinds)


def tokenizers_in(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that hold a tokenizer; imports nothing that the user hasn't."""
    if "transformers.tokenization_utils_base" not in sys.modules:
        return {}
    from transformers import PreTrainedTokenizerBase

    return _instances(namespace, (PreTrainedTokenizerBase,))


def _instances(namespace: Mapping[str, Any], kinds: tuple[type, ...]) -> dict[str, Any]:
    """Variables of these kinds; IPython's own (`_`, `_12`, Out) are not the user's."""
    return {
        name: value
        for name, value in list(namespace.items())
        if not name.startswith("_") and isinstance(value, kinds)
    }


def _inner(value: Any) -> Any:
    """The model inside a PeftModel, so that both names of one model count as one."""
    if "peft" in sys.modules:
        from peft import PeftModel

        if isinstance(value, PeftModel):
            return value.get_base_model()
    return value
