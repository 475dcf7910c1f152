"""Proxies and certificates: what the environment says is done, and a refusal of either is no reason to wait."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trustme
from huggingface_hub import close_session

from phaita_loader import AccessDenied, Backoff, Policy, Unreachable, fetch
from tests.support.forward_proxy import ForwardProxy
from tests.support.servers import RawServer, read_head, tls_front
from tests.support.socks_proxy import socks_proxy
from tests.wires.support import MIB, NAME, QUICK, Connect, Serve, assert_whole, bodies, repo

SLEEPY = Policy(attempts=3, timeout=100, connect=5, backoff=Backoff(first=60))
PASSWORD = "user:p%40ss"
needs_socks = pytest.mark.skipif(find_spec("socks") is None, reason="PySocks is not installed")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Set variables that huggingface_hub reads when it makes its client: it must make it anew, and forget it again."""

    def set_all(**values: Any) -> None:
        close_session()
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    yield set_all
    close_session()


@pytest.fixture
def proxy() -> Iterator[Any]:
    with ForwardProxy(live=True, plain=True, password="user:p@ss") as started:
        started.url = started.url.replace("p@ss", "p%40ss")
        yield started


@pytest.fixture(scope="module")
def authority() -> Any:
    return trustme.CA()


@pytest.fixture
def tls_hub(serve: Serve, authority: Any) -> Iterator[Any]:
    """A Hub behind TLS: (its https URL, the LocalHub, the CA's file)."""
    served = repo(MIB)
    hub = serve(served)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    with tls_front(hub.url, context) as front, tls_front(hub.cdn_url, context) as cdn:
        hub.public_cdn_url = cdn.url.replace("http:", "https:")
        yield front.url.replace("http:", "https:"), hub, served


@pytest.fixture
def ca_file(authority: Any, tmp_path: Path) -> Any:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def test_plain_requests_go_through_the_proxy_with_its_password(
    serve: Serve, client: Connect, proxy: ForwardProxy, environment: Callable[..., None]
) -> None:
    served = repo(MIB)
    hub = serve(served)
    environment(HTTP_PROXY=proxy.url)
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert len(proxy.asked) == len(hub.seen)
    assert bodies(hub)


def test_tls_goes_through_a_tunnel(
    client: Connect, proxy: ForwardProxy, environment: Callable[..., None], tls_hub: Any, ca_file: str
) -> None:
    url, hub, served = tls_hub
    environment(HTTPS_PROXY=proxy.url, SSL_CERT_FILE=ca_file)
    assert_whole(fetch(NAME, hub=client(url), policy=QUICK), served)
    assert {asked.split()[0] for asked in proxy.asked} == {"CONNECT"}
    assert {asked.split()[1] for asked in proxy.asked} == {
        url.removeprefix("https://"),
        hub.public_cdn_url.removeprefix("https://"),
    }


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_no_proxy_goes_around_it(
    serve: Serve, client: Connect, proxy: ForwardProxy, environment: Callable[..., None], variable: str
) -> None:
    served = repo(MIB)
    hub = serve(served)
    environment(HTTP_PROXY=proxy.url, **{variable: "example.org,127.0.0.1"})
    assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    assert not proxy.asked


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_is_permanent(
    client: Connect, proxy: ForwardProxy, environment: Callable[..., None], scheme: str
) -> None:
    environment(**{f"{scheme.upper()}_PROXY": proxy.url.replace("p%40ss", "wrong")})
    with pytest.raises(AccessDenied, match="proxy") as caught:
        fetch(NAME, hub=client(f"{scheme}://hub.invalid"), policy=SLEEPY)
    assert caught.value.attempts == ()
    assert len(proxy.asked) == 1
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize("proxy_url", ["nonsense://127.0.0.1", "socks9://127.0.0.1:1"])
def test_a_proxy_of_another_kind_is_permanent(
    serve: Serve, client: Connect, environment: Callable[..., None], proxy_url: str
) -> None:
    environment(HTTP_PROXY=proxy_url)
    with pytest.raises(Unreachable, match="proxy") as caught:
        fetch(NAME, hub=client(serve()), policy=SLEEPY)
    assert caught.value.attempts == ()


@pytest.mark.skipif(find_spec("socks") is not None, reason="PySocks is installed")
def test_a_socks_proxy_without_its_package_is_permanent(
    serve: Serve, client: Connect, environment: Callable[..., None]
) -> None:
    environment(ALL_PROXY="socks5h://127.0.0.1:1")
    with pytest.raises(Unreachable, match="PySocks") as caught:
        fetch(NAME, hub=client(serve()), policy=SLEEPY)
    assert caught.value.attempts == ()
    assert "pip install PySocks" in str(caught.value)


