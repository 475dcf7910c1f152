"""Load several models under one deadline, and the first that loads from a list of names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from phaita.models._encoder import load_cached_encoder
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

__all__ = ["FirstLoaded", "LoadContext", "deadline_of"]

_LOG = logging.getLogger("phaita.utils._loading")  # logging configurations may name it so


@dataclass(frozen=True, slots=True)
class FirstLoaded:
    """The first model of a list that loaded, and the reasons why earlier ones did not, by name."""

    name: str
    loaded: Loaded
    passed_over: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoadContext:
    """The policy, the Hub, the device and the shared deadline for the models of one call."""

    policy: Policy
    hub: Hub
    device: str
    deadline: Deadline

    @classmethod
    def start(cls, policy: Policy | None, hub: Hub | None, device: str) -> LoadContext:
        """Return a context whose deadline counts from now."""
        policy = policy or Policy()
        return cls(policy, hub or Hub(), device, deadline_of(policy))

    def load(self, name: str, kind: str) -> Loaded:
        """Load a model and its tokenizer. Raises the errors of `phaita_loader.load`."""
        request = ModelRequest(name, kind=kind, device=self.device)
        return load(request, hub=self.hub, policy=self.policy, deadline=self.deadline)

    def first_encoder(self, names: Sequence[str]) -> FirstLoaded:
        """Load the first of the names that loads, without a pooler; log each failure before it.

        Raises the first name's error if none loads, DeadlineExceeded at once, ValueError for an empty list.
        """
        failed: dict[str, LoaderError] = {}
        for name in names:
            try:
                loaded = self._encoder(name)
                # Texts, not errors: an error's traceback keeps alive what the load had built when it failed.
                return FirstLoaded(name, loaded, {other: str(error) for other, error in failed.items()})
            except DeadlineExceeded:
                raise  # the next name has no time left either
            except (ModelDownloadError, InitialisationError) as error:
                _LOG.warning("%s did not load, the next is tried: %s", name, error.cause)
                failed[name] = error
        if not failed:
            raise ValueError("name at least one model")
        raise next(iter(failed.values()))

    def _encoder(self, name: str) -> Loaded:
        request = ModelRequest(name, device=self.device)
        # `fetch` would still start a request with no time for it.
        if self.deadline.passed(SYSTEM.now()):
            raise DeadlineExceeded("the deadline came before this model's turn", request=request)
        snapshot = fetch(request, hub=self.hub, policy=self.policy, deadline=self.deadline)
        return load_cached_encoder(replace(request, revision=snapshot.commit), self.hub, self.policy, self.deadline)


def deadline_of(policy: Policy) -> Deadline:
    """Return the instant at which the policy's deadline comes, counted from now."""
    return Deadline.after(policy.deadline, SYSTEM.now())
