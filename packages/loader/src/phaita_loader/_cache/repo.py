"""The standard Hugging Face cache folder of one repo: its blobs, snapshots, refs and locks, and our own files."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from phaita_loader._cache.digest import digest_of
from phaita_loader._cache.stamps import has_stamp, write_stamp
from phaita_loader.errors import Corrupt
from phaita_loader.listing import SMALL, Listing, RemoteFile, listed_commit, listed_file
from phaita_loader.snapshot import Verify

__all__ = ["RESTARTS", "RepoCache"]

RESTARTS = 5
"""The times that a call starts again because another tool deleted what it had brought."""


class RepoCache:
    """The paths below `cache_dir` for one model repo, laid out as huggingface_hub lays them out.

    `check` is called now and then while files are digested, and ends that by raising.
    """

    def __init__(self, cache_dir: Path, repo_id: str, check: Callable[[], None] = lambda: None) -> None:
        self.cache_dir = cache_dir
        self.repo_id = repo_id
        self._check = check
        self._invalid: dict[Path, tuple[int, int, int]] = {}

    @cached_property
    def name(self) -> str:
        """The repo's folder name."""
        return "--".join(["models", *self.repo_id.split("/")])

    @cached_property
    def folder(self) -> Path:
        """The repo's folder."""
        return self.cache_dir / self.name

    @cached_property
    def ours(self) -> Path:
        """The folder of partial files, stamps and listings: everything that is not huggingface_hub's."""
        return self.folder / ".phaita-loader"

    def blob(self, file: RemoteFile) -> Path:
        """Return the path of the file's bytes."""
        return self.folder / "blobs" / file.digest

    def stamp(self, file: RemoteFile) -> Path:
        """Return the path of the stamp that says the blob was digested."""
        return self.ours / "stamps" / file.digest

    def lock(self, file: RemoteFile) -> Path:
        """Return the path of huggingface_hub's own lock for this blob."""
        return self.cache_dir / ".locks" / self.name / f"{file.digest}.lock"

    def verify_blob(self, file: RemoteFile, verify: Verify) -> bool:
        """Return True if the blob is there and right; digest it as far as `verify` asks, and stamp it then."""
        return self._verify(self.blob(file), self.stamp(file), file, verify)

    def verify_pointer(self, commit: str, file: RemoteFile, verify: Verify) -> bool:
        """Return True if the snapshot has the file: a link to its blob, or a copy that is right itself."""
        pointer = self.snapshot(commit) / file.path
        if _is_same(pointer, self.blob(file)):
            return True
        # A copy rots on its own, so it has a stamp of its own.
        stamp = self.ours / "stamps" / commit / file.path
        return not pointer.is_symlink() and self._verify(pointer, stamp, file, verify)

    def snapshot(self, commit: str) -> Path:
        """Return the folder that has the commit's files under their names."""
        return self.folder / "snapshots" / commit

    def commit_of(self, revision: str) -> str | None:
        """Return the commit that a branch or tag meant when it was last fetched, if it ever was."""
        try:
            return listed_commit((self.folder / "refs" / revision).read_text(encoding="utf-8").strip())
        except (OSError, ValueError, Corrupt):
            return None

    def prepare(self, commit: str) -> None:
        """Make the folders, the snapshot's first: without it `hf cache rm` would not find the rest."""
        locks = self.cache_dir / ".locks" / self.name
        for folder in (self.snapshot(commit), self.folder / "blobs", self.ours, locks):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def folds_case(self) -> bool:
        """True if names that differ in case alone are the same on this disk."""
        # The folder `snapshots` exists by now: it is found under this name only where case is ignored.
        return (self.folder / "SNAPSHOTS").exists()

    @property
    def free_bytes(self) -> int:
        """The bytes that the cache's disk has left."""
        folder = self.folder.absolute()
        # The folder itself may not exist yet.
        return shutil.disk_usage(next(there for there in (folder, *folder.parents) if there.exists())).free

    def link(self, commit: str, file: RemoteFile, verify: Verify = "auto") -> None:
        """Put the file into the snapshot: a relative symlink to its blob, or a copy where the disk has no symlinks."""
        pointer = self.snapshot(commit) / file.path
        if not _try_link(pointer, self._target(file)) and not self.verify_pointer(commit, file, verify):
            # A link is replaced in one step, so that readers never see the file missing.
            fresh = self.ours / f"link-{os.getpid()}-{secrets.token_hex(4)}"
            try:
                _link_or_copy(fresh, self._target(file), self.blob(file))
                fresh.replace(pointer)
            finally:
                fresh.unlink(missing_ok=True)

    def _target(self, file: RemoteFile) -> str:
        """Return the text of the link that leads from the file's place in the snapshot to its blob."""
        # Windows keeps the text of a link as it is, and follows its own separator only.
        return os.path.join(*[os.pardir] * (2 + file.path.count("/")), "blobs", file.digest)  # noqa: PTH118

    def set_ref(self, revision: str, commit: str) -> None:
        """Remember which commit the branch or tag means; to be called last, after a complete fetch."""
        if self.commit_of(revision) == commit:
            return
        ref = self.folder / "refs" / revision
        # Git has no branch "a" beside "a/b": the one in the way was deleted.
        for above in [path for path in ref.parents if path.is_relative_to(self.folder / "refs") and path.is_file()]:
            above.unlink()
        if ref.is_dir():
            shutil.rmtree(ref)
        _write(ref, commit, self.ours)

    def save_listing(self, listing: Listing) -> None:
        """Save a commit's listing, which never changes, so that it is known offline which files belong to it."""
        rows = {file.path: _row(file) for file in listing.files}
        text = json.dumps({"format_version": 1, "files": rows})
        _write(self.ours / "listings" / f"{listing.commit}.json", text, self.ours)

    def saved_listing(self, commit: str) -> Listing | None:
        """Return the commit's listing, if this package or `snapshot_download` saved one that can be read."""
        # Ours first: huggingface_hub saves a listing only from version 2.4 on.
        for path in (self.ours / "listings" / f"{commit}.json", self.folder / "trees" / f"{commit}.json"):
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))["files"]
                return Listing(commit, tuple(_read(name, row) for name, row in rows.items()))
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, Corrupt):
                continue
        return None

    def listing_from_links(self, commit: str) -> Listing:
        """Return the files that the snapshot's links name: all that is known where no listing was saved."""
        files = []
        for pointer in self.snapshot(commit).rglob("*"):
            # A copy's name says nothing of its digest, so it can't be listed.
            if pointer.is_symlink() and pointer.is_file():
                name, digest = pointer.relative_to(self.snapshot(commit)).as_posix(), pointer.readlink().name
                with suppress(Corrupt):  # the link leads to something other than a blob
                    sha256 = digest if len(digest) == 64 else None
                    files.append(listed_file(name, pointer.stat().st_size, digest, sha256))
        return Listing(commit, tuple(files))

    def _verify(self, path: Path, stamp: Path, file: RemoteFile, verify: Verify) -> bool:
        try:
            if path.stat().st_size != file.size:
                return False
            if verify == "size" or (verify == "auto" and file.size > SMALL and has_stamp(stamp, path)):
                return True
            # The status from before the digest: a file that changes meanwhile gets no stamp.
            before = path.stat()
            seen = (before.st_ino, before.st_size, before.st_mtime_ns)
            if self._invalid.get(path) == seen:
                return False  # it was digested a moment ago
            if digest_of(path, file.algorithm, file.size, self._check) != file.digest:
                self._invalid[path] = seen
                return False
            if file.size > SMALL:
                write_stamp(stamp, path, before)
        except OSError:
            return False
        return True


