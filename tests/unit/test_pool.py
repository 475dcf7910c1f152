from __future__ import annotations

import logging

import httpx2
import pytest

import phaita_loader.hub  # noqa: F401 - importing it is what guards the log

LINE = '%s://%s:%s "%s %s %s" %s %s'


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/blob?Expires=1&Signature=5ec2e7&Key-Pair-Id=K", "/blob?..."),
        ("/blob?X-Amz-Credential=a&X-Amz-Signature=5ec2e7", "/blob?..."),
        ("/api/models/gpt2?blobs=true", "/api/models/gpt2?blobs=true"),
    ],
)
def test_debug_lines_show_no_signature(caplog: pytest.LogCaptureFixture, url: str, shown: str) -> None:
    with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
        logger = logging.getLogger("urllib3.connectionpool")
        logger.debug(LINE, "https", "cdn.test", 443, "GET", url, "HTTP/1.1", 206, 10)
    assert f'"GET {shown} HTTP/1.1"' in caplog.text
    assert "5ec2e7" not in caplog.text


def test_lines_of_a_given_client_show_none_either(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "httpx2"):
        url = httpx2.URL("https://cdn.test/blob?Expires=1&Signature=5ec2e7")
        logging.getLogger("httpx2").info('HTTP Request: %s %s "%s %d %s"', "GET", url, "HTTP/1.1", 206, "OK")
    assert 'GET https://cdn.test/blob?... "HTTP/1.1 206 OK"' in caplog.text


MADE_BEFORE = [
    (
        "huggingface_hub.utils._http",
        "Request 1: GET https://cdn.test/blob?Signature=5ec2e7 (authenticated: False)",
    ),
    (
        "httpcore2.http11",
        "receive_response_headers.complete [(b'Location', b'https://cdn.test/blob?Signature=5ec2e7')]",
    ),
]


@pytest.mark.parametrize(("name", "line"), MADE_BEFORE)
def test_lines_that_are_made_before_they_are_logged_show_none(
    caplog: pytest.LogCaptureFixture, name: str, line: str
) -> None:
    with caplog.at_level(logging.DEBUG, name):
        logging.getLogger(name).debug(line)
    assert "cdn.test/blob?..." in caplog.text
    assert "5ec2e7" not in caplog.text
