"""A forward proxy and a TLS front, as small as they can be."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.wires.support import RawServer, forward_to, pipe


class Proxy(ThreadingHTTPServer):
    """Forwards GETs and opens CONNECT tunnels for those who know the password (None: for all); `asked` is what came."""

    daemon_threads = True

    def __init__(self, password: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.expected = None if password is None else f"Basic {base64.b64encode(password.encode()).decode()}"
        self.asked: list[str] = []
        self.url = f"http://{'' if password is None else password + '@'}127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"
    timeout = 20

    def log_message(self, *_: object) -> None:
        pass

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.expected not in (None, self.headers.get("Proxy-Authorization")):
            self.close_connection = True
            self.send_error(407)
            return False
        return True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        upstream = http.client.HTTPConnection(parts.netloc, timeout=10)
        try:
            upstream.request("GET", parts._replace(scheme="", netloc="").geturl(), headers=headers)
            answer = upstream.getresponse()
            body = answer.read()
        finally:
            upstream.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response_only(200)
            self.end_headers()
            pipe(self.connection, upstream)
        self.close_connection = True


@contextmanager
def running(proxy: Proxy) -> Iterator[Proxy]:
    """Serve in a thread until the end of the block."""
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(10)


def tls_front(url: str, context: ssl.SSLContext) -> RawServer:
    """TLS in front of a plain origin."""
    forward: Callable[[socket.socket], None] = forward_to(url)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            server.connections.append(inner)  # it took the socket over: who hangs up must have it
            forward(inner)

    server = RawServer(talk)
    return server
