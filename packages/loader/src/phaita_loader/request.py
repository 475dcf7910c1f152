"""The request: one model of one repo at one revision, and the files of the repo that it takes. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from phaita_loader._weight_layouts import first_layout, is_weight_file

__all__ = ["KINDS", "ModelRequest", "may_need", "needed"]

KINDS = ("auto", "causal_lm", "config", "masked_lm", "sequence_classification", "tokenizer")

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO_PART = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?(?<!\.git)")

_TEXT = frozenset({".bpe", ".jinja", ".json", ".model", ".spm", ".tiktoken", ".txt", ".vocab"})
_TOKENIZER = re.compile(r"tokenizer|vocab|merges|spm|spiece|sentencepiece|tekken|tiktoken|special_tokens")


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model to be fetched or loaded.

    repo_id: "org/name", or "name" for the Hub's own classics such as "gpt2".
    revision: a branch, a tag or a commit (40 hex digits).
    kind: one of `KINDS`; decides the files and the transformers class.
    dtype: name of a torch dtype ("bfloat16"), "auto", or None for transformers' default.
    device: where the model goes after loading ("cpu", "cuda", "cuda:1"); None leaves it where it was built.
    allow_patterns: globs by the Hub's rules that replace the kind's choice of files.
    ignore_patterns: globs that are taken away from the choice, whoever made it.
    trust_remote_code: also fetch the repo's own Python files and let transformers run them.

    Raises ValueError for an invalid field.
    """

    repo_id: str
    revision: str = "main"
    kind: str = "auto"
    dtype: str | None = None
    device: str | None = None
    allow_patterns: tuple[str, ...] | None = None
    ignore_patterns: tuple[str, ...] = ()
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        parts = self.repo_id.split("/") if isinstance(self.repo_id, str) else []
        if not (1 <= len(parts) <= 2 and all(_REPO_PART.fullmatch(part) for part in parts)):
            raise ValueError(f"repo_id must look like 'org/name' or 'name', got {self.repo_id!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind (model_type) must be one of {', '.join(KINDS)}; got {self.kind!r}")
        _check_revision(self.revision)
        for name in ("allow_patterns", "ignore_patterns"):
            object.__setattr__(self, name, _patterns(getattr(self, name)))

    @property
    def pinned(self) -> bool:
        """True if the revision is a commit, which always means the same bytes."""
        return _COMMIT.fullmatch(self.revision) is not None


def needed(request: ModelRequest, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths of a repo that the kind takes, sorted, before globs; empty where the repo has no such model."""
    available = sorted(paths)
    if request.kind == "config":
        return tuple(path for path in available if path == "config.json" or _is_code(request, path))
    texts = [path for path in available if _is_text(path) or _is_code(request, path)]
    if request.kind == "tokenizer":
        return tuple(texts) if any(_TOKENIZER.search(path) for path in texts) else ()
    weights = first_layout(available)
    return tuple(sorted([*texts, *weights])) if weights else ()


def may_need(path: str) -> bool:
    """True if any kind of request could take this path; the rest of a very long listing need not be held."""
    return _is_text(path) or path.endswith(".py") or is_weight_file(path)


def _is_text(path: str) -> bool:
    """True for configuration, vocabulary and templates: small, and cheaper to fetch than to guess which matter."""
    pure = PurePosixPath(path)
    here = len(pure.parts) == 1 or pure.parts[0] == "additional_chat_templates"
    return here and pure.suffix.lower() in _TEXT and not path.endswith(".index.json")


def _is_code(request: ModelRequest, path: str) -> bool:
    return request.trust_remote_code and path.endswith(".py")


def _check_revision(revision: str) -> None:
    # A revision becomes a path below refs/, which it must not leave.
    parts = revision.split("/") if isinstance(revision, str) else [""]
    if any(part in {"", ".", ".."} for part in parts) or re.search(r"[\\\x00-\x1f:*?\"<>|]", revision):
        raise ValueError(f"revision must be a branch, a tag or a commit, got {revision!r}")


def _patterns(value: Iterable[str] | str | None) -> tuple[str, ...] | None:
    return (value,) if isinstance(value, str) else None if value is None else tuple(value)
