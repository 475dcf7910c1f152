"""Models from the Hugging Face Hub onto a device, whatever the network does."""

from phaita_loader.compat import load_model_and_tokenizer, load_pretrained_model, robust_model_download
from phaita_loader.errors import (
    AccessDenied,
    Attempt,
    Corrupt,
    DeadlineExceeded,
    InitialisationError,
    LoaderError,
    ModelDownloadError,
    NotCached,
    NotFound,
    RateLimited,
    StorageError,
    Unreachable,
)
from phaita_loader.fetch import Planned, Snapshot, fetch, plan
from phaita_loader.hub import Hub
from phaita_loader.load import Loaded, load
from phaita_loader.policy import Backoff, Policy
from phaita_loader.request import ModelRequest
from phaita_loader.verify import VerifiedSnapshot, verify

__all__ = [
    "AccessDenied",
    "Attempt",
    "Backoff",
    "Corrupt",
    "DeadlineExceeded",
    "Hub",
    "InitialisationError",
    "Loaded",
    "LoaderError",
    "ModelDownloadError",
    "ModelRequest",
    "NotCached",
    "NotFound",
    "Planned",
    "Policy",
    "RateLimited",
    "Snapshot",
    "StorageError",
    "Unreachable",
    "VerifiedSnapshot",
    "fetch",
    "load",
    "load_model_and_tokenizer",
    "load_pretrained_model",
    "plan",
    "robust_model_download",
    "verify",
]
