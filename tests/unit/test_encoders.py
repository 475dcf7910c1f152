"""The part of a text that an encoder has room for."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module

import pytest

from tests.unit.encoders import TEXTS, predicted, tokenizer

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
phaita = import_module("phaita.models.discriminator")
encoders = import_module("phaita.models._encoder")
inference = import_module("phaita.models._inference")

WORDS = tokenizer()
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TABLE = {**SIZES, "max_position_embeddings": 24}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}

# Type, configuration, and how many tokens it has positions for.
KINDS = {
    "a table": ("bert", TABLE, 24),
    "a table, its embeddings of another width": ("electra", {**TABLE, "embedding_size": 8}, 24),
    "a table that begins after the padding's row": ("roberta", {**TABLE, "pad_token_id": 1}, 22),
    "a table that begins later still": ("xlm-roberta", {**TABLE, "pad_token_id": 3}, 20),
    "such a table and relative positions": ("mpnet", {**TABLE, "pad_token_id": 1}, 22),
    "relative positions": ("deberta-v2", {**TABLE, **RELATIVE, "position_biased_input": False}, None),
    "a table beside relative positions": ("deberta-v2", {**TABLE, **RELATIVE, "position_biased_input": True}, 24),
    "relative positions that are not counted": (
        "xlnet",
        {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32},
        None,
    ),
    "no word on positions": ("t5", {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}, None),
}


def encoder(kind, sizes):
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(WORDS), **sizes)
    made = transformers.T5EncoderModel if kind == "t5" else transformers.AutoModel.from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return made(config).eval()


@pytest.mark.parametrize("how", KINDS)
def test_a_text_is_cut_at_the_last_position_and_not_before(how):
    kind, sizes, positions = KINDS[how]
    made = encoder(kind, sizes)
    assert inference.max_positions(made) == positions
    model = phaita.DiagnosisDiscriminator(made, WORDS, phaita.DiscriminatorConfig(max_length=60)).eval()
    room = positions or 60
    texts = ["wheezing " * (room - 2), "wheezing " * (room - 1), "wheezing " * 500, *TEXTS]
    records = [one[0] for one in predicted(model, texts, top_k=1)]
    assert [one.truncated for one in records[:3]] == [False, True, True]
    assert not any(one.truncated for one in records[3:])
    assert all(one.probability > 0.1 for one in records)
    beyond = pytest.raises((IndexError, RuntimeError)) if positions else nullcontext()
    with torch.no_grad(), beyond:
        encoders.mean_pool(made, [[5] * (room + 1)], 0)


def test_the_least_room_counts():
    made = encoder("bert", TABLE)
    assert [inference.token_limit(made, WORDS, wanted) for wanted in (8, 24, 25)] == [8, 24, 24]
    short = tokenizer()
    short.model_max_length = 10
    assert inference.token_limit(made, short, 99) == 10


def test_a_text_that_training_reads_is_cut_too():
    texts = import_module("phaita.training._texts")
    model = phaita.DiagnosisDiscriminator(encoder("roberta", {**TABLE, "pad_token_id": 1}), WORDS)
    assert [len(row) for row in texts.tokens_of(model, ["wheezing " * 99, "fever"])] == [22, 3]
    assert texts.tokens_of(model, []) == []
