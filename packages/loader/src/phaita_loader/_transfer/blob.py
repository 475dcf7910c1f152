"""The download of one blob into the cache: by one process at a time, until its digest is right."""

from __future__ import annotations

import enum
import errno
import threading
from collections.abc import Callable

from phaita_loader._cache.repo import RESTARTS
from phaita_loader._cache.stamps import write_stamp
from phaita_loader._classify import storage_failure
from phaita_loader._transfer.context import TransferContext
from phaita_loader._transfer.lock import BlobLock
from phaita_loader._transfer.workers import Workers
from phaita_loader._transfer.writer import BlobWriter
from phaita_loader.errors import Corrupt, StorageError
from phaita_loader.listing import SMALL, RemoteFile
from phaita_loader.progress import Resumed, Verified
from phaita_loader.retry import Transient

__all__ = ["BlobDownload", "Stage"]

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Stage(enum.Enum):
    """The stages of a blob's download. They follow in this order; CHECKING and RECEIVING may come several times."""

    STARTING = "takes the lock, which nobody else seems to have"
    LOCKED_OUT = "waits for another process that has the lock"
    CHECKING = "verifies the blob that is in the cache, if there is one"
    RECEIVING = "its workers bring bytes"
    DIGESTING = "all bytes are there; they are verified and become the blob"
    DONE = "the blob is in the cache"
    FAILED = "ended by an error or cancelled; what arrived stays for the next attempt"


_ENDED = frozenset({Stage.DONE, Stage.FAILED})
_NO_SERVER = frozenset({Stage.LOCKED_OUT, Stage.CHECKING, Stage.DIGESTING})


