"""Tiny models of many architectures, with random weights, to compare the fast way on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 96}
_GROUPED = {**_TEXT, "num_key_value_heads": 1}

# model type -> the architecture saved, the kinds that it is loaded as, and what makes it tiny.
ARCHITECTURES: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "bart": (
        "BartForConditionalGeneration",
        ("auto",),
        {
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "vocab_size": 96,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        },
    ),
    "bert": ("BertForPreTraining", ("auto", "masked_lm"), _TEXT),
    "deberta-v2": (
        "DebertaV2ForMaskedLM",
        ("auto", "masked_lm"),
        {**_TEXT, "relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"]},
    ),
    "distilbert": (
        "DistilBertForMaskedLM",
        ("auto", "masked_lm"),
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "vocab_size": 96, "sinusoidal_pos_embds": True},
    ),
    "electra": ("ElectraForMaskedLM", ("auto", "masked_lm"), {**_TEXT, "embedding_size": 16}),
    "gpt2": (
        "GPT2LMHeadModel",
        ("auto", "causal_lm"),
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 96, "bos_token_id": 0, "eos_token_id": 0},
    ),
    "llama": ("LlamaForCausalLM", ("auto", "causal_lm"), _GROUPED),
    "mistral": ("MistralForCausalLM", ("auto", "causal_lm"), _GROUPED),
    "mpnet": ("MPNetForMaskedLM", ("auto", "masked_lm"), _TEXT),
    "opt": (
        "OPTForCausalLM",
        ("auto", "causal_lm"),
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 64,
            "vocab_size": 96,
            "word_embed_proj_dim": 16,
        },
    ),
    "qwen2": ("Qwen2ForCausalLM", ("auto", "causal_lm"), {**_GROUPED, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", ("auto", "causal_lm"), {**_GROUPED, "head_dim": 16}),
    "roberta": ("RobertaForMaskedLM", ("auto", "masked_lm"), {**_TEXT, "max_position_embeddings": 40}),
    "t5": (
        "T5ForConditionalGeneration",
        ("auto",),
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 96},
    ),
    "vit": (
        "ViTModel",
        ("auto",),
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": 16,
            "patch_size": 8,
        },
    ),
}


# With a pooler, which masked language models don't have.
_ENCODERS = {"mpnet": "MPNetModel", "roberta": "RobertaModel"}


def save(folder: Path, model_type: str, dtype: str = "float32", kind: str = "", **more: Any) -> Path:
    """Save a model of that type and kind in the folder with `save_pretrained`, which is given `more`."""
    import torch
    import transformers

    architecture, _, sizes = ARCHITECTURES[model_type]
    if kind == "auto":
        architecture = _ENCODERS.get(model_type, architecture)
    config = transformers.AutoConfig.for_model(model_type, **sizes)
    torch.manual_seed(7)
    model = getattr(transformers, architecture)(config)
    for parameter in model.parameters():  # a bias of zeros, a norm of ones would hide that two were exchanged
        torch.nn.init.normal_(parameter)
    model.to(getattr(torch, dtype)).save_pretrained(folder, **more)
    return folder


def inputs(model: Any) -> dict[str, Any]:
    """Return inputs that a model of any of these types takes."""
    import torch

    if model.main_input_name == "pixel_values":
        dtype = next(model.parameters()).dtype
        return {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16).to(dtype)}
    ids = torch.arange(14).view(2, 7) + 3
    return {"input_ids": ids, "decoder_input_ids": ids} if model.config.is_encoder_decoder else {"input_ids": ids}
