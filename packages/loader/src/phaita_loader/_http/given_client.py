"""A client that the user gave huggingface_hub (httpx2's, or one like it), adapted to urllib3's responses."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from phaita_loader._http.client import Limits, Response
from phaita_loader._http.redact import redact_logger

__all__ = ["GivenClient"]

# These libraries log every URL at INFO or DEBUG.
for logger in ("httpx", "httpx2", "huggingface_hub.utils._http"):
    redact_logger(logger)
for library in ("httpcore", "httpcore2"):
    for protocol in ("http11", "http2"):
        redact_logger(f"{library}.{protocol}")


class GivenClient:
    """Makes GET requests on the user's client; its own redirects and time limits are not used."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, url: str, headers: Mapping[str, str], limits: Limits) -> Response:
        """Return the response to one GET with its body unread. Raises what the client raises."""
        # Such a client has a single read limit, for the first byte and for all others.
        seconds = (limits.connect, limits.stall, limits.stall, limits.connect)
        request = self._client.build_request("GET", url, headers=dict(headers), timeout=seconds)
        return _ClientResponse(self._client.send(request, stream=True, follow_redirects=False))


class _ClientResponse:
    def __init__(self, response: Any) -> None:
        self._response = response
        self._chunks: Iterator[bytes] = response.iter_raw()
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers

    def read1(self, amt: int, *, decode_content: bool) -> bytes:
        # An empty chunk would pass for the end of the body.
        return next((chunk for chunk in self._chunks if chunk), b"")

    def shutdown(self) -> None:
        # Closing the response from another thread would wait for its read to end.
        stream = self._response.extensions.get("network_stream")
        sock = stream.get_extra_info("socket") if stream is not None else None
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def drain_conn(self) -> None:
        with suppress(Exception):  # a body that can't be drained is closed
            for _ in self._chunks:
                pass
        self.close()

    def close(self) -> None:
        self._response.close()
