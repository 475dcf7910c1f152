"""Load several models in one call: one deadline for all of them, and lists from which the first that loads is taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from phaita.models._encoder import cached_encoder
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

__all__ = ["Found", "Loading", "deadline_of"]

_LOG = logging.getLogger("phaita.utils._loading")  # logging configurations may name it so


@dataclass(frozen=True, slots=True)
class Found:
    """The first model of a list that loaded, and those before it that did not, each with the reason."""

    name: str
    loaded: Loaded
    passed_over: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Loading:
    """The policy, the Hub and the device for the models of one call, and the deadline of all of them."""

    policy: Policy
    hub: Hub
    device: str
    deadline: Deadline

    @classmethod
    def starting(cls, policy: Policy | None, hub: Hub | None, device: str) -> Loading:
        """Start the call: the policy's deadline counts from now."""
        policy = policy or Policy()
        return cls(policy, hub or Hub(), device, deadline_of(policy))

    def load(self, name: str, kind: str) -> Loaded:
        """Load a model and its tokenizer. Raises whatever `phaita_loader.load` raises."""
        request = ModelRequest(name, kind=kind, device=self.device)
        return load(request, hub=self.hub, policy=self.policy, deadline=self.deadline)

    def first_encoder(self, names: Sequence[str]) -> Found:
        """Load the first of the names that can be loaded, without a pooler; log each that is passed over.

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
        request = ModelRequest(name, device=self.device)
        # `fetch` would still start a request, and give it no time.
        if self.deadline.passed(SYSTEM.now()):
            raise DeadlineExceeded("the deadline came before this model's turn", request=request)
        snapshot = fetch(request, hub=self.hub, policy=self.policy, deadline=self.deadline)
        return cached_encoder(replace(request, revision=snapshot.commit), self.hub, self.policy, self.deadline)


def deadline_of(policy: Policy) -> Deadline:
    """Return the instant at which the policy's deadline comes, counted from now."""
    return Deadline.after(policy.deadline, SYSTEM.now())
