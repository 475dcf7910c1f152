"""The outcome of one contender under one scenario, as plain values that travel between processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tests.faults.schema import Expect

LOADED = "loaded"
WRONG = "wrong bytes"


@dataclass(frozen=True)
class Outcome:
    """`outcome` is "loaded", an error class, "wrong bytes" or "hung (killed at N s)"; `message` its first line.

    seconds: of the contender's call, in its own process, its libraries imported before. attempts: failed ones that
    count, None for contenders that don't say. requests: seen by the Hub and its CDN. delivered: bytes that the
    client was sent, HTTP headers included. needed: bytes of the files in its cache; where it did not load, of the
    repo. output: the end of what it wrote to the terminal.
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
    output: str = ""

    @property
    def loaded(self) -> bool:
        """True if there is a model, of the right bytes."""
        return self.outcome == LOADED

    @property
    def ratio(self) -> float:
        """The transfer ratio: bytes delivered / bytes needed; 0 where nothing was needed."""
        return self.delivered / self.needed if self.needed else 0.0

    def unmet(self, expect: Expect) -> list[str]:
        """Return the expectations that were not met, a sentence each; empty if all were."""
        said = f"{self.message}\n{self.output}"
        ratio, within, requests = expect.transfer_ratio_max, expect.within, expect.requests_max
        wanted = [
            (self.outcome == expect.outcome, f"outcome {self.outcome} ({self.message}), expected {expect.outcome}"),
            (expect.attempts in (None, self.attempts), f"{self.attempts} attempts failed, expected {expect.attempts}"),
            (ratio is None or self.ratio <= ratio, f"transfer ratio {self.ratio:.3f}, expected at most {ratio}"),
            (within is None or self.seconds <= within, f"took {self.seconds:.1f} s, expected at most {within} s"),
            (requests is None or self.requests <= requests, f"{self.requests} requests, expected at most {requests}"),
            (expect.says in said, f"expected it to say {expect.says!r}, it said {said.strip()[-300:]!r}"),
        ]
        return [sentence for met, sentence in wanted if not met]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, the ratio included."""
        return {**asdict(self), "transfer_ratio": round(self.ratio, 4)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Outcome:
        """Back from `as_dict`."""
        return cls(**{key: value for key, value in values.items() if key != "transfer_ratio"})
