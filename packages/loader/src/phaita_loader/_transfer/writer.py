"""The writer of one file: its partial, its segments, its digest and its flusher, behind one lock."""

from __future__ import annotations

import threading
from pathlib import Path

from phaita_loader._cache.digest import RunningDigest, digest_of_bytes
from phaita_loader._transfer.flusher import FLUSH, Flusher
from phaita_loader._transfer.partial import Partial
from phaita_loader._transfer.segments import Segment, Segments
from phaita_loader.listing import SMALL, RemoteFile
from phaita_loader.retry import Transient

__all__ = ["BlobWriter"]

_DISK_WAIT = 0.2  # seconds that `close` waits for a write that a slow disk keeps


class BlobWriter:
    """Writes one file's bytes as several workers bring them; every method may be called from any thread.

    resumed: bytes that earlier calls left.
    received: bytes that came since, until they prove to be wrong.
    location: the signed URL that serves at the moment, for all workers; endpoint: the one that named it.
    whole_file_seen: True once a server sent the whole file where a range was asked for.
    """

    def __init__(self, folder: Path, file: RemoteFile, connections: int, *, alone: bool = False) -> None:
        self.file = file
        self.received = 0
        self.location: str | None = None
        self.endpoint: str | None = None
        self.whole_file_seen = False
        self._mutex = threading.Lock()
        self._closed = False
        self._partial = Partial(folder, file, in_memory=file.size <= SMALL, alone=alone)
        self._segments = Segments(file.size, connections)
        self._digest = RunningDigest(self._partial.path, file.algorithm, file.size)
        self._flusher = Flusher(self._partial, self._mutex) if file.size > FLUSH else None
        self.resumed = self._partial.ranges.size
        if self.resumed:
            self._digest.advance(self._partial.ranges.prefix)

    @property
    def size(self) -> int:
        """The bytes that are there."""
        return self._partial.ranges.size

    @property
    def complete(self) -> bool:
        """True if all bytes are there."""
        return self._partial.ranges.prefix >= self.file.size

    def has_work(self) -> bool:
        """True if one more worker would find a segment."""
        if not self._mutex.acquire(blocking=False):  # the scheduler asks, which must not wait for a disk
            return False
        try:
            return not self._closed and self._segments.has_work(self._partial.ranges)
        finally:
            self._mutex.release()

    def claim(self) -> Segment | None:
        """Return the next segment to bring, if there is one. Raises Transient after `close`."""
        with self._mutex:
            self._raise_if_closed()
            return self._segments.claim(self._partial.ranges)

    def release(self, segment: Segment) -> None:
        """Free the bytes that the segment's worker did not bring."""
        with self._mutex:
            self._segments.release(segment)

    def claim_whole_file(self, segment: Segment) -> bool:
        """Give the whole file to the segment's worker; return False where others bring parts of it."""
        with self._mutex:
            return self._segments.claim_whole_file(segment)

    def write(self, segment: Segment, offset: int, chunk: bytes) -> int:
        """Write bytes of the segment at their offset; return the number of new ones.

        Bytes beyond the segment's end are dropped: another worker brings them. Raises Transient after `close`, OSError.
        """
        with self._mutex:
            self._raise_if_closed()
            if self._flusher is not None:
                self._flusher.catch_up()
                self._raise_if_closed()
            new = self._partial.write(offset, chunk[: max(0, segment.end - offset)])
            self.received += new
            segment.at = max(segment.at, min(offset + len(chunk), segment.end))
            prefix = self._partial.ranges.prefix
        self._digest.advance(prefix)
        return new

    def digest(self) -> str:
        """Return the digest of the complete file. Raises OSError."""
        content = self._partial.content
        return self._digest.result() if content is None else digest_of_bytes(content, self.file.algorithm)

    def publish(self, blob: Path) -> None:
        """Turn the complete file into the blob. Raises Transient after `close`, OSError."""
        if self._flusher is not None:
            self._flusher.finish()
        with self._mutex:
            self._raise_if_closed()
            if self._flusher is not None and self._flusher.error is not None:
                raise self._flusher.error
            self._closed = True
            self._partial.publish(blob)

    def discard(self) -> None:
        """Delete all bytes: they are wrong."""
        self._digest.cancel()
        self._cancel_flusher()
        with self._mutex:
            self._closed = True
            self.received = 0
            self._partial.discard()

    def close(self) -> None:
        """Take no more bytes, and leave those that came to the next owner. Raises OSError."""
        self._digest.cancel()
        flushed = self._cancel_flusher()
        # A disk that keeps the lock has the bytes; its last journal entry is one to go on from.
        if flushed and self._mutex.acquire(timeout=_DISK_WAIT):
            try:
                self._closed = True
                self._partial.release()
            finally:
                self._mutex.release()
        self._closed = True

    def _cancel_flusher(self) -> bool:
        return self._flusher is None or self._flusher.cancel()

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise Transient(f"{self.file.path} was given up")
