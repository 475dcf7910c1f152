"""Simpler methods for comparison with the discriminator. They need scikit-learn: the extra [train].

Each method is fitted to the training complaints and then answers texts, given a function that finds symptoms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, TypeAlias

import torch
from torch import Tensor

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import find_symptoms, lexicon
from phaita.models._graph import SymptomGraph
from phaita.models.bayesian_network import AGE_GROUPS, SEVERITIES, BayesianSymptomNetwork
from phaita.training._texts import Encodings, FindSymptoms
from phaita.training.complaints import Complaint, Complaints

__all__ = ["Method", "baselines", "network_bayes", "regression"]

Method: TypeAlias = Callable[[Sequence[str], FindSymptoms], Tensor]
"""The probabilities of the conditions, [N, K], from N texts and a function that finds symptoms."""

Features: TypeAlias = Callable[[Sequence[str], FindSymptoms], Any]

# Rare presentations hold symptoms to which the network gives no probability; 0 would exclude their condition.
_UNSEEN = 0.01
_REGULARISATION = (0.1, 1.0, 10.0)


def baselines(complaints: Complaints, encodings: Encodings) -> dict[str, Method]:
    """Fit every baseline and return them by name. Raises ImportError without scikit-learn."""
    tfidf = _tfidf(complaints)

    def encoded(texts: Sequence[str], _: FindSymptoms) -> Any:
        return encodings(texts).numpy()

    def both(texts: Sequence[str], find: FindSymptoms) -> Any:
        return torch.cat([encodings(texts), _states(texts, find).float()], dim=-1).numpy()

    return {
        "symptoms found, naive Bayes": network_bayes(),
        "symptoms found, logistic regression": regression(
            complaints, lambda texts, find: _states(texts, find).float().numpy()
        ),
        "TF-IDF, logistic regression": regression(complaints, lambda texts, _: tfidf.transform(texts)),
        "frozen encoder, logistic regression": regression(complaints, encoded),
        "frozen encoder and symptoms found, logistic regression": regression(complaints, both),
    }


def network_bayes(network: BayesianSymptomNetwork | None = None) -> Method:
    """Return naive Bayes over matched symptoms, with the probabilities from which the complaints are drawn.

    A symptom counts where the text names or denies it, and not where the text is silent. Age and severity are unknown
    and taken as equally likely. A symptom for which the network has no figure (in a rare presentation) gets 1 %.
    """
    network = network or BayesianSymptomNetwork()
    codes = list(RespiratoryConditions.get_all_conditions())
    chances = torch.tensor(
        [
            [[network.probability(one, code, age, severity) for one in lexicon()] for code in codes]
            for age, severity in product(AGE_GROUPS, SEVERITIES)
        ]
    ).clamp(_UNSEEN, 1.0 - _UNSEEN)  # [M, K, S]

    def answer(texts: Sequence[str], find: FindSymptoms) -> Tensor:
        states = _states(texts, find)
        named = torch.einsum("bs,mks->bmk", (states == 1).float(), chances.log())
        denied = torch.einsum("bs,mks->bmk", (states == 2).float(), (1.0 - chances).log())
        return (named + denied).logsumexp(1).softmax(-1)

    return answer


def regression(complaints: Complaints, features: Features) -> Method:
    """Fit logistic regression to the features, with the best of three penalties on the validation complaints."""
    linear, log_loss = _sklearn()
    codes = list(RespiratoryConditions.get_all_conditions())
    train, validation = _fluent(complaints.train), _fluent(complaints.validation)
    known, judged = (features([one.text for one in part], find_symptoms) for part in (train, validation))
    fitted = [linear(C=c, max_iter=3000).fit(known, _label_indices(train, codes)) for c in _REGULARISATION]
    labels = list(range(len(codes)))
    best = min(
        fitted, key=lambda one: log_loss(_label_indices(validation, codes), one.predict_proba(judged), labels=labels)
    )
    return lambda texts, find: torch.from_numpy(best.predict_proba(features(texts, find))).float()


def _fluent(complaints: Sequence[Complaint]) -> list[Complaint]:
    return [one for one in complaints if one.fluent]


def _label_indices(complaints: Sequence[Complaint], codes: Sequence[str | None]) -> list[int]:
    return [codes.index(one.code) for one in complaints]


def _states(texts: Sequence[str], find: FindSymptoms) -> Tensor:  # [N, S]
    """Return the state of each symptom in each text, as the discriminator's graph reads it."""
    return SymptomGraph.of_conditions().states([find(text) for text in texts])


def _tfidf(complaints: Complaints) -> Any:
    _sklearn()  # for its error, which names the extra
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit([one.text for one in _fluent(complaints.train)])


def _sklearn() -> tuple[Any, Any]:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import log_loss
    except ImportError as error:
        raise ImportError("the baselines need scikit-learn: pip install 'phaita-models[train]'") from error
    return LogisticRegression, log_loss
