"""Prompt tuning: trained embeddings before the input's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbpeft.errors import RequestError
from nbpeft.methods import NOTHING, Material, methods
from nbpeft.methods._peft import RESERVED
from nbpeft.methods._prompts import SoftPromptMethod

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

    from nbpeft.mounts.prompts import PromptMount


@dataclass(frozen=True, kw_only=True)
class PromptTuning(SoftPromptMethod):
    """Prompt tuning that may begin at the embeddings of a text."""

    def mount(
        self, root: nn.Module, settings: Mapping[str, Any], material: Material = NOTHING
    ) -> PromptMount:
        """Wrap; with `prompt_tuning_init_text`, begin at its tokens.

        PEFT would load a tokenizer by path for that; here it is the one in the kernel. A text of
        fewer tokens is repeated, of more is cut, as PEFT does it.
        """
        import torch

        mount = super().mount(root, settings, material)
        text = settings.get("prompt_tuning_init_text")
        if not text:
            return mount
        if material.tokenizer is None:
            raise RequestError("prompt_tuning_init_text needs a tokenizer in the kernel.")
        ids = material.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise RequestError("prompt_tuning_init_text holds no token.")
        [prompt] = mount.trainable
        repeated = (ids * -(-len(prompt) // len(ids)))[: len(prompt)]
        embeddings = root.get_input_embeddings()  # type: ignore[operator]
        with torch.no_grad():
            prompt.copy_(embeddings.weight[repeated])
        return mount

    def _config(self, root: nn.Module, settings: Mapping[str, Any]) -> PeftConfig:
        """PEFT's config, to begin at random: the text is nbpeft's."""
        settings = dict(settings)
        text = settings.pop("prompt_tuning_init_text", None)
        if settings.get("prompt_tuning_init") == "TEXT":
            if not text:
                raise RequestError(
                    "prompt_tuning_init TEXT wants a text: prompt_tuning_init_text: Answer briefly."
                )
            settings.pop("prompt_tuning_init")
        return super()._config(root, settings)


methods.add(
    PromptTuning(
        name="prompt",
        family="soft prompts",
        summary="trained embeddings before the input",
        # 20: beyond that the gain is marginal (section 3.2). Their rate, 0.3, is Adafactor's.
        paper="Lester et al. 2021, arXiv:2104.08691",
        config="PromptTuningConfig",
        learning_rate=3e-2,
        defaults={"num_virtual_tokens": 20, "num_transformer_submodules": 1},
        reserved=RESERVED | {"tokenizer_name_or_path", "tokenizer_kwargs"},
    )
)
