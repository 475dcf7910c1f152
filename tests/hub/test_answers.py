"""Each kind of Answer does what it says, over http and over https."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest
import urllib3
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub import Answer, LocalHub
from tests.hub.conftest import PLAIN_AND_TLS, WEIGHTS, Client, connect_to

pytestmark = PLAIN_AND_TLS

INFO = "/api/models/org/name"


def test_a_burst_of_errors_ends(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(on="hub", status=503, times=2, body="busy", headers={"X-Why": "test"}))
    answers = [client.get(hub.url + INFO) for _ in range(3)]
    assert [answer.status for answer in answers] == [503, 503, 200]
    assert (answers[0].data, answers[0].headers["X-Why"]) == (b"busy", "test")
    assert [seen.status for seen in hub.seen] == [503, 503, 200]


def test_for_ever_until_cleared(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(status=500, times=None))
    assert {client.get(hub.url + INFO).status for _ in range(5)} == {500}
    hub.clear()
    assert client.get(hub.url + INFO).status == 200
    assert len(hub.seen) == 1


def test_retry_after_in_seconds_as_a_date_and_as_rate_limit(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(status=429, retry_after=7))
    hub.answer(Answer(status=429, retry_date=90))
    hub.answer(Answer(status=429, headers={"RateLimit": '"api";r=0;t=55'}))
    seconds, date, limit = (client.get(hub.url + INFO).headers for _ in range(3))
    assert seconds["Retry-After"] == "7"
    assert 80 < parsedate_to_datetime(date["Retry-After"]).timestamp() - time.time() <= 91
    assert limit["RateLimit"] == '"api";r=0;t=55'


def test_the_real_client_reads_the_rate_limit(hub: LocalHub) -> None:
    hub.answer(Answer(on="hub", status=429, headers={"RateLimit": '"api";r=0;t=55'}))
    with pytest.raises(HfHubHTTPError, match="Retry after 55 seconds"):
        HfApi(endpoint=hub.url, token=False).model_info("org/name")


def test_origin_match_method_and_skip_select(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(on="cdn", status=500, times=None))
    hub.answer(Answer(on="hub", match=r"blobs=true", status=501))
    hub.answer(Answer(method="head", match=r"\.json$|\.json\?", status=502))
    hub.answer(Answer(match="/tree/", skip=1, status=504))
    file = f"{hub.url}/org/name/resolve/main/config.json"
    assert client.get(hub.url + INFO).status == 200
    assert client.get(client.signed(hub)).status == 500
    assert client.get(f"{hub.url}{INFO}?blobs=true").status == 501
    assert [client.get(file).status, client.head(file).status, client.head(file).status] == [307, 502, 307]
    assert [client.get(f"{hub.url}{INFO}/tree/main").status for _ in range(3)] == [200, 504, 200]


def test_ranges_ignored(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", ignore_range=True))
    assert client.get(signed).status == 200
    whole = client.get(signed, {"Range": "bytes=10-19"})
    assert (whole.status, len(whole.data), hub.seen[-1].range) == (200, len(WEIGHTS), "bytes=10-19")
    assert client.get(signed, {"Range": "bytes=10-19"}).status == 206


def test_an_expired_url(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(expired=True))
    assert client.get(hub.url + INFO).status == 200
    late = client.get(signed)
    assert (late.status, b"AccessDenied" in late.data) == (403, True)
    assert client.get(client.signed(hub)).status == 200


def test_ranged_leaves_plain_requests_alone(hub: LocalHub, client: Client) -> None:
    signed = client.signed(hub)
    hub.answer(Answer(on="cdn", status=416, ranged=True, headers={"Content-Range": "bytes */5"}))
    assert client.get(signed).status == 200
    refused = client.get(signed, {"Range": "bytes=10-19"})
    assert (refused.status, refused.headers["Content-Range"]) == (416, "bytes */5")
    assert client.get(signed, {"Range": "bytes=10-19"}).status == 206


def test_a_connection_that_closes_before_the_answer(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(match="/api/", close_before_answer=True))
    with pytest.raises(urllib3.exceptions.ProtocolError, match="RemoteDisconnected"):
        client.get(hub.url + INFO)
    assert [(seen.status, seen.bytes_sent) for seen in hub.seen] == [(0, 0)]
    assert client.get(hub.url + INFO).status == 200


def test_headers_come_slowly_and_whole(hub: LocalHub, client: Client) -> None:
    honest = client.get(hub.url + INFO)
    hub.answer(Answer(slow_headers=100_000, times=2))
    slow = client.get(hub.url + INFO)
    assert (slow.status, slow.data, hub.seen[1].bytes_sent) == (200, honest.data, len(honest.data))
    assert (slow.headers["Content-Type"], slow.headers["Connection"]) == ("application/json", "close")
    assert client.head(hub.url + INFO).headers["Content-Length"] == str(len(honest.data))


def test_headers_so_slow_that_nobody_waits(hub: LocalHub) -> None:
    hub.answer(Answer(slow_headers=1))
    with connect_to(hub) as sock:
        sock.sendall(f"GET {INFO} HTTP/1.1\r\nHost: hub\r\n\r\n".encode())
        assert (sock.recv(100), hub.seen[0].bytes_sent) == (b"H", 0)


def test_seen_tells_connections_apart(hub: LocalHub, client: Client) -> None:
    for _ in range(2):
        client.get(hub.url + INFO)
    client.pool.clear()
    client.get(hub.url + INFO)
    one, same, other = (seen.connection for seen in hub.seen)
    assert one == same != other


@pytest.mark.parametrize("origin", ["url", "cdn_url"])
def test_a_captive_portal(hub: LocalHub, client: Client, origin: str) -> None:
    hub.answer(Answer(portal=200))
    hub.answer(Answer(portal=302))
    page = client.get(f"{getattr(hub, origin)}/repos/org/name/anything")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.data.startswith(b"<!DOCTYPE html>")
    moved = client.get(f"{getattr(hub, origin)}/repos/org/name/anything")
    assert moved.status == 302
    assert client.get(moved.headers["Location"]).data == page.data


def test_an_answer_that_comes_late(hub: LocalHub, client: Client) -> None:
    hub.answer(Answer(delay=30.0))
    with pytest.raises(urllib3.exceptions.ReadTimeoutError):
        client.pool.request("GET", hub.url + INFO, retries=False, timeout=0.5)
    assert hub.seen[0].status == 0
    hub.answer(Answer(delay=0.01))
    assert client.get(hub.url + INFO).status == 200
