"""The state of one base, and how it moves from one to another.

A state is moved to layer by layer: quantize one, let go of its original weight, go on; so that the
model is never there twice. The smallest weights go first, and make room for what quantizing the
largest takes on a CPU (about seven times such a weight in bf16). Base layers and their quantized
twins are the same module objects each time, and adapters that were built over either stay right.
Whatever fails on the way, the base is brought back to where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.errors import ModelError
from nbpeft.request import Quantize

if TYPE_CHECKING:
    from torch import nn

    from nbpeft.plan import Weights
    from nbpeft.precision.layers import QuantizedLayer
    from nbpeft.precision.marks import Marks
    from nbpeft.precision.originals import Original, Place

AS_LOADED = "as loaded"


@dataclass(eq=False)
class _Away:
    """A quantized layer that is in the tree, and where its original weight is."""

    layer: QuantizedLayer
    original: Original | None
    """None: it was given up."""


class Precision:
    """In which state a base is. Holds its layers, never the root."""

    def __init__(self, loaded: str = AS_LOADED) -> None:
        self.loaded = loaded
        """The precision that the user loaded it in; AS_LOADED is not quantized."""
        self.now: str = AS_LOADED
        self.known: dict[str, Weights] = {}
        """What states come to, where it has been counted."""
        self.place: Place | None = None
        """Where the weights as loaded are while the base is quantized."""
        self._layers: dict[str, list[QuantizedLayer]] = {}
        self._away: list[_Away] = []
        self._marks: Marks | None = None

    @property
    def home(self) -> str:
        """The state that the base as the user knows it has: as loaded, unless that was given up."""
        return self.now if self.given_up else AS_LOADED

    @property
    def given_up(self) -> bool:
        """Whether the weights as loaded are gone for good."""
        return any(away.original is None for away in self._away)

    @property
    def kept(self) -> int:
        """Bytes of weights as loaded that stay where the quantized base is."""
        if self.place != "here":
            return 0
        weights: list[Any] = [away.layer.base.weight for away in self._away]
        return sum(weight.numel() * weight.element_size() for weight in weights)

    def move(self, root: nn.Module, state: str, *, in_place: bool = False) -> None:
        """Bring the bare `root` into a state; its own, at once.

        Args:
            in_place: give the original weights up, layer by layer.

        Raises:
            ModelError: there is nowhere to keep the original weights, or they are gone.
        """
        if state == self.now:
            if in_place:
                self._give_up()
            return
        from nbpeft.guard import process_state_kept
        from nbpeft.quiet import quiet

        self.check(state)
        before = self.now
        with quiet(), process_state_kept():
            try:
                self._restore(root)
                if state != AS_LOADED:
                    self._quantize(root, state, in_place=in_place)  # type: ignore[arg-type]
            except BaseException:
                self._recover(root, before)
                raise

    def _give_up(self) -> None:
        """The originals of layers that are quantized already go, too."""
        for away in self._away:
            away.original = None
            _let_go(away.layer.base, None)

    def check(self, state: str) -> None:
        """Refuse what can't be reached from here: ModelError says why."""
        if self.given_up and state != self.now:
            raise ModelError(
                f"The base is {self.now} for good (--in-place), and this needs it {state}; load "
                "the model again."
            )
        if AS_LOADED not in (self.loaded, state):
            raise ModelError(
                f"The model was loaded quantized ({self.loaded}) and can't be brought to {state} "
                "in place; load it without a quantization_config."
            )

    def _recover(self, root: nn.Module, before: str) -> None:
        """Back to the state before a move that broke off anywhere."""
        if self.given_up:
            return
        if self.now != before or before == AS_LOADED:
            self._restore(root)
        if before != AS_LOADED:
            self._quantize(root, before)  # type: ignore[arg-type]

    def _quantize(self, root: nn.Module, kind: Quantize, *, in_place: bool = False) -> None:
        import torch

        from nbpeft.precision.checks import check
        from nbpeft.precision.heap import give_back
        from nbpeft.precision.layers import quantizer_for
        from nbpeft.precision.marks import Marks
        from nbpeft.precision.originals import Keeping

        if kind not in self.known:
            self.known[kind] = check(root, kind)
        quantizer = quantizer_for(root, kind)
        layers = self._of(root, kind, quantizer)
        away = {id(away.layer) for away in self._away}  # of a way back that broke off
        keeping = None if in_place else Keeping(root, [(x.path, x.base) for x in layers])
        try:
            with torch.no_grad():
                for layer in (layer for layer in layers if id(layer) not in away):
                    original = keeping.keep(layer.path, layer.base) if keeping else None
                    layer.fill(quantizer)
                    self._away.append(_Away(layer, original))
                    root.set_submodule(layer.path, layer.twin)
                    _let_go(layer.base, original)
                    give_back()
        finally:
            # What was given up can't come back: the model is quantized as far as it got.
            if len(self._away) == len(layers) or self.given_up:
                self._marks = Marks(root, quantizer)
                self.now, self.place = kind, keeping.place if keeping else None

    def _of(self, root: nn.Module, kind: Quantize, quantizer: Any) -> list[QuantizedLayer]:
        """The layers of a state: the same objects each time, so that what is over them stays."""
        from nbpeft.precision.layers import quantizable, twin_of

        if kind not in self._layers:
            found: list[tuple[str, Any]] = list(quantizable(root))
            smallest_first = sorted(found, key=lambda x: x[1].weight.numel())
            self._layers[kind] = [twin_of(path, m, quantizer) for path, m in smallest_first]
        return self._layers[kind]

    def _restore(self, root: nn.Module) -> None:
        """As loaded again."""
        from nbpeft.precision.heap import give_back

        if self._marks is not None:
            self._marks.take_off()
            self._marks = None
        while self._away:
            away = self._away[-1]
            assert away.original is not None
            layer = away.layer
            weight: Any = layer.base.weight
            weight.data = away.original.back(layer.twin.weight.device)
            layer.empty()
            root.set_submodule(layer.path, layer.base)
            self._away.pop()
            give_back()
        self.now, self.place = AS_LOADED, None


def _let_go(base: nn.Module, original: Original | None) -> None:
    """The base layer holds its weight no more, unless that is where it is kept."""
    import torch

    from nbpeft.precision.originals import InMemory

    weight: Any = base.weight
    kept = original.weight if isinstance(original, InMemory) else None
    weight.data = kept if kept is not None else torch.empty(0, dtype=weight.dtype)
