"""Low-rank adaptation over a base in 4 or 8 bits."""

from __future__ import annotations

from dataclasses import replace

from nbpeft.methods import methods
from nbpeft.methods.lora import LORA

methods.add(
    replace(
        LORA,
        name="qlora",
        summary="low-rank, over the base in 4 bits (NF4)",
        # Appendix B.2: rank, alpha, dropout (models up to 13B) and learning rate (7B and 13B).
        paper="Dettmers et al. 2023, arXiv:2305.14314",
        quantize="nf4",
        learning_rate=2e-4,
        defaults={
            "r": 64,
            "lora_alpha": 16,
            "lora_dropout": 0.1,
            "target_modules": "all-linear",
        },
    )
)
methods.add(
    replace(
        LORA,
        name="lora8",
        summary="low-rank, over the base in 8 bits (int8)",
        paper="Hu et al. 2021, arXiv:2106.09685, on LLM.int8(): Dettmers et al. 2022, "
        "arXiv:2208.07339",
        quantize="int8",
    )
)
