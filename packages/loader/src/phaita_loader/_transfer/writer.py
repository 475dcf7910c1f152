"""One file being put together: its partial file, its pieces, its digest and its record, behind one lock."""

from __future__ import annotations

import threading
from pathlib import Path

from phaita_loader._cache.digest import RunningDigest, digest_of_bytes
from phaita_loader._transfer.flusher import FLUSH, Recorder
from phaita_loader._transfer.partial import Partial
from phaita_loader._transfer.segments import Piece, Pieces
from phaita_loader.listing import SMALL, RemoteFile
from phaita_loader.retry import Transient

__all__ = ["Assembly"]

_PATIENCE = 0.2  # seconds that `close` waits for a write that a slow disk keeps


class Assembly:
    """One file's bytes as several connections bring them; every method may be called from any thread.

    `resumed`: bytes that earlier calls left; `received`: those that came since, until they prove to be wrong.
    `location`: the signed URL that serves at the moment, for all connections; `endpoint`: whose it is.
    `doubted`: a server sent all of it where a part was asked for, and was asked once more.
    """

    def __init__(self, folder: Path, file: RemoteFile, connections: int, *, alone: bool = False) -> None:
        self.file = file
        self.received = 0
        self.location: str | None = None
        self.endpoint: str | None = None
        self.doubted = False
        self._mutex = threading.Lock()
        self._closed = False
        self._partial = Partial(folder, file, in_memory=file.size <= SMALL, alone=alone)
        self._pieces = Pieces(file.size, connections)
        self._digest = RunningDigest(self._partial.path, file.algorithm, file.size)
        self._recorder = Recorder(self._partial, self._mutex) if file.size > FLUSH else None
        self.resumed = self._partial.size
        if self.resumed:
            self._digest.advance(self._partial.frontier)

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self._partial.size

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self._partial.frontier >= self.file.size

    def offers(self) -> bool:
        """Whether one more connection would find something to bring."""
        if not self._mutex.acquire(blocking=False):  # asked by the watcher, which waits for no disk
            return False
        try:
            return not self._closed and self._pieces.offers(self._partial.spans)
        finally:
            self._mutex.release()

    def take(self) -> Piece | None:
        """The next piece to bring."""
        with self._mutex:
            self._refuse_if_closed()
            return self._pieces.take(self._partial.spans)

    def give_back(self, piece: Piece) -> None:
        """The piece's connection ended; what it did not bring is free again."""
        with self._mutex:
            self._pieces.give_back(piece)

    def claim_all(self, piece: Piece) -> bool:
        """The piece's connection is sent the whole file; False where others bring parts of it already."""
        with self._mutex:
            return self._pieces.claim_all(piece)

    def keep(self, piece: Piece, offset: int, chunk: bytes) -> int:
        """Put bytes of the piece where they belong; how many of them are new. Raises Transient after `close`, OSError.

        What came beyond the piece's end is dropped: another connection brings it.
        """
        with self._mutex:
            self._refuse_if_closed()
            if self._recorder is not None:
                self._recorder.catch_up()
                self._refuse_if_closed()
            new = self._partial.write(offset, chunk[: max(0, piece.end - offset)])
            self.received += new
            piece.at = max(piece.at, min(offset + len(chunk), piece.end))
            frontier = self._partial.frontier
        self._digest.advance(frontier)
        return new

    def digest(self) -> str:
        """The digest of the complete file. Raises OSError."""
        content = self._partial.content
        return self._digest.result() if content is None else digest_of_bytes(content, self.file.algorithm)

    def publish(self, blob: Path) -> None:
        """The complete file becomes the blob. Raises Transient after `close`, OSError."""
        if self._recorder is not None:
            self._recorder.finish()
        with self._mutex:
            self._refuse_if_closed()
            if self._recorder is not None and self._recorder.error is not None:
                raise self._recorder.error
            self._closed = True
            self._partial.publish(blob)

    def discard(self) -> None:
        """Throw all bytes away: they are wrong."""
        self._digest.stop()
        self._stop_recorder()
        with self._mutex:
            self._closed = True
            self.received = 0
            self._partial.discard()

    def close(self) -> None:
        """Take no more bytes, and leave those that came to whoever comes next. Raises OSError."""
        self._digest.stop()
        recorded = self._stop_recorder()
        # A disk that keeps the lock has the bytes; its last record is one to go on from.
        if recorded and self._mutex.acquire(timeout=_PATIENCE):
            try:
                self._closed = True
                self._partial.release()
            finally:
                self._mutex.release()
        self._closed = True

    def _stop_recorder(self) -> bool:
        return self._recorder is None or self._recorder.stop()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Transient(f"{self.file.path} was given up")
