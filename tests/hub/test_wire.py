"""The HTTP of the local Hub: redirects, headers, ranges, signatures, malformed requests."""

from __future__ import annotations

import socket
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.hub import Commit, LocalHub, Repo
from tests.hub.address import parse_api
from tests.hub.conftest import GATED, PUBLIC, WEIGHTS, Client

MAIN = PUBLIC.shas[1]
SHA256 = PUBLIC.files()["model.safetensors"].sha256


@pytest.mark.parametrize("method", ["head", "get"])
def test_a_small_file_is_behind_a_relative_redirect(hub: LocalHub, client: Client, method: str) -> None:
    answer = getattr(client, method)(f"{hub.url}/org/name/resolve/main/config.json")
    assert (answer.status, answer.headers["X-Repo-Commit"]) == (307, MAIN)
    location = answer.headers["Location"]
    assert location.startswith(f"/api/resolve-cache/models/org/name/{MAIN}/config.json?")
    assert "X-Xet-Hash" not in answer.headers
    body = client.get(hub.url + location)
    assert (body.status, body.data) == (200, b'{"a": 1}')
    assert body.headers["ETag"] == f'"{PUBLIC.files()["config.json"].oid}"'
    assert (body.headers["X-Repo-Commit"], body.headers["Accept-Ranges"]) == (MAIN, "bytes")


@pytest.mark.parametrize("method", ["head", "get"])
def test_a_large_file_is_behind_a_signed_url(hub: LocalHub, client: Client, method: str) -> None:
    answer = getattr(client, method)(f"{hub.url}/org/name/resolve/main/model.safetensors")
    assert (answer.status, answer.headers["X-Repo-Commit"]) == (302, MAIN)
    assert answer.headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert answer.headers["X-Linked-ETag"] == f'"{SHA256}"'
    location = urlsplit(answer.headers["Location"])
    assert f"{location.scheme}://{location.netloc}" == hub.cdn_url
    assert {"Expires", "Signature"} <= set(parse_qs(location.query))
    body = client.get(answer.headers["Location"])
    assert (body.status, body.data == WEIGHTS, body.headers["Accept-Ranges"]) == (200, True, "bytes")
    assert body.headers["ETag"] not in (f'"{SHA256}"', None)


def test_head_on_the_cdn_has_no_body(hub: LocalHub, client: Client) -> None:
    answer = client.head(client.signed(hub))
    assert (answer.status, answer.headers["Content-Length"], answer.data) == (200, str(len(WEIGHTS)), b"")
    assert hub.seen[-1].bytes_sent == 0


def test_the_public_cdn_url_is_what_locations_name(hub: LocalHub, client: Client) -> None:
    hub.public_cdn_url = "http://127.0.0.1:9/"
    signed = client.signed(hub)
    assert signed.startswith("http://127.0.0.1:9/repos/")
    assert client.get(signed.replace("http://127.0.0.1:9", hub.cdn_url)).status == 200


SIZE = len(WEIGHTS)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, SIZE),
        ("bytes=10-19", 10, 20),
        ("bytes=-4", SIZE - 4, SIZE),
        (f"bytes=7-{SIZE * 2}", 7, SIZE),
        (f"bytes=-{SIZE * 2}", 0, SIZE),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
    ],
)
def test_one_range(hub: LocalHub, client: Client, asked: str, start: int, stop: int) -> None:
    answer = client.get(client.signed(hub), {"Range": asked})
    assert (answer.status, answer.data == WEIGHTS[start:stop]) == (206, True)
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert (hub.seen[-1].range, hub.seen[-1].bytes_sent) == (asked, stop - start)


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=9-1", "bytes=-", "lines=1-2", "bytes=a-b", "bytes 1-2"])
def test_what_is_no_single_range_gets_the_whole_file(hub: LocalHub, client: Client, asked: str) -> None:
    answer = client.get(client.signed(hub), {"Range": asked})
    assert (answer.status, len(answer.data)) == (200, SIZE)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=-0", f"bytes={SIZE + 5}-{SIZE + 9}"])
def test_a_range_behind_the_end(hub: LocalHub, client: Client, asked: str) -> None:
    answer = client.get(client.signed(hub), {"Range": asked})
    assert (answer.status, answer.headers["Content-Range"], answer.data) == (416, f"bytes */{SIZE}", b"")