def _link_or_copy(fresh: Path, target: str, blob: Path) -> None:
    try:
        fresh.symlink_to(target)
    except OSError:
        shutil.copyfile(blob, fresh)


def _try_link(pointer: Path, target: str) -> bool:
    """Make the link; return False where something is in its place, or the disk has no symlinks."""
    try:
        try:
            pointer.symlink_to(target)
        except FileNotFoundError:
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.symlink_to(target)
    except OSError:
        return False
    return True


def _row(file: RemoteFile) -> dict[str, object]:
    """Return a file as huggingface_hub's saved listings have it, so that one reader serves both."""
    return {"size": file.size, "lfs_sha256" if file.algorithm == "sha256" else "blob_id": file.digest}


def _read(path: str, row: dict[str, object]) -> RemoteFile:
    return listed_file(path, row["size"], row.get("blob_id"), row.get("lfs_sha256"))


def _is_same(pointer: Path, blob: Path) -> bool:
    try:
        return pointer.samefile(blob)
    except OSError:
        return False


def _write(path: Path, text: str, scratch: Path) -> None:
    """Write a small file so that no reader ever sees half of it, nor a stray file beside it."""
    # A stray file beside refs or snapshots would hide the whole repo from `scan_cache_dir`.
    fresh = scratch / f"new-{os.getpid()}-{secrets.token_hex(4)}"
    fresh.write_text(text, encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(path)
