"""Language models and encoders of a few thousand weights, made in memory, and a tokenizer of whole words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

CHAT = (
    "{% for message in messages %}{% if message['role'] != 'user' %}{{ raise_exception('only the user speaks') }}"
    "{% endif %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endfor %}"
)
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>"]


def tokenizer(texts: Iterable[str], **options: Any) -> Any:
    """One token a word or mark of the texts, line ends kept; it adds nothing by itself."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.Split(Regex(r" ?[^\s\w]| ?\w+(?:['-]\w+)*|\s"), "isolated")
    words = sorted({word for text in texts for word, _ in splitter.pre_tokenize_str(text)})
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate([*SPECIALS, *words])}, unk_token="<unk>"))
    made.pre_tokenizer = splitter
    made.decoder = decoders.Fuse()
    specials = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", **options}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, **specials)


def gpt2(words: int, seed: int = 0, **sizes: int) -> Any:
    """A GPT-2, drawn at random, ready to train; torch's generator is left as it was."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    small = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 512, **sizes}
    ends = {"bos_token_id": SPECIALS.index("<s>"), "eos_token_id": SPECIALS.index("</s>")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPT2LMHeadModel(GPT2Config(vocab_size=words, **ends, **small))


def bert(words: int, seed: int = 0) -> Any:
    """A BERT, drawn at random; torch's generator is left as it was."""
    import torch
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertModel(BertConfig(vocab_size=words, max_position_embeddings=512, **sizes))


def chain(table: Any, ends: int | None = SPECIALS.index("</s>")) -> Any:
    """A language model whose next token depends on the last one alone: its logits are that row of the table [V, V]."""
    import torch
    from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput

    class Chain(PreTrainedModel, GenerationMixin):
        config_class = PretrainedConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.table = torch.nn.Parameter(table)
            self.post_init()

        def forward(self, input_ids: Any, attention_mask: Any = None, **_: Any) -> Any:
            return CausalLMOutput(logits=self.table[input_ids])

    made = Chain(PretrainedConfig(vocab_size=len(table), eos_token_id=ends))
    made.generation_config.use_cache = False
    return made
