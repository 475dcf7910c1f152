"""The repos of one running Hub, where its branches stand, and who may read what."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping

from starlette.requests import Request

from . import errors
from .content import Blob, Repo, Snapshot


class Store:
    """Repos by id, movable branches and tokens. A token maps to the ids of the gated and private repos it opens."""

    def __init__(self, repos: Iterable[Repo], tokens: Mapping[str, Collection[str]]) -> None:
        self.repos: dict[str, Repo] = {}
        for repo in repos:
            if repo.repo_id in self.repos:
                raise ValueError(f"repo {repo.repo_id!r} is given twice")
            self.repos[repo.repo_id] = repo
        self._tokens = {token: frozenset(opens) for token, opens in tokens.items()}
        self._branches = {name: dict(repo.refs) for name, repo in self.repos.items()}
        self._blobs = {(name, b.sha256): b for name, repo in self.repos.items() for b in _large(repo)}
        self._lock = threading.Lock()

    def move(self, repo_id: str, branch: str, commit: str) -> None:
        """Point a branch at a commit of the repo; ValueError when there is no such repo or commit."""
        repo = self.repos.get(repo_id)
        if repo is None:
            raise ValueError(f"no repo {repo_id!r}; there are {', '.join(sorted(self.repos))}")
        if commit not in repo.shas:
            raise ValueError(f"repo {repo_id!r} has no commit {commit!r}; it has {', '.join(repo.shas)}")
        with self._lock:
            self._branches[repo_id][branch] = commit

    def branches(self, repo: Repo) -> dict[str, str]:
        """Branch -> commit, as of now."""
        with self._lock:
            return {name: str(sha) for name, sha in self._branches[repo.repo_id].items()}

    def readable(self, request: Request, repo_id: str) -> Repo:
        """The repo whose info this request may read; gated repos show their info to everybody."""
        token = self.token(request)
        repo = self.repos.get(repo_id)
        if repo is None or (repo.private and not self._opens(token, repo_id)):
            raise errors.repo_not_found(signed_in=token is not None)
        return repo

    def downloadable(self, request: Request, repo_id: str) -> Repo:
        """The repo whose files this request may fetch."""
        repo = self.readable(request, repo_id)
        token = self.token(request)
        if repo.gated and not self._opens(token, repo_id):
            raise errors.gated(repo_id, signed_in=token is not None)
        return repo

    def token(self, request: Request) -> str | None:
        """The request's valid token, None for an anonymous request; a token that is not known is refused."""
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or token not in self._tokens:
            raise errors.bad_credentials()
        return token

    def snapshot(self, repo: Repo, revision: str) -> Snapshot:
        """The commit that a branch, tag or sha names right now."""
        names = {**{sha: sha for sha in repo.shas}, **repo.tags, **self.branches(repo)}
        short = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = names.get(revision, names.get(short))
        if sha is None:
            raise errors.revision_not_found(revision)
        return repo.snapshot(str(sha))

    def large(self, repo_id: str, sha256: str) -> Blob | None:
        """An LFS file by its digest."""
        return self._blobs.get((repo_id, sha256))

    def _opens(self, token: str | None, repo_id: str) -> bool:
        return token is not None and repo_id in self._tokens[token]


def _large(repo: Repo) -> list[Blob]:
    return [blob for snapshot in repo.snapshots for blob in snapshot.files.values() if blob.sha256 is not None]
