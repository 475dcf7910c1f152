"""Training of the discriminator and its evaluation against simpler methods. Not a medical device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phaita.training._texts import Encodings
    from phaita.training.train import train_discriminator

__all__ = ["Encodings", "train_discriminator"]


def __getattr__(name: str) -> Any:
    # Drawing complaints (phaita.training.complaints) needs no torch, whose import takes seconds.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from phaita.training import train

    return getattr(train, name)
