"""The golden cases: one tiny configuration for each supported family. Refuses to run anything."""

# Shared by every case unless it says otherwise. 101 = 3 special tokens + 96 characters + 2 merges: an odd number on purpose.
VOCABULARY = 101
COMMON = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=56,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
LLAMA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def without(*names, **change):
    """COMMON without some keys, with others changed or added."""
    return {**{key: value for key, value in COMMON.items() if key not in names}, **change}


# name -> (model_type, configuration, LoRA targets, options)
# options: old_config writes `rope_theta` and `rope_scaling` as files before transformers 5 do;
#          zero_b records a second run from a fresh adapter (B = 0).
CASES = {
    "llama-gqa-tied": ("llama", without(tie_word_embeddings=True), LLAMA_TARGETS, {"zero_b": True}),
    "llama-untied-llama3-rope": (
        "llama",
        without(
            hidden_size=48,
            num_attention_heads=6,
            tie_word_embeddings=False,
            rope_theta=10000.0,
            rope_scaling={
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        ),
        LLAMA_TARGETS,
        {"old_config": True},
    ),
    "mistral": (
        "mistral",
        without(tie_word_embeddings=False, sliding_window=6, head_dim=12),
        LLAMA_TARGETS,
        {},
    ),
    "qwen2": ("qwen2", without(tie_word_embeddings=True, rope_theta=1000000.0), LLAMA_TARGETS, {"old_config": True}),
    "qwen3": ("qwen3", without(tie_word_embeddings=True, head_dim=16), LLAMA_TARGETS, {}),
    "smollm3": (
        "smollm3",
        without(tie_word_embeddings=True, no_rope_layer_interval=2),
        LLAMA_TARGETS,
        {},
    ),
    "gemma2": (
        "gemma2",
        without(
            tie_word_embeddings=True,
            head_dim=12,
            query_pre_attn_scalar=20,
            sliding_window=6,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=1.0,
        ),
        LLAMA_TARGETS,
        {},
    ),
    "gemma3-text": (
        "gemma3_text",
        without(
            tie_word_embeddings=True,
            head_dim=12,
            query_pre_attn_scalar=20,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention"],
        ),
        LLAMA_TARGETS,
        {},
    ),
    "phi": (
        "phi",
        without("num_key_value_heads", tie_word_embeddings=False, partial_rotary_factor=0.5),
        ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"],
        {},
    ),
    "phi3": (
        "phi3",
        without(tie_word_embeddings=False, original_max_position_embeddings=128),
        ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
        {},
    ),
    "gpt2": (
        "gpt2",
        dict(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_inner=56,
            n_layer=2,
            n_head=4,
            n_positions=128,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        ),
        ["c_attn", "c_proj", "c_fc"],
        {},
    ),
    "gpt-neox": (
        "gpt_neox",
        without("num_key_value_heads", rotary_pct=0.25, tie_word_embeddings=False),
        ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
        {},
    ),
    "olmo2": ("olmo2", without(tie_word_embeddings=False), LLAMA_TARGETS, {}),
    "granite": (
        "granite",
        without(
            tie_word_embeddings=True,
            embedding_multiplier=3.0,
            attention_multiplier=0.3,
            residual_multiplier=0.7,
            logits_scaling=2.0,
        ),
        LLAMA_TARGETS,
        {},
    ),
}

# Rotary tables: (name, rope parameters); head_dim 16, 64 positions at most.
ROPES = {
    "default": {"rope_type": "default", "rope_theta": 10000.0},
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}
