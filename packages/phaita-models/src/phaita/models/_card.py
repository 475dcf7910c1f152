"""The model card of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from phaita.models._checkpoint import Checkpoint, TrainingRecord

__all__ = ["card"]

_CARD = """\
---
library_name: phaita-models
pipeline_tag: text-classification
language: en
{base}tags: [icd-10, phaita, respiratory]
---

# Respiratory conditions from a complaint in a patient's words

**This software is not a medical device.** Its answers are a model's estimates: they replace no examination, and no
decision on care may rest on them.

- text encoder: {encoder}
- symptom graph: {graph}

```python
from phaita.models.discriminator import DiagnosisDiscriminator

model = DiagnosisDiscriminator.from_pretrained("...")  # this repo, or its folder
model.predict_diagnosis(["I'm wheezing and my chest is tight"], top_k=3)
```

## Training

{training}

## Labels

{labels}

## Limits

- It knows the conditions above and no others: any other illness gets one of these names.
- Its probabilities depend on its training data, not on how common a condition is where you are.
- It reads English, and at most the first {length} tokens of a text.
- Records below a probability of {threshold:g}, and all of a text without a known symptom that is present, are marked
  as abstained.
- Nothing was validated in the care of patients unless the section on training says so.

Written by phaita-models {version}.
"""

_UNTRAINED = """\
The heads are **untrained**: any diagnosis would be random, and `predict_diagnosis` raises an error."""


def card(checkpoint: Checkpoint[Any]) -> str:
    """Return the README.md of a checkpoint: the model, its training data and its limits."""
    config, graph = checkpoint.config, checkpoint.graph
    at = f" (commit {config.revision})" if config.revision else ""
    return _CARD.format(
        base=f"base_model: {config.encoder}\n" if config.encoder else "",
        encoder=f"{config.encoder}{at}" if config.encoder else checkpoint.encoder["model_type"],
        graph=f"attention over {len(graph.symptoms)} symptoms" if config.use_graph else "none",
        training=_UNTRAINED if checkpoint.trained_on is None else _training(checkpoint.trained_on),
        labels=_table(("code", "condition"), graph.labels.items()),
        length=config.max_length,
        threshold=config.abstain_below,
        version=checkpoint.phaita,
    )


def _training(record: TrainingRecord) -> str:
    if not record.figures:
        return f"{record.data}\n\nNo figures were given."
    rows = ((name, f"{value:g}") for name, value in record.figures.items())
    return f"{record.data}\n\n{_table(('on held-out data', ''), rows)}"


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"| {left} | {right} |" for left, right in [head, ("---", "---"), *rows])
