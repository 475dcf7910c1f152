"""The baselines of the discriminator, and the report that the answers become."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from itertools import product

import pytest

from phaita.data.symptoms import Match, find_symptoms
from phaita.models.bayesian_network import AGE_GROUPS, SEVERITIES, BayesianSymptomNetwork
from phaita.training.complaints import draw_complaints, listed_complaints
from phaita.utils.config import DataConfig, TrainingConfig
from tests.unit.encoders import discriminator

pytestmark = pytest.mark.torch

FEW = DataConfig(samples_per_condition=4)
FAST = TrainingConfig(num_epochs=2, head_learning_rate=0.01)
NAMES = [
    "symptoms found, naive Bayes",
    "symptoms found, logistic regression",
    "TF-IDF, logistic regression",
    "frozen encoder, logistic regression",
    "frozen encoder and symptoms found, logistic regression",
]
SETS = ["held out", "held out, and unknown to the lexicon", "lay terms"]


@pytest.fixture(scope="module")
def ways():
    return import_module("phaita.training.baselines")


@pytest.fixture(scope="module")
def evaluated():
    evaluate = import_module("phaita.training.evaluate").evaluate
    model = discriminator(0)
    return model, *evaluate(model, FAST, FEW, seeds=(3, 4), samples=50)


def found(*symptoms, negated=False):
    return lambda _: tuple(Match(one, 0, 1, "", negated) for one in symptoms)


def test_naive_bayes_is_bayes_rule_with_the_networks_figures(ways):
    network = BayesianSymptomNetwork()
    codes = [*import_module("phaita.data.icd_conditions").RespiratoryConditions.get_all_conditions()]
    expected = dict.fromkeys(codes, 0.0)
    for code, age, severity in product(codes, AGE_GROUPS, SEVERITIES):
        chances = [max(network.probability(one, code, age, severity), 0.01) for one in ("wheezing", "fever")]
        expected[code] += chances[0] * chances[1]
    (answer,) = ways.network_bayes()([""], found("wheezing", "fever")).tolist()
    assert answer == pytest.approx([one / sum(expected.values()) for one in expected.values()], rel=1e-4)


def test_naive_bayes_hears_what_is_denied_and_makes_nothing_of_silence(ways):
    bayes = ways.network_bayes()
    (silent,) = bayes([""], found()).tolist()
    assert silent == pytest.approx([0.1] * 10)
    (said,) = bayes([""], found("wheezing")).tolist()
    (denied,) = bayes([""], found("wheezing", negated=True)).tolist()
    assert said[0] > 0.1 > denied[0]


def test_a_regression_tells_what_its_features_tell(ways):
    texts = import_module("phaita.training._texts")
    drawn = draw_complaints(DataConfig(samples_per_condition=10), 0)
    methods = ways.baselines(drawn, texts.Encodings(discriminator(0)))
    assert list(methods) == NAMES
    test = [one for one in drawn.test if one.fluent]
    codes = list(discriminator(0).symptom_graph.labels)
    labels = [codes.index(one.code) for one in test]
    right = {}
    for name, answer in methods.items():
        answered = answer([one.text for one in test], find_symptoms)
        assert answered.shape == (len(test), 10)
        assert answered.sum(-1).tolist() == pytest.approx([1.0] * len(test), abs=1e-5)
        right[name] = (answered.argmax(-1).tolist(), labels)
    share = {name: sum(a == b for a, b in zip(*pair, strict=True)) / len(test) for name, pair in right.items()}
    assert min(share[NAMES[0]], share[NAMES[1]]) > 0.8 > share[NAMES[2]]


def test_without_scikit_learn_the_extra_is_named(ways, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ImportError, match=r"pip install 'phaita-models\[train\]'"):
        ways.regression(draw_complaints(FEW, 0), lambda texts, find: texts)


def test_every_method_answers_every_set(evaluated):
    _, evaluation, _ = evaluated
    assert list(evaluation.tables) == SETS
    for rows in evaluation.tables.values():
        assert list(rows) == [*NAMES, "discriminator without its graph", "discriminator"]
        for name, one in rows.items():
            assert list(one.values) == ["top-1", "top-3", "top-1, pneumonias as one", "calibration error"]
            assert one.values["top-1"].value <= one.values["top-3"].value
            assert one.values["top-1"].value <= one.values["top-1, pneumonias as one"].value
            assert (one.ahead is None) is (name == "discriminator")
    sizes = [40, 20, 20, len(listed_complaints())]
    assert list(evaluation.sizes.values()) == sizes
    assert evaluation.seeds == (3, 4)
    assert (len(evaluation.fluency), evaluation.epochs) == (2, (2, 2))


def test_who_is_ahead_is_the_difference(evaluated):
    _, evaluation, _ = evaluated
    for rows in evaluation.tables.values():
        ours = rows["discriminator"].values["top-1"].value
        for one in rows.values():
            if one.ahead is not None:
                assert one.ahead.value == pytest.approx(ours - one.values["top-1"].value)
                assert one.ahead.low <= one.ahead.value <= one.ahead.high


def test_what_looks_no_symptom_up_does_not_mind_the_lexicon(evaluated):
    _, evaluation, _ = evaluated
    known, unknown = (evaluation.tables[name] for name in SETS[:2])
    for name in (*NAMES[2:4], "discriminator without its graph"):
        assert known[name].values == unknown[name].values
    assert known[NAMES[0]].values["top-1"].value > 0.5 > unknown[NAMES[0]].values["top-1"].value


def test_the_first_seed_makes_the_model(evaluated):
    model, _, trained = evaluated
    assert trained.trained_on.data.endswith("Training seed: 3.")
    assert not model.trained
    assert trained.config.use_graph


def test_the_report_has_the_figures_and_says_what_they_are_not(evaluated, tmp_path):
    report = import_module("phaita.training.report")
    _, evaluation, _ = evaluated
    report.write_report(evaluation, tmp_path / "made")
    page = (tmp_path / "made" / "report.md").read_text(encoding="utf-8")
    assert page == report.markdown(evaluation)
    assert "not a medical device" in page
    assert page.count("\n| discriminator | ") == 3
    value = evaluation.tables["held out"]["discriminator"].values["top-1"]
    assert f"| discriminator | {value.value * 100:.1f} ({value.low * 100:.1f} to {value.high * 100:.1f}) |" in page
    read = json.loads((tmp_path / "made" / "report.json").read_text(encoding="utf-8"))
    assert read["tables"]["held out"]["discriminator"]["values"]["top-1"]["value"] == value.value
    assert read["seeds"] == [3, 4]
    assert "torch" in read["versions"]


def test_an_encoder_that_is_trained_is_a_copy(tmp_path):
    evaluate = import_module("phaita.training.evaluate").evaluate
    model = discriminator(0)
    before = {name: one.clone() for name, one in model.encoder.state_dict().items()}
    one = FAST.model_copy(update={"num_epochs": 1})
    evaluation, trained = evaluate(
        model, one, DataConfig(samples_per_condition=2), seeds=(1,), train_encoder=True, states=tmp_path, samples=10
    )
    assert all(one.equal(before[name]) for name, one in model.encoder.state_dict().items())
    assert not all(one.equal(before[name]) for name, one in trained.encoder.state_dict().items())
    assert evaluation.train_encoder
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "discriminator-1.pt",
        "discriminator-without-its-graph-1.pt",
    ]
