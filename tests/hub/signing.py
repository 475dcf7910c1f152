"""Signed, expiring URLs of the CDN: HMAC-SHA256 over path, file name and expiry."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

DISPOSITION = "response-content-disposition"
SIGNATURE_FIELDS = frozenset({"Expires", "Signature", "Key-Pair-Id"})


def sign(secret: bytes, path: str, disposition: str, expires: int) -> str:
    """Path and query of a URL that is good until `expires` (seconds since the epoch)."""
    signature = _signature(secret, path, disposition, str(expires))
    fields = {DISPOSITION: disposition, "Expires": expires, "Signature": signature, "Key-Pair-Id": "KLOCALHUB"}
    return f"{quote(path)}?{urlencode(fields)}"


def is_valid(secret: bytes, path: str, query: Mapping[str, str], now: float) -> bool:
    """True if the signature is ours and has not expired."""
    expires = query.get("Expires", "")
    expected = _signature(secret, path, query.get(DISPOSITION, ""), expires)
    same = hmac.compare_digest(expected.encode(), query.get("Signature", "").encode())
    return same and expires.isascii() and expires.isdigit() and now < int(expires)


def unsigned(query: str) -> str:
    """A query string, decoded, without the fields that make up a signature."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return "&".join(f"{name}={value}" for name, value in pairs if name not in SIGNATURE_FIELDS)


def _signature(secret: bytes, path: str, disposition: str, expires: str) -> str:
    return hmac.new(secret, f"{path}\n{disposition}\n{expires}".encode(), hashlib.sha256).hexdigest()
