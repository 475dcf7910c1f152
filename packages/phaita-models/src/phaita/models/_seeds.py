"""Derive one seed per item of a list from one seed, so that an item does not depend on the others."""

from __future__ import annotations

import hashlib
import secrets

__all__ = ["item_seeds"]


def item_seeds(seed: int | None, count: int) -> list[int]:
    """Return 63-bit seeds for `count` items; with seed None they are new each time, from the system's randomness."""
    root = secrets.randbits(63) if seed is None else seed
    digests = (hashlib.sha256(f"{root}/{index}".encode()).digest() for index in range(count))
    # 63 bits fit the signed 64-bit integers of torch.
    return [int.from_bytes(digest[:8], "big") >> 1 for digest in digests]
