"""The steps that a person can take after an error."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from phaita_loader.errors import (
    Corrupt,
    DeadlineExceeded,
    LoaderError,
    ModelDownloadError,
    NotCached,
    RateLimited,
)
from phaita_loader.listing import MOST_BY_HTTP, RemoteFile

__all__ = ["ANONYMOUS", "LOGIN", "STATUS", "TRUST", "advice", "too_large"]

LOGIN = "run `hf auth login`, or set HF_TOKEN to a token of an account that has access"
STATUS = "https://status.huggingface.co"
TRUST = "if your network inspects TLS, set SSL_CERT_FILE to its CA bundle"
ANONYMOUS = "public repos need no token: unset HF_TOKEN, run `hf auth logout`, or pass token=False"

_FIRST_STEPS: dict[type[LoaderError], str] = {
    Corrupt: "the network or the disk corrupts data: try another network or another disk",
    DeadlineExceeded: "set a longer deadline",
    RateLimited: "run `hf auth login`: accounts have higher limits than anonymous calls",
}


def advice(error: LoaderError, repo_id: str, revision: str, cache_dir: object) -> str:
    """Return the steps for an error that has no hint of its own, one a line."""
    command = shlex.join(["hf", "download", repo_id, "--revision", revision, "--cache-dir", str(cache_dir)])
    if isinstance(error, NotCached):  # no request was made, so the same call would end the same way
        return f"fetch it once while online: {command}\nor name the cache that has it: this one is {cache_dir}"
    return (
        f"{_FIRST_STEPS.get(type(error), f'check the connection, and {STATUS}')}\n"
        f"try it by hand: {command}\n"
        f"what arrived is kept in {cache_dir}; the same call goes on from there"
    )


def too_large(files: Iterable[RemoteFile], repo_id: str, commit: str, cache_dir: object) -> ModelDownloadError | None:
    """Return the error for the first file that the Hub would refuse over HTTP; a Xet client may still get it."""
    for file in files:
        if file.size > MOST_BY_HTTP:
            words = ["hf", "download", repo_id, "--revision", commit, "--include", file.path]
            return ModelDownloadError(
                f"{file.path} has {file.size / 1e9:.1f} GB, and the Hub serves no file over 50 GB by HTTP",
                hint=f"{shlex.join([*words, '--cache-dir', str(cache_dir)])}\n"
                "then repeat the call: it finds the file there",
            )
    return None
