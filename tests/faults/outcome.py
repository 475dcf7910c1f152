"""What one contender did under one scenario, as plain values that travel between processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tests.faults.scenario import Expect

LOADED = "loaded"
WRONG = "wrong bytes"


@dataclass(frozen=True)
class Outcome:
    """`outcome` is "loaded", an error class, "wrong bytes" or "hung (killed at N s)"; `message` its first line.

    seconds: of the contender's call, in its own process, its libraries imported before. attempts: failed ones that
    count, None for contenders that don't say. requests: seen by the Hub and its CDN. delivered: bytes that the
    client was sent, HTTP headers included. needed: bytes of the files it fetched; where it did not load, of the repo.
    """

    scenario: str
    contender: str
    outcome: str
    message: str = ""
    seconds: float = 0.0
    attempts: int | None = None
    requests: int = 0
    delivered: int = 0
    needed: int = 0

    @property
    def loaded(self) -> bool:
        """Is there a model, of the right bytes?"""
        return self.outcome == LOADED

    @property
    def ratio(self) -> float:
        """The transfer ratio: bytes delivered / bytes needed; 0 where nothing was needed."""
        return self.delivered / self.needed if self.needed else 0.0

    def unmet(self, expect: Expect) -> list[str]:
        """What was expected and did not happen, a sentence each; empty when all is well."""
        wanted = [
            (self.outcome == expect.outcome, f"outcome {self.outcome} ({self.message}), expected {expect.outcome}"),
            (expect.attempts in (None, self.attempts), f"{self.attempts} attempts failed, expected {expect.attempts}"),
            (
                expect.transfer_ratio_max is None or self.ratio <= expect.transfer_ratio_max,
                f"transfer ratio {self.ratio:.3f}, expected at most {expect.transfer_ratio_max}",
            ),
            (
                expect.within is None or self.seconds <= expect.within,
                f"took {self.seconds:.1f} s, expected at most {expect.within} s",
            ),
        ]
        return [sentence for met, sentence in wanted if not met]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, the ratio included."""
        return {**asdict(self), "transfer_ratio": round(self.ratio, 4)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Outcome:
        """Back from `as_dict`."""
        return cls(**{key: value for key, value in values.items() if key != "transfer_ratio"})
