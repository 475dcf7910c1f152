"""Both origins over TLS: real clients trust the Hub's own authority, and nobody else does."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
from huggingface_hub import HfApi, close_session, snapshot_download

from phaita_loader import Hub, fetch
from tests.hub import NAMES, LocalHub
from tests.hub.conftest import GATED, PUBLIC, SECOND, connect

Trust = Callable[[Path], None]


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trust]:
    """Let the clients of this process trust an authority: they read the variable once."""

    def trusted(ca_file: Path) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
        close_session()

    yield trusted
    close_session()


@pytest.fixture(scope="module")
def secure() -> Iterator[LocalHub]:
    with LocalHub([PUBLIC, GATED], tokens={"hf_good": {"org/gated"}}, tls=True) as hub:
        yield hub


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_real_client(secure: LocalHub, trust: Trust, tmp_path: Path) -> None:
    trust(secure.ca_file)
    folder = snapshot_download("org/gated", endpoint=secure.url, cache_dir=tmp_path, token="hf_good")
    assert contents(Path(folder)) == SECOND.files
    assert {seen.authorised for seen in secure.seen if seen.origin == "cdn"} == {False}


def test_the_loader(secure: LocalHub, trust: Trust, tmp_path: Path) -> None:
    trust(secure.ca_file)
    snapshot = fetch("org/name", hub=Hub(secure.url, token=False, cache_dir=tmp_path))
    assert contents(snapshot.path) == {file.path: SECOND.files[file.path] for file in snapshot.files}
    assert "model.safetensors" in contents(snapshot.path)


def test_every_url_is_https(secure: LocalHub, trust: Trust) -> None:
    trust(secure.ca_file)
    assert {urlsplit(url).scheme for url in (secure.url, secure.cdn_url, secure.public_cdn_url)} == {"https"}
    with urllib3.PoolManager(ca_certs=str(secure.ca_file)) as pool:
        page = pool.request("GET", f"{secure.url}/api/models/org/name/tree/main?limit=2")
        head = pool.request("HEAD", f"{secure.url}/org/name/resolve/main/model.safetensors", redirect=False)
    assert page.headers["Link"].startswith(f"<{secure.url}/api/")
    assert head.headers["Location"].startswith(f"{secure.cdn_url}/repos/")


def test_nobody_trusts_it_by_themselves(secure: LocalHub) -> None:
    close_session()
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        HfApi(endpoint=secure.url, token=False).model_info("org/name")


@pytest.mark.parametrize(("origin", "other"), [("hub", "cdn"), ("cdn", "hub")])
def test_each_origin_has_a_name_of_its_own(secure: LocalHub, origin: str, other: str) -> None:
    context = ssl.create_default_context(cafile=secure.ca_file)
    for name, trusted in ((NAMES[origin], True), (NAMES[other], False)):
        with connect(secure.addresses[NAMES[origin]]) as sock:
            if trusted:
                context.wrap_socket(sock, server_hostname=name).close()
                continue
            with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
                context.wrap_socket(sock, server_hostname=name)


def test_a_client_that_speaks_no_tls_is_left_alone(secure: LocalHub) -> None:
    with connect(secure.addresses[NAMES["hub"]]) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert sock.recv(1000) == b""


def test_the_ca_file_goes_with_the_hub() -> None:
    local = LocalHub(tls=True)
    for _ in range(2):
        with local as hub:
            kept = hub.ca_file
            assert kept.read_text().startswith("-----BEGIN CERTIFICATE-----")
        assert not kept.exists()
    with LocalHub() as plain, pytest.raises(RuntimeError, match="tls=True"):
        plain.ca_file  # noqa: B018 (the look is what raises)
