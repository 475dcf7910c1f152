"""Measures against values worked out by hand."""

from __future__ import annotations

from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def metrics():
    return import_module("phaita.training.metrics")


@pytest.fixture
def ten(torch):
    """Probabilities that favour these conditions, by their place among the ten."""

    def made(*ranked):
        rows = torch.zeros(len(ranked), 10)
        for row, places in zip(rows, ranked, strict=True):
            for place, probability in zip(places, (0.6, 0.3, 0.1), strict=True):
                row[place] = probability
        return rows

    return made


def test_hits_among_the_likeliest(metrics, torch):
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25]])
    labels = torch.tensor([0, 1, 2])
    assert metrics.hits(probabilities, labels).tolist() == [1, 0, 0]
    assert metrics.hits(probabilities, labels, 2).tolist() == [1, 1, 0]


def test_of_equal_ones_the_first_is_the_likelier(metrics, torch):
    """So that every figure means the same guess."""
    even = torch.full((2, 10), 0.1)
    measured = metrics.figures(even, torch.tensor([0, 9]))
    assert [float(measure(None)) for measure in measured.values()] == pytest.approx([0.5, 0.5, 0.5, 0.4])


def test_the_figures_of_a_method(metrics, torch, ten):
    # J18.9 (1), J15.9 (7) and J12.9 (8) are pneumonias, J45.9 (0) is none.
    probabilities = ten((1, 7, 0), (7, 0, 1), (0, 1, 2), (0, 7, 8))
    labels = torch.tensor([1, 8, 1, 3])
    measured = {name: float(measure(None)) for name, measure in metrics.figures(probabilities, labels).items()}
    assert measured == {
        "top-1": 0.25,
        "top-3": 0.5,
        "top-1, pneumonias as one": 0.5,
        "calibration error": pytest.approx(0.35),
    }


def test_conditions_that_count_as_one(metrics, torch):
    likeliest = torch.eye(3)[[0, 1, 2, 1]]
    assert metrics.group_hits(likeliest, torch.tensor([0, 2, 0, 1]), [0, 1, 1]).tolist() == [1, 1, 0, 1]


def binary(torch, *confidences):
    return torch.tensor([[one, 1.0 - one] for one in confidences], dtype=torch.double)


def test_calibration_error_by_hand(metrics, torch):
    """Two at 0.9, one of them right: 0.4 apart. Two at 0.65, both right: 0.35 apart. Half of each."""
    labels = torch.tensor([0, 1, 0, 0])
    assert float(metrics.calibration_error(binary(torch, 0.9, 0.9, 0.65, 0.65), labels)) == pytest.approx(0.375)


def test_within_a_bin_errors_cancel_and_between_bins_they_add(metrics, torch):
    # 0.74 and 0.79 lie in the 12th of 15 bins, (0.733, 0.8]; 0.95 lies in the 15th.
    labels = torch.tensor([0, 1])
    assert float(metrics.calibration_error(binary(torch, 0.74, 0.79), labels)) == pytest.approx((1.53 - 1) / 2)
    assert float(metrics.calibration_error(binary(torch, 0.74, 0.95), labels)) == pytest.approx((0.26 + 0.95) / 2)


def test_a_bin_holds_its_upper_end_and_not_its_lower_one(metrics, torch):
    # With two bins 0.5 belongs to the lower one, where no other is.
    three = torch.tensor([[0.5, 0.25, 0.25], [0.6, 0.2, 0.2]], dtype=torch.double)
    assert float(metrics.calibration_error(three, torch.tensor([0, 1]), bins=2)) == pytest.approx((0.5 + 0.6) / 2)


def test_certain_and_right_is_calibrated(metrics, torch):
    assert float(metrics.calibration_error(binary(torch, 1.0, 1.0), torch.tensor([0, 0]))) == 0.0


