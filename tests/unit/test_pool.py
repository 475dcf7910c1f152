from __future__ import annotations

import logging

import pytest

import phaita_loader._pool  # noqa: F401 - importing it is what guards the log

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