class BlobDownload:
    """The download of one file. `run` is the work of one thread, `spawn_extra` gives that of each further one.

    The scheduler's thread reads the properties and may `cancel` at any time. `error` is the cause of FAILED, and
    `on_change` is called when the scheduler should look again.
    """

    def __init__(
        self, file: RemoteFile, context: TransferContext, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.file = file
        self.error: Exception | None = None
        self._context = context
        self._on_change = on_change
        self._mutex = threading.Lock()
        self._ending = False
        self._stage = Stage.STARTING
        self._lock = BlobLock(file, context)
        self._workers: Workers | None = None

    @property
    def stage(self) -> Stage:
        """The present stage."""
        if self._stage is Stage.STARTING and self._lock.waiting:
            return Stage.LOCKED_OUT
        return self._stage

    @property
    def ended(self) -> bool:
        """True in the stages DONE and FAILED."""
        return self._stage in _ENDED

    @property
    def needs_no_server(self) -> bool:
        """True while it waits for another process, or for a digest of what is there."""
        return self.stage in _NO_SERVER

    @property
    def received(self) -> int:
        """The bytes that this attempt added to what was there."""
        return self._workers.writer.received if self._workers is not None else 0

    @property
    def connections(self) -> int:
        """The number of threads that bring it."""
        return self._workers.count if self._workers is not None else 1

    @property
    def answered(self) -> bool:
        """True if a server gave the first worker a body, or it has ended."""
        return self.ended or (self._workers is not None and self._workers.answered)

    def run(self) -> None:
        """Bring the blob into the cache; never raises, see `error`."""
        try:
            self._run()
        except Exception as error:
            self._end(error)
        else:
            self._end(None)

    def spawn_extra(self) -> Callable[[], None] | None:
        """Add a worker and return its work for a new thread, if there is work for it."""
        return None if self._workers is None else self._workers.spawn_extra()

    def reconnect(self) -> None:
        """Go on over new connections."""
        if self._workers is not None:
            self._workers.reconnect()

    def cancel(self, cause: str) -> None:
        """End it from another thread; what arrived stays for the next attempt."""
        self._end(Transient(cause))

    def cancel_stuck(self, now: float, limit: float) -> None:
        """Cancel the workers that have waited for a response for over `limit` seconds; all, if the first one has."""
        if self._workers is not None and self._workers.cancel_stuck(now, limit) and not self._ending:
            cause = f"no answer for {self.file.path} within {limit:g} s"
            # In a thread: the scheduler must not wait for a disk.
            threading.Thread(target=self.cancel, args=(cause,), daemon=True).start()

    def _run(self) -> None:
        if not self._lock.acquire():
            raise self._given_up()
        for restarts in range(RESTARTS):
            self._stage = Stage.CHECKING
            if self._context.cache.verify_blob(self.file, self._context.verify):
                return self._report_cached()
            try:
                # Locks may not work here (NFS), and another process may own the partial now; claiming it again could
                # go on for ever.
                return self._download(alone=restarts > 0)
            except FileNotFoundError:
                self._discard()  # another tool deleted the partial: start again from the first byte
                self._context.cache.prepare(self._context.commit)
        raise Transient(
            f"the partial file of {self.file.path} was deleted repeatedly by another program", final=StorageError
        )

    def _report_cached(self) -> None:
        """Tell the listener that another process brought the blob."""
        self._context.report(self.file, self.file.size)
        self._context.listen(Verified(self.file.path))

    def _download(self, *, alone: bool) -> None:
        workers = self._start_workers(alone=alone)
        self._stage = Stage.RECEIVING
        self._context.report(self.file, workers.writer.resumed)
        if workers.writer.resumed:
            self._context.listen(Resumed(self.file.path, workers.writer.resumed))
        workers.run()
        self._stage = Stage.DIGESTING
        self._publish(workers.writer)

    def _start_workers(self, *, alone: bool) -> Workers:
        context = self._context
        writer = BlobWriter(context.cache.ours, self.file, context.policy.connections, alone=alone)
        with self._mutex:
            if not self._ending:
                self._workers = Workers(writer, context, self._on_change, self._end)
                return self._workers
        writer.close()
        raise self._given_up()

    def _publish(self, writer: BlobWriter) -> None:
        # Digesting may take minutes, in which a cancel may come.
        digest = writer.digest()
        if self._ending:
            raise self._given_up()
        context = self._context
        context.reported.set(self.file, writer.size)
        if digest != self.file.digest:
            context.report(self.file, 0)
            writer.discard()
            context.hub.leave(writer.endpoint)
            cause = f"{self.file.path} arrived with a wrong {self.file.algorithm}"
            raise Transient(cause, final=Corrupt, creditable=False)
        blob = context.cache.blob(self.file)
        writer.publish(blob)
        # A small file is digested again sooner than its stamp is read.
        if self.file.size > SMALL:
            write_stamp(context.cache.stamp(self.file), blob, blob.stat())
        context.listen(Verified(self.file.path))

    def _discard(self) -> None:
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.cancel()
            self._context.reported.set(self.file, workers.writer.size)
            self._context.report(self.file, 0)
            workers.writer.discard()

    def _to_failure(self, error: Exception | None) -> Exception | None:
        """Return the error as the user is to see it."""
        if not isinstance(error, OSError):
            return error
        failure = storage_failure(error, self._context.cache.folder)
        if error.errno in _NO_SPACE and self._workers is not None:
            missing = (self.file.size - self._workers.writer.size) / 1e6
            failure.cause += f"; {missing:.1f} MB of {self.file.path} are still to come"
        return failure

    def _given_up(self) -> Transient:
        return Transient(f"{self.file.path} was given up")

    def _end(self, error: Exception | None) -> None:
        """End the download once: the first error is the cause, later ones are its consequences."""
        with self._mutex:
            if self._ending:
                return
            self._ending = True
            self.error = self._to_failure(error)
        try:
            if self._workers is not None:
                self._workers.cancel()
                self._workers.writer.close()
                self._context.reported.set(self.file, self._workers.writer.size)
        except OSError as failed:
            self.error = self.error or self._to_failure(failed)
        finally:
            self._lock.release()
            self._stage = Stage.DONE if self.error is None else Stage.FAILED
            self._on_change()
