"""A text encoder of a few thousand weights, and a discriminator around it, made in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from phaita.data.symptoms import lexicon

WHEEZE = "I have wheezing and a tight chest but no fever"
COUGH = "a dry cough"
TEXTS = [WHEEZE, COUGH, "", "coughing up blood and chest pain since last night and shaking chills", "my cat is orange"]

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tokenizer(specials: bool = True) -> Any:
    """One token a word, with the words of the lexicon; `[CLS]` and `[SEP]` around them unless told otherwise."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word for symptom in lexicon().values() for phrase in symptom.phrases for word in phrase.split()}
    vocabulary = {word: number for number, word in enumerate([*SPECIALS, *sorted(words)])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if specials:
        made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]")


def encoder(words: int, seed: int = 0) -> Any:
    """A BERT, drawn at random, with its pooler; torch's generator is left as it was."""
    import torch
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertModel(BertConfig(vocab_size=words, max_position_embeddings=64, **sizes)).eval()


def discriminator(seed: int = 0, specials: bool = True, **config: Any) -> Any:
    """A small one in evaluation mode, untrained."""
    import torch

    from phaita.models.discriminator import DiagnosisDiscriminator, DiscriminatorConfig

    words = tokenizer(specials)
    small = {"max_length": 32, "node_size": 8, "graph_heads": 2, "fusion_size": 16, **config}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DiagnosisDiscriminator(encoder(len(words), seed), words, DiscriminatorConfig(**small)).eval()


def predicted(model: Any, texts: list[str], **options: Any) -> Any:
    """All ten conditions of each text, whether the heads are trained or not."""
    return model.predict_diagnosis(texts, allow_untrained=True, **{"top_k": 10, "seed": 1, **options})


def assert_alike(one: Any, other: Any, tolerance: float = 1e-5) -> None:
    """The same records but for the last digits of their numbers."""
    assert [record.code for record in one] == [record.code for record in other]
    for left, right in zip(one, other, strict=True):
        numbers = [(record.probability, *record.interval, record.uncertainty) for record in (left, right)]
        assert numbers[0] == pytest.approx(numbers[1], abs=tolerance)
        assert (left.evidence, left.abstained, left.truncated) == (right.evidence, right.abstained, right.truncated)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect what transformers logs about weights, whatever other handlers there are."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]  # it is one's own
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
