"""Small real tokenizers, trained on a few hundred sentences; run by the build, for it needs tokenizers and more."""

from __future__ import annotations

import itertools
import json
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

_WHO = ("The patient", "A 67-year-old woman", "An elderly man", "The child", "Mr. Jones", "A paramedic")
_HAS = ("reports", "has been suffering from", "was found with", "denies", "presents with", "describes")
_WHAT = (
    "acute shortness of breath on exertion",
    "a dry cough, fever and chills for 3 days",
    "wheezing and chest tightness at night",
    "pleuritic pain; oxygen saturation is 88%",
    "productive sputum, fatigue and weight loss",
    "sudden swelling of the face and throat",
)
_THEN = ("Suspected pneumonia.", "Known asthma, no allergies.", "Is it COPD?", "Transfer to hospital!", "Stable.")
_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)


def sentences() -> list[str]:
    """The training text: every combination of a few clinical phrases."""
    return [" ".join(words) for words in itertools.product(_WHO, _HAS, (f"{what}." for what in _WHAT), _THEN)]


def write_vocabulary(kind: str, folder: Path) -> int:
    """Write the tokenizer files of one model family into `folder`; the number of tokens."""
    return _KINDS[kind](folder)


def _deberta(folder: Path) -> int:
    pieces = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    names = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    size = _sentencepiece(folder / "spm.model", "unigram", {**pieces, **names})
    _write_json(folder / "tokenizer_config.json", {"do_lower_case": False, "vocab_type": "spm"})
    return size + 1


def _mistral(folder: Path) -> int:
    size = _sentencepiece(folder / "tokenizer.model", "bpe", {"byte_fallback": True, "pad_id": -1})
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "chat_template": _CHAT_TEMPLATE,
        "eos_token": "</s>",
        "legacy": False,
        "model_max_length": 32768,
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    }
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", {name: config[name] for name in config if name[3:] == "_token"})
    _convert(folder)
    return size


def _bert(folder: Path) -> int:
    tokenizer = _wordpiece(lowercase=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 512})
    return _write_vocab_txt(tokenizer, folder)


def _clinical(folder: Path) -> int:
    return _write_vocab_txt(_wordpiece(lowercase=False), folder)


def _gpt2(folder: Path) -> int:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[end], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sentences(), trainer)
    tokenizer.model.save(str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", {"model_max_length": 1024})
    return int(tokenizer.get_vocab_size())


def _wordpiece(*, lowercase: bool) -> Tokenizer:
    normalizer, splitter = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
    text = normalizer.normalize_str(" ".join(sentences()))
    vocab = _wordpiece_vocab([word for word, _ in splitter.pre_tokenize_str(text)])
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    special = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1"
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", pair, special)
    return tokenizer


def _wordpiece_vocab(words: list[str]) -> dict[str, int]:
    """Letters, then words by frequency. The library's trainer breaks ties differently in every run; this does not."""
    letters = sorted(set("".join(words)) | set(string.ascii_letters + string.digits + string.punctuation))
    common = sorted(Counter(words).items(), key=lambda pair: (-pair[1], pair[0]))
    tokens = [*_SPECIALS, *letters, *(f"##{letter}" for letter in letters), *(word for word, _ in common)]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def _write_vocab_txt(tokenizer: Tokenizer, folder: Path) -> int:
    vocab = tokenizer.get_vocab()
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocab, key=vocab.__getitem__)))
    return len(vocab)


def _sentencepiece(path: Path, model_type: str, options: dict[str, Any]) -> int:
    with path.open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter(sentences()),
            model_writer=file,
            model_type=model_type,
            vocab_size=600,
            hard_vocab_limit=False,
            num_threads=1,
            minloglevel=2,
            **options,
        )
    return int(SentencePieceProcessor(model_file=str(path)).vocab_size())


def _convert(folder: Path) -> None:
    """Write tokenizer.json beside tokenizer.model, as published models do."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder).backend_tokenizer.save(str(folder / "tokenizer.json"))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


_KINDS: dict[str, Callable[[Path], int]] = {
    "bert": _bert,
    "clinical": _clinical,
    "deberta": _deberta,
    "gpt2": _gpt2,
    "mistral": _mistral,
}
