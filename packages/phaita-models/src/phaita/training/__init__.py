"""How the discriminator learns, and how well it does beside simpler methods. Not a medical device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phaita.training._texts import Encodings
    from phaita.training.train import train_discriminator

__all__ = ["Encodings", "train_discriminator"]


def __getattr__(name: str) -> Any:
    # torch is imported for who trains, not for who draws complaints.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from phaita.training import train

    return getattr(train, name)