@needs_socks
@pytest.mark.parametrize("kind", ["socks5h", "SOCKS5", "socks"])
def test_a_socks_proxy(serve: Serve, client: Connect, environment: Callable[..., None], kind: str) -> None:
    served = repo(MIB)
    asked: list[tuple[str, int]] = []
    hub = serve(served)
    with socks_proxy(asked, ("user", "p@ss")) as proxy:
        environment(ALL_PROXY=f"{kind}://user:p%40ss@127.0.0.1:{proxy.port}")
        assert_whole(fetch(NAME, hub=client(hub), policy=QUICK), served)
    origins = {f"http://{host}:{port}" for host, port in asked}
    assert origins == {hub.url, hub.cdn_url}


@needs_socks
def test_names_are_looked_up_behind_a_socks_proxy(
    serve: Serve, client: Connect, environment: Callable[..., None]
) -> None:
    served = repo(MIB)
    asked: list[tuple[str, int]] = []
    hub = serve(served)
    hub.public_cdn_url = hub.cdn_url.replace("127.0.0.1", "cdn.invalid")
    with socks_proxy(asked, names={"hub.invalid": "127.0.0.1", "cdn.invalid": "127.0.0.1"}) as proxy:
        environment(ALL_PROXY=f"socks5h://127.0.0.1:{proxy.port}")
        snapshot = fetch(NAME, hub=client(hub.url.replace("127.0.0.1", "hub.invalid")), policy=QUICK)
    assert_whole(snapshot, served)
    assert {host for host, _ in asked} == {"hub.invalid", "cdn.invalid"}


@needs_socks
@pytest.mark.parametrize("user", ["user:wrong@", ""])
def test_a_socks_proxy_that_refuses_or_is_gone(
    serve: Serve, client: Connect, environment: Callable[..., None], user: str
) -> None:
    with socks_proxy([], ("user", "p@ss")) as proxy:
        environment(ALL_PROXY=f"socks5h://{user}127.0.0.1:{proxy.port}")
        with pytest.raises(Unreachable, match="proxy") as caught:
            fetch(NAME, hub=client(serve()), policy=QUICK)
        assert "wrong" not in str(caught.value)
    with pytest.raises(Unreachable, match="proxy"):
        fetch(NAME, hub=client(serve()), policy=QUICK)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_dead_proxy_is_worth_another_attempt(client: Connect, environment: Callable[..., None], scheme: str) -> None:
    """And it is the proxy that is told of, though the other scheme's may be alive."""
    with ForwardProxy(live=True, plain=True) as gone:
        pass
    environment(**{f"{scheme.upper()}_PROXY": gone.url})
    with pytest.raises(Unreachable, match=r"the proxy .* can't be reached") as caught:
        fetch(NAME, hub=client(f"{scheme}://hub.invalid"), policy=QUICK)
    assert len(caught.value.attempts) == QUICK.attempts
    assert "PROXY" in str(caught.value)


def test_a_proxy_that_reaches_nothing(client: Connect, environment: Callable[..., None]) -> None:
    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>")

    with RawServer(refuse) as proxy:
        environment(HTTPS_PROXY=proxy.url)
        with pytest.raises(Unreachable, match=r"the proxy does not reach hub\.invalid"):
            fetch(NAME, hub=client("https://hub.invalid"), policy=QUICK)


def test_an_untrusted_certificate_is_permanent(client: Connect, environment: Callable[..., None], tls_hub: Any) -> None:
    environment()
    with pytest.raises(Unreachable, match="not trusted") as caught:
        fetch(NAME, hub=client(tls_hub[0]), policy=SLEEPY)
    assert caught.value.attempts == ()
    assert "SSL_CERT_FILE" in str(caught.value)


def test_an_untrusted_certificate_of_the_cdn_is_permanent(
    serve: Serve, client: Connect, environment: Callable[..., None], tls_hub: Any
) -> None:
    environment()
    plain = serve(repo(MIB))
    plain.public_cdn_url = tls_hub[1].public_cdn_url
    with pytest.raises(Unreachable, match="not trusted") as caught:
        fetch(NAME, hub=client(plain), policy=SLEEPY)
    assert caught.value.attempts == ()


def test_ssl_cert_file_makes_it_trusted(
    client: Connect, environment: Callable[..., None], tls_hub: Any, ca_file: str
) -> None:
    url, _, served = tls_hub
    environment(SSL_CERT_FILE=ca_file)
    assert_whole(fetch(NAME, hub=client(url), policy=QUICK), served)


def test_a_missing_ca_file_is_permanent(
    client: Connect, environment: Callable[..., None], tls_hub: Any, tmp_path: Path
) -> None:
    environment(SSL_CERT_FILE=str(tmp_path / "none.pem"))
    with pytest.raises(Unreachable, match="CA file") as caught:
        fetch(NAME, hub=client(tls_hub[0]), policy=SLEEPY)
    assert caught.value.attempts == ()


def test_a_tls_hub_does_not_send_its_client_to_a_plain_one(
    serve: Serve, client: Connect, environment: Callable[..., None], tls_hub: Any, ca_file: str
) -> None:
    url, hub, _ = tls_hub
    environment(SSL_CERT_FILE=ca_file)
    hub.public_cdn_url = hub.cdn_url
    with pytest.raises(Unreachable, match="trusted"):
        fetch(NAME, hub=client(url), policy=QUICK)
    assert not bodies(hub)
