"""Fields of TRL's configs of preferences that act where nbpeft has acted already, or not at all."""

from __future__ import annotations

EVERY = frozenset(
    {
        # Rows arrive tokenized and cut; the model is there already.
        "dataset_num_proc", "label_names", "model_init_kwargs", "remove_unused_columns",
        "trust_remote_code",
    }
)  # fmt: skip
REFERRED = EVERY | {
    # The reference is the policy itself as it was at the start, asked once a row.
    "precompute_ref_batch_size", "precompute_ref_log_probs", "ref_model_mixup_alpha",
    "ref_model_sync_steps", "sync_ref_model",
    # Of TRL's own forward and its padding.
    "activation_offloading", "pad_to_multiple_of", "router_aux_loss_coef",
}  # fmt: skip
DPO = REFERRED | {"ld_alpha", "pad_token", "padding_free", "truncation_mode", "use_weighting"}
ALONE = EVERY | {"generate_during_eval", "is_encoder_decoder", "max_completion_length"}
"""Of those without a reference."""
ORPO = ALONE | {"padding_value"}
