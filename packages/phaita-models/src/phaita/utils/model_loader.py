"""PHAITA's path to the loader: the public names of phaita_loader.compat that PHAITA uses."""

from phaita_loader.compat import (
    ModelDownloadError,
    load_model_and_tokenizer,
    load_pretrained_model,
    robust_model_download,
)

__all__ = ["ModelDownloadError", "load_model_and_tokenizer", "load_pretrained_model", "robust_model_download"]