@given(st.lists(st.tuples(st.floats(0.5, 1.0), st.booleans(), st.integers(0, 4)), min_size=1, max_size=12))
def test_a_weight_is_so_many_presentations(rows):
    torch, metrics = import_module("torch"), import_module("phaita.training.metrics")
    weights = torch.tensor([weight for *_, weight in rows], dtype=torch.double)
    if weights.sum() == 0:
        return
    probabilities = binary(torch, *(confidence for confidence, *_ in rows))
    labels = torch.tensor([int(wrong) for _, wrong, _ in rows])
    times = weights.long()
    repeated, their_labels = probabilities.repeat_interleave(times, 0), labels.repeat_interleave(times)
    weighted = metrics.calibration_error(probabilities, labels, weights)
    assert float(weighted) == pytest.approx(float(metrics.calibration_error(repeated, their_labels)))
    hit = metrics.hits(probabilities, labels)
    assert float(metrics.share(hit, weights)) == pytest.approx(
        float(metrics.share(metrics.hits(repeated, their_labels)))
    )


def test_many_weightings_at_once(metrics, torch):
    hit = torch.tensor([1.0, 0.0], dtype=torch.double)
    assert metrics.share(hit, torch.tensor([[1, 1], [2, 0], [1, 3]])).tolist() == [0.5, 1.0, 0.25]


def shared(metrics, torch, *values):
    hit = torch.tensor(values, dtype=torch.double)
    return lambda weights: metrics.share(hit, weights)


def test_the_interval_of_two_presentations_by_hand(metrics, torch):
    """One hit of two: resamples give 0, 1/2 and 1 in the shares 1/4, 1/2 and 1/4."""
    one = shared(metrics, torch, 1.0, 0.0)
    assert metrics.intervals([one], [2], samples=400, level=0.95) == (0.0, 1.0)
    assert metrics.intervals([one], [2], samples=400, level=0.3) == (0.5, 0.5)


def test_the_mean_of_rounds_is_narrower_and_each_is_resampled_alone(metrics, torch):
    """Two rounds of one hit in two: 0, 1/4, 1/2, 3/4, 1 in the shares 1, 4, 6, 4, 1 of 16."""
    one = shared(metrics, torch, 1.0, 0.0)
    assert metrics.intervals([one, one], [2, 2], samples=400, level=0.5) == (0.25, 0.75)


def test_the_interval_is_as_wide_as_theory_says(metrics, torch):
    hit = torch.arange(400).lt(100).double()
    low, high = metrics.intervals([lambda weights: metrics.share(hit, weights)], [400], samples=1000)
    spread = (0.25 * 0.75 / 400) ** 0.5
    assert (low, high) == (
        pytest.approx(0.25 - 1.96 * spread, abs=0.006),
        pytest.approx(0.25 + 1.96 * spread, abs=0.006),
    )


def test_differences_are_paired(metrics, torch):
    better, worse = shared(metrics, torch, 1.0, 0.0, 1.0, 1.0), shared(metrics, torch, 1.0, 0.0, 1.0, 0.0)
    assert metrics.intervals([metrics.minus(better, better)], [4]) == (0.0, 0.0)
    low, high = metrics.intervals([metrics.minus(better, worse)], [4], samples=400)
    assert (low, high) == (0.0, 0.75)
    assert float(metrics.minus(better, worse)(None)) == 0.25


def test_the_mean_of_measures(metrics, torch):
    both = metrics.mean_of([shared(metrics, torch, 1.0, 0.0), shared(metrics, torch, 1.0, 1.0)])
    assert float(both(None)) == 0.75
    assert both(torch.tensor([[2, 0], [0, 2]])).tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("scores", "area"), [([0.9, 0.8, 0.1], 1.0), ([0.1, 0.2, 0.9], 0.0), ([0.5, 0.5, 0.5], 0.5), ([0.9, 0.1, 0.3], 0.5)]
)
def test_the_area_under_the_curve(metrics, torch, scores, area):
    assert metrics.ranking(torch.tensor(scores), torch.tensor([True, True, False])) == area
