"""Any transformers config made tiny: sizes by the names that configs give them, and what some families want besides."""

from typing import Any

from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY = 320
CONTEXT = 256
HEADS_EACH = 4

WIDTH = ("hidden_size", "d_model", "n_embd", "emb_dim", "embedding_dim", "attention_hidden_size", "word_embed_proj_dim", "lru_width",
         "embedding_size", "input_embedding_size", "output_embedding_size", "backbone_hidden_size", "router_hidden_size", "ple_embed_dim")  # fmt: skip
FEED = ("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "ffn_hidden_size", "dim_ff", "dff", "d_inner", "feed_forward_size",
        "n_inner", "intermediate_size_mlp", "dense_intermediate_size", "moe_intermediate_size", "expert_ffn_hidden_size",
        "shared_expert_intermediate_size", "shared_experts_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size")  # fmt: skip
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers", "num_encoder_layers", "num_decoder_layers",
          "num_blocks", "num_layers_per_stack")  # fmt: skip
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads", "encoder_attention_heads", "attention_heads",
         "num_encoder_attention_heads", "num_decoder_attention_heads", "swa_num_attention_heads", "linear_num_heads", "linear_num_value_heads")  # fmt: skip
SHARED = ("num_key_value_heads", "num_kv_heads", "num_query_groups", "swa_num_key_value_heads", "linear_num_key_heads")
HEAD = ("head_dim", "dim_head", "attention_head_size", "d_head", "v_head_dim", "kv_channels", "swa_head_dim", "linear_head_dim",
        "linear_key_head_dim", "linear_value_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "index_head_dim", "query_pre_attn_scalar")  # fmt: skip
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k")
REACH = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_target_positions", "model_max_length", "context_length",
         "max_source_positions", "original_max_position_embeddings")  # fmt: skip
WINDOW = ("sliding_window", "window_size", "attention_window_size", "local_attention",
          "sliding_window_size", "attention_chunk_size")  # fmt: skip

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY, "unpadded_vocab_size": VOCABULARY, "decoder_vocab_size": VOCABULARY,
    **dict.fromkeys(WIDTH, 32), **dict.fromkeys(FEED, 48), **dict.fromkeys(LAYERS, 2), **dict.fromkeys(HEADS, HEADS_EACH), **dict.fromkeys(SHARED, 2),
    **dict.fromkeys(HEAD, 8), **dict.fromkeys(EXPERTS, 4), **dict.fromkeys(CHOSEN, 2), **dict.fromkeys(REACH, CONTEXT), **dict.fromkeys(WINDOW, 6),
    "qk_head_dim": 16, "q_lora_rank": 16, "kv_lora_rank": 16, "o_lora_rank": 8, "rotary_dim": 4, "index_n_heads": 2, "index_topk": 64,
    "n_group": 1, "num_expert_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "hidden_size_per_layer_input": 8,
    "mamba_d_state": 8, "state_size": 8, "ssm_state_size": 8, "mamba_dt_rank": 4, "time_step_rank": 4, "mamba_d_conv": 4,
    "mamba_n_heads": 8, "mamba_headdim": 8, "mamba_num_heads": 8, "mamba_d_head": 8, "mamba_head_dim": 8, "n_mamba_heads": 2, "mamba_chunk_size": 8, "chunk_size": 8,
    "image_size": 16, "patch_size": 8, "zero_expert_num": 2, "n_groups": 1, "mamba_n_groups": 1, "mamba_d_ssm": 64, "laurel_rank": 8, "adapter_rank": 4, "attention_head_dim": 16,
}  # fmt: skip
"""What a field becomes, where a config has one of that name."""

LOUD = {"logit_scale": 0.3, "logits_scaling": 4.0, "lm_head_multiplier": 0.3, "embedding_multiplier": 2.0, "residual_multiplier": 0.7, "final_logit_softcapping": 2.0,
        "use_sliding_window": True, "max_window_layers": 1, "sliding_window": 6}  # fmt: skip
"""What would go unnoticed at its default."""

IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "decoder_start_token_id", "forced_eos_token_id",
       "eod_token_id", "unk_index", "mask_index")  # fmt: skip


def shrunk(kind: type[PretrainedConfig], ids: dict[str, int], **own: Any) -> PretrainedConfig:
    """A config of this class with small sizes; one layer of each kind where it has several.

    Args:
        ids: of the tokeniser's special tokens.
        own: what this family wants otherwise.
    """
    fields = kind().to_dict()
    unset = [k for k in ("head_dim", "num_key_value_heads") if k in fields and fields[k] is None]
    made = {k: v for k, v in SIZES.items() if isinstance(fields.get(k), int) or k in unset}
    made |= {k: v for k, v in LOUD.items() if k in fields}
    made |= {k: 2 for k in IDS if k in fields} | {k: v for k, v in ids.items() if k in fields}
    if "kv_lora_rank" in fields or "q_lora_rank" in fields:  # latent attention: every head has keys of its own
        made["num_key_value_heads"] = HEADS_EACH
    kinds = list(dict.fromkeys(fields.get("layer_types") or ()))
    if kinds:
        made["layer_types"] = kinds if len(kinds) > 1 else kinds * 2
        made |= {k: len(made["layer_types"]) for k in LAYERS if k in fields}
    return kind(**{**made, **_parts(kind, ids), **own})


def _parts(kind: type[PretrainedConfig], ids: dict[str, int]) -> dict[str, PretrainedConfig]:
    """The configs within a config (of its text model, of its eyes), made as small."""
    found = {}
    for name, spec in (getattr(kind, "sub_configs_defaults", None) or {}).items():
        part = kind.sub_configs[name]
        model_type = getattr(spec, "model_type", None) if part is AutoConfig else part.model_type
        if model_type in CONFIG_MAPPING or part is not AutoConfig:
            found[name] = shrunk(CONFIG_MAPPING[model_type] if part is AutoConfig else part, ids)
    return found


BOTH_WAYS = ("bert", "bert-generation", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "rembert", "roberta",
             "roberta-prelayernorm", "roformer", "xlm-roberta", "xlm-roberta-xl")  # fmt: skip
"""Classes that see what comes after, unless they are told not to."""

OWN: dict[str, dict[str, Any]] = {
    **{name: {"is_decoder": True} for name in BOTH_WAYS},
    "big_bird": {"is_decoder": True, "attention_type": "original_full"},
    "bigbird_pegasus": {"attention_type": "original_full"},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {"per_layer_config": {}, "head_dim": 16},
    "gemma3n_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "intermediate_size": 48,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"hidden_size": 32, "expand": 2, "num_heads": 8, "head_dim": 8},
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "lsh"],
        "axial_pos_shape": [16, 16],
        "axial_pos_embds_dim": [16, 16],
    },
    "roc_bert": {
        "is_decoder": True,
        "shape_vocab_size": 320,
        "pronunciation_vocab_size": 320,
        "shape_embed_dim": 16,
        "pronunciation_embed_dim": 16,
    },
    "xmod": {"is_decoder": True, "default_language": "en_XX"},
    "qwen4_exp_text": {
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
    },
    "zamba": {"layer_types": ["linear_attention", "hybrid"] * 2, "num_hidden_layers": 4, "attention_hidden_size": 64},
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_hidden_layers": 4,
        "n_mamba_heads": 8,
        "attention_hidden_size": 64,
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""What a family wants besides."""
