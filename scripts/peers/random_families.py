"""Small random models of the families that Pare knows, for comparisons with transformers."""

import torch

SIZES = {
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}

# For each family: its configuration, the dtype in which its weights are stored, and the variants of the
# configuration. A variant has the changes to the configuration. All variants of a family share the weights. A
# variant without biases ignores those in the checkpoint.
FAMILIES = {
    "gpt2": {
        "config": {
            "vocab_size": 23,
            "n_embd": 16,
            "n_layer": 2,
            "n_head": 4,
            "n_inner": 20,
            "n_positions": 32,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        "dtype": torch.float32,
        "variants": {
            "base": {},
            "scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
            "unscaled": {
                "scale_attn_weights": False,
                "activation_function": "gelu",
                "layer_norm_epsilon": 0.01,
            },
        },
    },
    "gpt_neox": {
        "config": {
            **SIZES,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25},
        },
        "dtype": torch.float16,
        "variants": {
            "base": {},
            "sequential": {"use_parallel_residual": False, "hidden_act": "gelu_new"},
            "rotating whole heads": {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0}},
            "without attention biases": {"attention_bias": False, "layer_norm_eps": 0.01},
        },
    },
    "mixtral": {
        "config": {
            **SIZES,
            "num_local_experts": 4,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        },
        "dtype": torch.bfloat16,
        "variants": {
            "base": {},
            "one expert per token": {"num_experts_per_tok": 1},
            "a sliding window": {"sliding_window": 5, "num_experts_per_tok": 3, "rms_norm_eps": 0.01},
        },
    },
    "qwen3_moe": {
        "config": {
            **SIZES,
            "head_dim": 6,
            "moe_intermediate_size": 12,
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "attention_bias": True,
        },
        "dtype": torch.bfloat16,
        "variants": {
            "base": {},
            "normalised": {"norm_topk_prob": True, "num_experts_per_tok": 3},
            "a sliding window": {"use_sliding_window": True, "sliding_window": 5},
            "without biases": {"attention_bias": False},
        },
    },
    "olmoe": {
        "config": {**SIZES, "num_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": True},
        "dtype": torch.float16,
        "variants": {
            "base": {},
            "normalised": {"norm_topk_prob": True, "rms_norm_eps": 0.01},
        },
    },
}


def perturb(model):
    """
    Draws all weights anew, so that no norm is the identity, no bias is zero, and attention is far from
    uniform. Weights are drawn in the order of their names.
    """
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.dim() > 1:
                weight.normal_(0, 1.5 / weight.shape[-1] ** 0.5)
            elif name.endswith("bias"):
                weight.normal_(0, 0.2)
            else:
                # Norms of Gemma multiply by 1 + weight, so their weights are around 0.
                weight.normal_(weight.mean().round(), 0.2)