def test_if_range_and_if_none_match(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    etag = client.head(signed).headers["ETag"]
    assert client.get(signed, {"Range": "bytes=1-2", "If-Range": etag}).status == 206
    assert client.get(signed, {"Range": "bytes=1-2", "If-Range": '"else"'}).status == 200
    assert client.get(signed, {"If-None-Match": etag}).status == 304


def test_small_files_have_ranges_too(hub: LocalHub, client: Client) -> None:
    url = f"{hub.url}/api/resolve-cache/models/org/name/{MAIN}/config.json"
    answer = client.get(url, {"Range": "bytes=1-3"})
    assert (answer.status, answer.data) == (206, b'"a"')


def test_a_signature_holds_for_one_file_until_it_expires(client: Client) -> None:
    now = [1_000_000.0]
    with LocalHub([PUBLIC], expires_in=60, clock=lambda: now[0]) as hub:
        signed = client.signed(hub)
        now[0] += 59
        assert client.get(signed).status == 200
        now[0] += 1
        late = client.get(signed)
        assert (late.status, b"AccessDenied" in late.data) == (403, True)
        fresh = client.signed(hub)
        forged = [
            fresh.replace("Expires=1", "Expires=2"),
            fresh.replace("model.safetensors", "x"),
            fresh.replace("Signature=", "Signature=0"),
        ]
        assert [client.get(url).status for url in [*forged, fresh.split("?")[0]]] == [403] * 4
        assert client.get(fresh).status == 200


def test_seen_has_no_signature(hub: LocalHub, client: Client) -> None:
    client.get(client.signed(hub), {"Authorization": "Bearer hf_good"})
    head, body = hub.seen
    assert (head.origin, head.method, head.path) == ("hub", "HEAD", "/org/name/resolve/main/model.safetensors")
    assert (body.origin, body.path, body.authorised) == ("cdn", f"/repos/org/name/{SHA256}", True)
    assert "model.safetensors" in body.query
    assert "Signature" not in repr(hub.seen)
    assert "hf_good" not in repr(hub.seen)


def test_gated_small_files_cannot_be_had_by_their_cache_url(hub: LocalHub, client: Client) -> None:
    answer = client.get(f"{hub.url}/api/resolve-cache/models/org/gated/{GATED.shas[0]}/config.json")
    assert (answer.status, answer.headers["X-Error-Code"]) == (401, "GatedRepo")


def test_the_cache_url_knows_commits_only(hub: LocalHub, client: Client) -> None:
    assert client.get(f"{hub.url}/api/resolve-cache/models/org/name/main/config.json").status == 400


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/org/none/resolve/main/config.json", 401, "RepoNotFound"),
        ("/org/name/resolve/v9/config.json", 404, "RevisionNotFound"),
        ("/org/name/resolve/main/nil.json", 404, "EntryNotFound"),
        ("/org/name/resolve/main/../../etc/passwd", 404, None),
        ("/org/name/resolve/main/%2e%2e/%2e%2e/etc/passwd", 404, "EntryNotFound"),
        ("/org/name/resolve/main/%ff%00%0d%0a", 404, "EntryNotFound"),
        ("/org/name/resolve/%0d%0aX-Evil:1/config.json", 404, None),
        ("/org/name/resolve/main", 404, None),
        ("/org/name/resolve/main/", 404, "EntryNotFound"),
        ("/", 404, None),
        ("/api/models/", 401, "RepoNotFound"),
        ("/api/models/a/b/c/d/e", 404, None),
        ("/api/models/org/name/tree/main/nil", 404, "EntryNotFound"),
        ("/api/models/org/name/tree/main?cursor=x", 400, None),
        ("/api/models/org/name/tree/main?limit=0", 400, None),
        ("/api/models/org/name/paths-info/main", 404, None),
        ("/api/datasets/org/name", 404, None),
        ("/api/resolve-cache/models/org/name", 404, None),
    ],
)
def test_wrong_urls_get_proper_refusals(
    hub: LocalHub, client: Client, path: str, status: int, code: str | None
) -> None:
    answer = client.get(hub.url + path)
    assert (answer.status, answer.headers.get("X-Error-Code")) == (status, code)
    assert "X-Evil" not in answer.headers


def test_refused_bodies_and_methods(hub: LocalHub, client: Client) -> None:
    url = f"{hub.url}/api/models/org/name/paths-info/main"
    json = {"Content-Type": "application/json"}
    for body in (b"{", b"[]", b'{"paths": 1}'):
        assert client.pool.request("POST", url, body=body, headers=json).status == 400
    found = client.pool.request("POST", url, body=b'{"paths": ["config.json"]}', headers=json).json()
    assert [entry["path"] for entry in found] == ["config.json"]
    assert client.pool.request("POST", f"{hub.url}/api/models/org/name", body=b"").status == 404
    assert client.pool.request("DELETE", url).status == 405
    assert client.pool.request("PUT", hub.cdn_url, body=b"").status == 404


def test_bytes_that_are_no_http(hub: LocalHub) -> None:
    port = urlsplit(hub.url).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=20) as sock:
        sock.sendall(b"\x16\x03\x01\x00\xff not http \r\n\r\n")
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 400")


def test_next_links_follow_the_host_header(client: Client) -> None:
    repo = Repo("org/long", [Commit({f"{i}.txt": b"" for i in range(3)})])
    with LocalHub([repo]) as hub:
        answer = client.get(f"{hub.url}/api/models/org/long/tree/main?limit=2", {"Host": "proxy.test:8080"})
    assert answer.headers["Link"] == (
        '<http://proxy.test:8080/api/models/org/long/tree/main?limit=2&cursor=2>; rel="next"'
    )


def test_an_organisation_may_have_a_repo_called_refs() -> None:
    assert parse_api("/api/models/org/refs", {"org/refs"}).repo_id == "org/refs"  # type: ignore[union-attr]  # None fails the test as it should
    assert parse_api("/api/models/gpt2/refs", {"gpt2"}).verb == "refs"  # type: ignore[union-attr]  # None fails the test as it should
    assert parse_api("/api/models/gpt2/tree/main/a/b", set()).path == "a/b"  # type: ignore[union-attr]  # None fails the test as it should
