"""Several models in one call: one deadline for all of them, and a list of which the first that loads will do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from phaita.utils._encoder import cached_encoder
from phaita_loader import (
    DeadlineExceeded,
    Hub,
    InitialisationError,
    Loaded,
    LoaderError,
    ModelDownloadError,
    ModelRequest,
    Policy,
    fetch,
    load,
)
from phaita_loader.policy import Deadline
from phaita_loader.retry import SYSTEM

__all__ = ["Found", "Loading"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """The model of a list that loaded, and those before it that did not, each with the reason."""

    name: str
    loaded: Loaded
    passed_over: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Loading:
    """How the models of one call are loaded, and until when; `starting` now gives the policy's deadline to them all."""

    policy: Policy
    hub: Hub | None
    device: str
    deadline: Deadline

    @classmethod
    def starting(cls, policy: Policy | None, hub: Hub | None, device: str) -> Loading:
        """The deadline counts from here."""
        patience = policy or Policy()
        return cls(patience, hub, device, Deadline.after(patience.deadline, SYSTEM.now()))

    def load(self, name: str, kind: str) -> Loaded:
        """Model and tokenizer. Raises what `phaita_loader.load` raises."""
        request = ModelRequest(name, kind=kind, device=self.device)
        return load(request, hub=self.hub, policy=self._left(request))

    def first_encoder(self, names: Sequence[str]) -> Found:
        """The first of the names that loads, without a pooler; each passed over is logged.

        Raises the first name's error when none loads, DeadlineExceeded at once, ValueError for no name at all.
        """
        failed: dict[str, LoaderError] = {}
        for name in names:
            try:
                loaded = self._encoder(name)
                # Words, not errors: an error holds on to whatever the load had built when it failed.
                return Found(name, loaded, {other: str(error) for other, error in failed.items()})
            except DeadlineExceeded:
                raise
            except (ModelDownloadError, InitialisationError) as error:
                _LOG.warning("%s is passed over: %s", name, error.cause)
                failed[name] = error
        if not failed:
            raise ValueError("name at least one model")
        raise next(iter(failed.values()))

    def _encoder(self, name: str) -> Loaded:
        request, hub = ModelRequest(name, device=self.device), self.hub or Hub()
        pinned = replace(request, revision=fetch(request, hub=hub, policy=self._left(request)).commit)
        return cached_encoder(pinned, hub, self._left(request))

    def _left(self, request: ModelRequest) -> Policy:
        if self.policy.deadline is None:
            return self.policy
        if self.deadline.passed(SYSTEM.now()):
            raise DeadlineExceeded("the deadline came before this model's turn", request=request)
        return replace(self.policy, deadline=self.deadline.remaining(SYSTEM.now()))
