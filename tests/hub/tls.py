"""https for both origins: a certificate authority that lasts as long as one running Hub."""

from __future__ import annotations

import ssl
from pathlib import Path
from tempfile import TemporaryDirectory

NAMES = {"hub": "hub.local.test", "cdn": "cdn.local.test"}
"""The name in each origin's certificate, beside 127.0.0.1; no DNS knows these names, a proxy may."""


class Authority:
    """Signs the origins' certificates; clients that trust `ca_file` trust them."""

    def __init__(self) -> None:
        import trustme  # on demand: a Hub without TLS does without it

        self._ca = trustme.CA()
        self._folder = TemporaryDirectory(prefix="local-hub-")
        self.ca_file = Path(self._folder.name) / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def context(self, origin: str) -> ssl.SSLContext:
        """Return the TLS context of an origin."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(NAMES[origin], "127.0.0.1").configure_cert(context)
        return context

    def close(self) -> None:
        """Remove the file."""
        self._folder.cleanup()
