"""What a trained discriminator says of its training: in its checkpoint, and on its card."""

from __future__ import annotations

from phaita.data.symptoms import find_symptoms, finder
from phaita.models.discriminator import DiagnosisDiscriminator, TrainingRecord
from phaita.training._texts import Encodings, Texts, answers
from phaita.training.complaints import Complaints
from phaita.training.metrics import figures, ranking
from phaita.utils.config import TrainingConfig

__all__ = ["FLUENT", "training_record"]

FLUENT = "fluent against garbled text, area under the ROC curve"
"""How the figure of the other head is called."""

_DATA = """\
{source}

Learned from: {learned:,} complaints; measured on {held_out:,} that were held out, in one pass without Monte Carlo \
dropout. The lexicon, by which symptoms are found, knows the held-out phrases; "words unknown to the lexicon" is \
without them. The head that tells real from generated text learned to tell complaints from garbled copies of them: it \
judges fluency, not origin. Seed of the training: {seed}."""


def training_record(
    model: DiagnosisDiscriminator, complaints: Complaints, encodings: Encodings | None, training: TrainingConfig
) -> TrainingRecord:
    """What this model learned from, and its figures on the complaints that were held out."""
    told = [one for one in complaints.test if one.fluent]
    values: dict[str, float] = {}
    for where, find in (("", find_symptoms), (", words unknown to the lexicon", finder(complaints.lexicon))):
        texts = Texts(model, told, encodings, find)
        for name, measure in figures(answers(model, texts)[0], texts.labels.cpu()).items():
            values[f"{name}{where}"] = round(float(measure(None)), 4)
    everything = Texts(model, complaints.test, encodings, find_symptoms)
    values[FLUENT] = round(ranking(answers(model, everything)[1], everything.fluent.cpu() > 0), 4)
    data = _DATA.format(
        source=complaints.source,
        learned=sum(one.fluent for one in complaints.train),
        held_out=len(told),
        seed=training.seed,
    )
    return TrainingRecord(data, values)
