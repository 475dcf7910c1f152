"""The models under the stopwatch, as data; and one of them as files, which is what a contender is given."""

from __future__ import annotations

from dataclasses import dataclass

AUTO = {"auto": "AutoModel", "causal_lm": "AutoModelForCausalLM", "masked_lm": "AutoModelForMaskedLM"}
"""transformers' class for each kind of request."""

MISTRAL = "mistralai/Mistral-7B-Instruct-v0.2"


@dataclass(frozen=True)
class Model:
    """A replica, and as what it is loaded.

    revision: "main", or the tag of the older commit. gib: what a CUDA device must have free for two of them, or
    for one and its gradients; 0: the CPU will do.
    """

    name: str
    repo: str
    size: str
    kind: str
    architecture: str
    revision: str = "main"
    four_bit: bool = False
    gib: int = 0


MODELS = {
    model.name: model
    for model in (
        Model("deberta-v3-base", "microsoft/deberta-v3-base", "real", "auto", "DebertaV2Model"),
        Model("deberta-v3-base.bin", "microsoft/deberta-v3-base", "real", "auto", "DebertaV2Model", revision="v1"),
        Model("bert-base", "bert-base-uncased", "real", "masked_lm", "BertForMaskedLM"),
        Model("gpt2", "gpt2", "real", "causal_lm", "GPT2LMHeadModel"),
        Model("mistral-1.1b", MISTRAL, "1b", "causal_lm", "MistralForCausalLM"),
        Model("mistral-7b", MISTRAL, "7b", "causal_lm", "MistralForCausalLM", gib=32),
        Model("mistral-7b-4bit", MISTRAL, "7b", "causal_lm", "MistralForCausalLM", four_bit=True, gib=16),
    )
}


@dataclass(frozen=True)
class LoadSpec:
    """A model as files. Plain values, since it goes to other processes as JSON.

    source: the snapshot's folder, or the repo's name where it is yet to be downloaded. cache: the Hugging Face cache.
    """

    repo: str
    revision: str
    kind: str
    architecture: str
    source: str
    cache: str
    offline: bool = True
    device: str = "cpu"
    four_bit: bool = False
