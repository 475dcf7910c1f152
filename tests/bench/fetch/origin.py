"""A static origin as fast as the kernel: sendfile from the page cache, a thread a connection, in a process of its own.

`python -P origin.py FOLDER LOG` prints its port and serves until standard input ends. A path may begin with
`/rate=N` (bytes a second, for each connection), `/total=N` (bytes a second, for all connections together) and `/cut=N`
(every answer ends after N bytes of its body, whatever its Content-Length says); the query is ignored. Each answer
leaves a line with its body's length in LOG.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

_SLICE = 1 << 16
_SLACK = 0.05
_OPTION = re.compile(r"/(rate|total|cut)=(\d+)(?=/)")


class Origin:
    """`with Origin(folder, log) as origin:` serves the folder at `origin.url`."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.url = ""
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Origin:
        self._log.touch()
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(self.folder), str(self._log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()

    def show(self, source: Path, path: str) -> None:
        """Serve a file under this path too."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(source.absolute())

    def sent(self) -> list[int]:
        """Body bytes of each answer so far."""
        return [int(line) for line in self._log.read_text(encoding="ascii").split()]


class Line:
    """A line that carries so many bytes a second; idle time is lost, save for the last 50 ms (sleeps last longer)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._free = 0.0

    def wait(self, count: int, rate: int) -> float:
        """Seconds until so many bytes are through, behind those of others."""
        with self._lock:
            now = self._clock()
            self._free = max(self._free, now - _SLACK) + count / rate
            return max(0.0, self._free - now)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    root: Path
    log: Path
    line = Line()

    def do_GET(self) -> None:
        """The file, or the one range of it that is asked for."""
        options = {name: int(value) for name, value in _OPTION.findall(self.path)}
        with (self.root / _OPTION.sub("", self.path).partition("?")[0].lstrip("/")).open("rb") as file:
            start, stop = self._span(Path(file.name).stat().st_size)
            end = min(stop, start + options.get("cut", stop))
            with self.log.open("a", encoding="ascii") as log:  # before the client can be done
                log.write(f"{end - start}\n")
            self._send(file, start, end, options)
        self.close_connection |= end < stop

    def _span(self, size: int) -> tuple[int, int]:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(asked[1]), min(size, int(asked[2] or size) + 1)) if asked else (0, size)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        return start, stop

    def _send(self, file: BinaryIO, start: int, end: int, options: Mapping[str, int]) -> None:
        if not options.keys() & {"rate", "total"}:
            self.connection.sendfile(file, start, end - start)
            return
        own = Line()
        for offset in range(start, end, _SLICE):
            count = min(_SLICE, end - offset)
            self.connection.sendfile(file, offset, count)
            lines = {"rate": own, "total": self.line}
            time.sleep(max(line.wait(count, options[name]) for name, line in lines.items() if name in options))

    def log_message(self, *_: object) -> None:
        """Standard error stays silent."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close their connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main(folder: str, log: str) -> None:
    """Serve until standard input ends."""
    _Handler.root, _Handler.log = Path(folder), Path(log)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
