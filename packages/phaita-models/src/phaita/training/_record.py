"""The training record of a discriminator, for its checkpoint and its model card."""

from __future__ import annotations

from phaita.data.symptoms import find_symptoms, finder
from phaita.models.discriminator import DiagnosisDiscriminator, TrainingRecord
from phaita.training._texts import Encodings, Texts, predict
from phaita.training.complaints import Complaints
from phaita.training.metrics import figures, ranking
from phaita.utils.config import TrainingConfig

__all__ = ["FLUENCY_FIGURE", "training_record"]

FLUENCY_FIGURE = "fluent against garbled text, area under the ROC curve"
"""The name under which the realism head's figure is recorded."""

_DATA = """\
{source}

Trained on {learned:,} complaints; measured on {held_out:,} held-out ones, in one pass without Monte Carlo dropout. \
The lexicon, by which symptoms are found, contains the held-out phrases; for "words unknown to the lexicon" they \
were removed from it. The head for real against generated text was trained on complaints and garbled copies of them: \
it judges fluency, not origin. Training seed: {seed}."""


def training_record(
    model: DiagnosisDiscriminator, complaints: Complaints, encodings: Encodings | None, training: TrainingConfig
) -> TrainingRecord:
    """Return the description of the training data and the model's figures on the held-out complaints."""
    fluent = [one for one in complaints.test if one.fluent]
    values: dict[str, float] = {}
    for where, find in (("", find_symptoms), (", words unknown to the lexicon", finder(complaints.lexicon))):
        texts = Texts(model, fluent, encodings, find)
        for name, measure in figures(predict(model, texts)[0], texts.labels.cpu()).items():
            values[f"{name}{where}"] = round(float(measure(None)), 4)
    everything = Texts(model, complaints.test, encodings, find_symptoms)
    values[FLUENCY_FIGURE] = round(ranking(predict(model, everything)[1], everything.fluent.cpu() > 0), 4)
    data = _DATA.format(
        source=complaints.source,
        learned=sum(one.fluent for one in complaints.train),
        held_out=len(fluent),
        seed=training.seed,
    )
    return TrainingRecord(data, values)
