"""One seed for a list, another for each of its items: an item does not depend on what stands beside it."""

from __future__ import annotations

import hashlib
import secrets

__all__ = ["seeds"]


def seeds(seed: int | None, count: int) -> list[int]:
    """63-bit seeds of the first `count` items of a list; None draws anew each time, from the system's randomness."""
    root = secrets.randbits(63) if seed is None else seed
    digests = (hashlib.sha256(f"{root}/{index}".encode()).digest() for index in range(count))
    return [int.from_bytes(digest[:8], "big") >> 1 for digest in digests]
