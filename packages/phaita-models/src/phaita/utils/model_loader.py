"""PHAITA's path to the loader: the names it always had, from phaita_loader."""

from phaita_loader.compat import (
    ModelDownloadError,
    load_model_and_tokenizer,
    load_pretrained_model,
    robust_model_download,
)

__all__ = ["ModelDownloadError", "load_model_and_tokenizer", "load_pretrained_model", "robust_model_download"]
