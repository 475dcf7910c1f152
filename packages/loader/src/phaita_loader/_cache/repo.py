"""The standard Hugging Face cache folder of one repo: where its blobs, snapshots, refs, locks and our own files lie."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from phaita_loader._cache.digest import digest_of, stamp, stamped
from phaita_loader.errors import Corrupt
from phaita_loader.listing import SMALL, Listing, RemoteFile, listed_commit, listed_file

__all__ = ["RepoCache", "Verify"]

Verify: TypeAlias = Literal["auto", "full", "size"]
"""How far a cached blob is trusted: until its stamp no longer fits, never, or for its size alone."""


@dataclass(frozen=True)
class RepoCache:
    """Paths below `cache_dir` for one model repo, laid out as huggingface_hub lays them out.

    `check` is called now and then while files are digested, and ends that by raising.
    """

    cache_dir: Path
    repo_id: str
    check: Callable[[], None] = lambda: None
    _wrong: dict[Path, tuple[int, int, int]] = field(default_factory=dict, repr=False, compare=False)

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
        """Partial files, stamps and listings: everything that is not huggingface_hub's."""
        return self.folder / ".phaita-loader"

    def blob(self, file: RemoteFile) -> Path:
        """Where the file's bytes lie."""
        return self.folder / "blobs" / file.digest

    def stamp(self, file: RemoteFile) -> Path:
        """Where it is remembered that the blob was digested."""
        return self.ours / "stamps" / file.digest

    def lock(self, file: RemoteFile) -> Path:
        """huggingface_hub's own lock for this blob."""
        return self.cache_dir / ".locks" / self.name / f"{file.digest}.lock"

    def holds(self, file: RemoteFile, verify: Verify) -> bool:
        """Whether the blob is there and right. One that is digested for it and is right gets its stamp."""
        return self._is_right(self.blob(file), self.stamp(file), file, verify)

    def shows(self, commit: str, file: RemoteFile, verify: Verify) -> bool:
        """Whether the snapshot shows the blob under the file's name: by a link, or by a copy that is right itself."""
        pointer = self.snapshot(commit) / file.path
        if _is_same(pointer, self.blob(file)):
            return True
        # A copy rots on its own, so it has a stamp of its own.
        record = self.ours / "stamps" / commit / file.path
        return not pointer.is_symlink() and self._is_right(pointer, record, file, verify)

    def snapshot(self, commit: str) -> Path:
        """The folder that shows the commit's files under their names."""
        return self.folder / "snapshots" / commit

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch or tag meant when it was last fetched."""
        try:
            return listed_commit((self.folder / "refs" / revision).read_text(encoding="utf-8").strip())
        except (OSError, ValueError, Corrupt):
            return None

    def prepare(self, commit: str) -> None:
        """Make the folders. The snapshot's comes first: without it `hf cache rm` would not find the rest."""
        locks = self.cache_dir / ".locks" / self.name
        for folder in (self.snapshot(commit), self.folder / "blobs", self.ours, locks):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def folds_case(self) -> bool:
        """Whether names that differ in case alone are one on this disk."""
        return (self.folder / "SNAPSHOTS").exists()

    @property
    def free_bytes(self) -> int:
        """Bytes that the cache's disk has left."""
        folder = self.folder.absolute()
        return shutil.disk_usage(next(there for there in (folder, *folder.parents) if there.exists())).free

    def link(self, commit: str, file: RemoteFile, verify: Verify = "auto") -> None:
        """Show the blob under the file's name: a relative symlink, or a copy where links are not to be had."""
        pointer = self.snapshot(commit) / file.path
        if not _linked(pointer, self._target(file)) and not self.shows(commit, file, verify):
            fresh = self.ours / f"link-{os.getpid()}-{secrets.token_hex(4)}"
            try:
                _linked_or_copied(fresh, self._target(file), self.blob(file))
                fresh.replace(pointer)
            finally:
                fresh.unlink(missing_ok=True)

    def _target(self, file: RemoteFile) -> str:
        """The blob as seen from where the file is shown."""
        # Windows keeps the text of a link as it is, and follows its own separator only.
        return os.path.join(*[os.pardir] * (2 + file.path.count("/")), "blobs", file.digest)  # noqa: PTH118

    def set_ref(self, revision: str, commit: str) -> None:
        """Remember what the branch or tag means. Last of all, after a complete fetch."""
        if self.commit_of(revision) == commit:
            return
        ref = self.folder / "refs" / revision
        # Git has no branch "a" beside "a/b": what is in the way is one that is no more.
        for above in [path for path in ref.parents if path.is_relative_to(self.folder / "refs") and path.is_file()]:
            above.unlink()
        if ref.is_dir():
            shutil.rmtree(ref)
        _write(ref, commit, self.ours)

    def keep(self, listing: Listing) -> None:
        """Keep a commit's listing, which never changes, so that offline it is known what belongs to it."""
        rows = {file.path: _row(file) for file in listing.files}
        text = json.dumps({"format_version": 1, "files": rows})
        _write(self.ours / "listings" / f"{listing.commit}.json", text, self.ours)

    def kept(self, commit: str) -> Listing | None:
        """The commit's listing, if this package or `snapshot_download` kept one that can be read."""
        for path in (self.ours / "listings" / f"{commit}.json", self.folder / "trees" / f"{commit}.json"):
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))["files"]
                return Listing(commit, tuple(_read(name, row) for name, row in rows.items()))
            except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, Corrupt):
                continue
        return None

    def found(self, commit: str) -> Listing:
        """What the snapshot folder shows, by the links' targets: all that is known where no listing was kept."""
        files = []
        for pointer in self.snapshot(commit).rglob("*"):
            if pointer.is_symlink() and pointer.is_file():
                name, digest = pointer.relative_to(self.snapshot(commit)).as_posix(), pointer.readlink().name
                with suppress(Corrupt):  # a link to something that is no blob
                    sha256 = digest if len(digest) == 64 else None
                    files.append(listed_file(name, pointer.stat().st_size, digest, sha256))
        return Listing(commit, tuple(files))

    def _is_right(self, path: Path, record: Path, file: RemoteFile, verify: Verify) -> bool:
        """Whether the file's bytes lie there, as far as `verify` asks; what is digested and right gets its stamp."""
        try:
            if path.stat().st_size != file.size:
                return False
            if verify == "size" or (verify == "auto" and file.size > SMALL and stamped(record, path)):
                return True
            before = path.stat()
            seen = (before.st_ino, before.st_size, before.st_mtime_ns)
            if self._wrong.get(path) == seen:
                return False  # what was found wrong a moment ago is not digested again
            if digest_of(path, file.algorithm, file.size, self.check) != file.digest:
                self._wrong[path] = seen
                return False
            if file.size > SMALL:
                stamp(record, path, before)
        except OSError:
            return False
        return True


def _linked_or_copied(fresh: Path, target: str, blob: Path) -> None:
    try:
        fresh.symlink_to(target)
    except OSError:
        shutil.copyfile(blob, fresh)


def _linked(pointer: Path, target: str) -> bool:
    """Make the link, where there is nothing in its place and links are to be had."""
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
    """A file as huggingface_hub's own kept listings have it, so that one reader serves both."""
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
    fresh = scratch / f"new-{os.getpid()}-{secrets.token_hex(4)}"
    fresh.write_text(text, encoding="utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh.replace(path)
