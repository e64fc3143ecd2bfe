"""Prefixes: trained keys and values before the input's own, at every layer."""

from __future__ import annotations

from nbpeft.methods import methods
from nbpeft.methods._prompts import SoftPromptMethod

methods.add(
    SoftPromptMethod(
        name="prefix",
        family="soft prompts",
        summary="trained keys and values at every layer, made by an MLP that isn't saved",
        # Length 10 for table-to-text; the MLP of 512 of their appendix keeps training stable.
        paper="Li & Liang 2021, arXiv:2101.00190",
        config="PrefixTuningConfig",
        learning_rate=1e-3,
        defaults={"num_virtual_tokens": 10, "prefix_projection": True, "encoder_hidden_size": 512},
    )
)
methods.add(
    SoftPromptMethod(
        name="ptuning-v2",
        family="soft prompts",
        summary="trained keys and values at every layer, by themselves",
        paper="Liu et al. 2021, arXiv:2110.07602",
        config="PrefixTuningConfig",
        learning_rate=5e-3,
        defaults={"num_virtual_tokens": 20, "prefix_projection": False},
    )
)
