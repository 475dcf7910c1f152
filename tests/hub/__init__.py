"""A local Hugging Face Hub for tests: real HTTP on two origins, spoken to by unmodified clients.

    with LocalHub([Repo("org/name", [Commit({"config.json": b"{}"})])]) as hub:
        HfApi(endpoint=hub.url).model_info("org/name")

`tests.hub.replicas` makes stand-ins of well-known models; it is imported on demand, for it needs torch.
"""

from .answer import Answer
from .content import Blob, Commit, Repo
from .record import Seen
from .server import LocalHub
from .tls import NAMES

__all__ = ["NAMES", "Answer", "Blob", "Commit", "LocalHub", "Repo", "Seen"]
