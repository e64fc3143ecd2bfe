"""Bottleneck adapters (Houlsby et al. 2019, arXiv:1902.00751), as a tuner of PEFT's.

A small network behind the output of a sublayer, inside its residual: down to a few units, an
activation, up again, added to what came in. It starts near the identity. The norm layers around are
trained with it, in copies: no weight of the base moves.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from peft import PeftConfig, PeftType
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import register_peft_method
from torch import nn
from transformers.activations import ACT2FN

from nbpeft.tuners.structure import LINEAR, matcher

NAME = "BOTTLENECK"
INIT_STD = 1e-2
"""Of all adapter weights, cut off at two standard deviations (Houlsby et al., section 3.1)."""


def _add_type(name: str) -> PeftType:
    """A new member of PEFT's closed list of types, without which PEFT registers no method."""
    member = str.__new__(PeftType, name)
    member._name_, member._value_ = name, name
    type.__setattr__(PeftType, name, member)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
    PeftType._member_names_.append(name)
    return member


TYPE = _add_type(NAME)


@dataclass
class BottleneckConfig(PeftConfig):
    """The fields of a bottleneck adapter."""

    style: Literal["houlsby", "pfeiffer"] = field(
        default="houlsby",
        metadata={
            "help": "houlsby: after attention and after feed-forward; pfeiffer: after feed-forward "
            "only (Pfeiffer et al. 2020, arXiv:2005.00247)"
        },
    )
    bottleneck_size: int | list[int] = field(
        default=64,
        metadata={"help": "units in the middle; a list gives equal shares of the layers, in order"},
    )
    activation: str = field(
        default="gelu", metadata={"help": "between down and up: gelu, relu, silu, tanh, …"}
    )
    dropout: float = field(default=0.0, metadata={"help": "on what goes into the adapter"})
    train_norms: bool = field(
        default=True, metadata={"help": "train copies of the norm layers, too, as the paper does"}
    )
    attention_modules: list[str] | str | None = field(
        default=None,
        metadata={"help": "where attention ends (names or a pattern); found if not given"},
    )
    feedforward_modules: list[str] | str | None = field(
        default=None,
        metadata={"help": "where feed-forward ends (names or a pattern); found if not given"},
    )
    norm_modules: list[str] | str | None = field(
        default=None, metadata={"help": "the norm layers (names or a pattern); found if not given"}
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "modules to leave out (names or a pattern)"}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "modules trained whole, in copies, beside the adapters"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = TYPE
        sizes = self.bottleneck_size
        if min(sizes if isinstance(sizes, list) else [sizes], default=0) < 1:
            raise ValueError(f"bottleneck_size {sizes} must be 1 or more")
        if self.style not in ("houlsby", "pfeiffer"):
            raise ValueError(f"style {self.style!r} must be houlsby or pfeiffer")
        if self.activation not in ACT2FN:
            raise ValueError(f"activation {self.activation!r} is not one of {', '.join(ACT2FN)}")

    @property
    def target_modules(self) -> tuple[str, ...]:
        """All that gets an adapter, as PEFT's messages name it."""
        lists = [self.attention_modules] if self.style == "houlsby" else []
        lists += [self.feedforward_modules]
        lists += [self.norm_modules] if self.train_norms else []
        return tuple(
            n for names in lists for n in ([names] if isinstance(names, str) else names or [])
        )


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A sublayer's last module with an adapter behind it, or a norm layer with a trained copy.

    The adapter is x + up(activation(down(x))), for x of shape (…, width).
    """

    # A dict a module, in it an entry an adapter: PEFT 0.20 finds an adapter's weights by its name
    # standing last but one in their paths, and passes over the others.
    adapter_layer_names = ("bottleneck_down", "bottleneck_up", "bottleneck_norm")

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict({})
        self.bottleneck_up = nn.ModuleDict({})
        self.bottleneck_norm = nn.ModuleDict({})
        self.dropouts = nn.ModuleDict({})
        self.activations: dict[str, nn.Module] = {}
        self.merged_adapters: list[str] = []

    def add_norm(self, adapter_name: str, config: BottleneckConfig) -> None:
        """A copy of the norm layer to train; the active one from now on."""
        self.bottleneck_norm[adapter_name] = copy.deepcopy(self.get_base_layer())
        self.set_adapter(adapter_name, inference_mode=config.inference_mode)

    def add_network(
        self, adapter_name: str, width: int, size: int, config: BottleneckConfig
    ) -> None:
        """A network of `size` units near the identity; the active one from now on."""
        at = next(self.get_base_layer().parameters())
        for dictionary, sizes in (
            (self.bottleneck_down, (width, size)),
            (self.bottleneck_up, (size, width)),
        ):
            linear = nn.Linear(*sizes)
            nn.init.trunc_normal_(linear.weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
            nn.init.zeros_(linear.bias)
            if not linear.weight.is_meta:
                linear.to(at.device, torch.float32 if at.dtype.itemsize < 4 else at.dtype)
            dictionary[adapter_name] = linear
        self.dropouts[adapter_name] = nn.Dropout(config.dropout)
        self.activations[adapter_name] = ACT2FN[config.activation]
        self.set_adapter(adapter_name, inference_mode=config.inference_mode)

    def forward(self, x: torch.Tensor, *args: Any, **keywords: Any) -> Any:
        """What the base gives, (…, width) or a tuple that begins with it, adapted."""
        known = [*self.bottleneck_down, *self.bottleneck_norm]
        active = next((name for name in self.active_adapters if name in known), None)
        if self.disable_adapters or active is None:
            return self.base_layer(x, *args, **keywords)
        if active in self.bottleneck_norm:
            return self.bottleneck_norm[active](x, *args, **keywords)
        result = self.base_layer(x, *args, **keywords)
        if isinstance(result, tuple):  # a mixture of experts may tell its routing as well
            return (self._adapted(result[0], active), *result[1:])
        return self._adapted(result, active)

    def _adapted(self, x: torch.Tensor, active: str) -> torch.Tensor:
        down, up = self.bottleneck_down[active], self.bottleneck_up[active]
        inner = down(self.dropouts[active](x).to(down.weight.dtype))
        return x + up(self.activations[active](inner)).to(x.dtype)


class BottleneckModel(BaseTuner):
    """PEFT's wrapper around a model with bottleneck adapters."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        return peft_config

    @staticmethod
    def _check_target_module_exists(peft_config: Any, key: str) -> bool:
        # Neither what is excluded nor what lies in a module that is trained whole.
        apart = [matcher(peft_config.exclude_modules), matcher(peft_config.modules_to_save)]
        return _part(peft_config, key) is not None and not any(out(key) for out in apart)

    def _create_and_replace(  # noqa: PLR0917  PEFT's signature
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        layer = target if isinstance(target, BottleneckLayer) else BottleneckLayer(target)
        if _part(peft_config, current_key) == "norm":
            layer.add_norm(adapter_name, peft_config)
        else:
            size = _size(peft_config, self.model, current_key)
            width = self._width(layer.get_base_layer())
            layer.add_network(adapter_name, width, size, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(requires_grad=False)
        setattr(parent, target_name, layer)

    def _width(self, base: Any) -> int:
        """Units that a module writes: a linear's own, the model's for a mixture of experts."""
        if isinstance(base, LINEAR):
            return base.nf if not isinstance(base, nn.Linear) else base.out_features
        return int(self.model.config.get_text_config().hidden_size)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        # Adapters are made in the right precision; copies of norms stay in the base's.
        pass


def _part(config: BottleneckConfig, key: str) -> str | None:
    """Which kind of place a path is. Attention first: names may end alike ('output.dense')."""
    if matcher(config.attention_modules)(key):
        return "attention" if config.style == "houlsby" else None
    if matcher(config.feedforward_modules)(key):
        return "feedforward"
    return "norm" if config.train_norms and matcher(config.norm_modules)(key) else None


def _size(config: BottleneckConfig, root: nn.Module, key: str) -> int:
    """The size at a path: of its layer's share, where sizes are a list."""
    sizes = config.bottleneck_size
    if not isinstance(sizes, list):
        return sizes
    found = re.match(r"(.*?)\.(\d+)\.", key)
    if found is None:
        raise ValueError(f"{key} lies in no list of layers, so bottleneck_size must be one number")
    count = len(root.get_submodule(found[1]))  # type: ignore[arg-type]
    if len(sizes) > count:
        raise ValueError(f"bottleneck_size lists {len(sizes)} sizes for {count} layers")
    return sizes[int(found[2]) * len(sizes) // count]


register_peft_method(
    name=NAME.lower(), config_cls=BottleneckConfig, model_cls=BottleneckModel, prefix="bottleneck_"
)
