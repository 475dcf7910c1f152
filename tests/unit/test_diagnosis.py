"""From samples of probabilities to records: the arithmetic, on numbers made up."""

from __future__ import annotations

import math
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phaita.data.symptoms import Match

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
diagnosis = import_module("phaita.models._diagnosis")

LABELS = {"A": "first", "B": "second"}
PRESENT = (Match("fever", 0, 5, "fever", negated=False),)
DENIED = (Match("fever", 3, 8, "fever", negated=True),)


def read(samples, evidence=PRESENT, **options):
    tensor = torch.tensor(samples, dtype=torch.float64).unsqueeze(1)  # [M, 1, K]
    asked = {"top_k": 2, "interval": 0.9, "abstain_below": 0.5, **options}
    (records,) = diagnosis.diagnoses(tensor, LABELS, [evidence], [False], **asked)
    return records


def test_the_mean_is_the_probability_and_percentiles_are_the_interval():
    shares = [number / 100 for number in range(101)]
    first, second = read([[share / 2, 1 - share / 2] for share in shares])
    assert (first.code, first.name, second.code) == ("B", "second", "A")
    assert first.probability == pytest.approx(0.75)
    assert second.probability == pytest.approx(0.25)
    assert first.interval == pytest.approx((0.525, 0.975))
    assert second.interval == pytest.approx((0.025, 0.475))


def test_the_interval_holds_a_mean_that_one_sample_moved():
    first, second = read([[1.0, 0.0]] * 99 + [[0.0, 1.0]])
    assert first.interval == pytest.approx((0.99, 1.0))
    assert second.interval == pytest.approx((0.0, 0.01))


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 1.0), (1.0, 0.0), (0.9, 0.4689956)],  # bits, of which two labels have one at most
)
def test_uncertainty_is_entropy_as_a_share_of_the_highest(share, expected):
    assert [record.uncertainty for record in read([[share, 1 - share]])] == pytest.approx([expected] * 2)


@pytest.mark.parametrize(
    ("share", "evidence", "abstained"),
    [
        (0.5, PRESENT, [False, False]),
        (0.51, PRESENT, [False, True]),
        (1.0, (), [True, True]),
        (1.0, DENIED, [True, True]),
        (1.0, DENIED + PRESENT, [False, True]),
        (math.nan, PRESENT, [True, True]),
    ],
)
def test_what_is_abstained_from(share, evidence, abstained):
    records = read([[share, 1 - share]], evidence)
    assert [record.abstained for record in records] == abstained
    assert all(record.evidence == evidence for record in records)


def test_equals_keep_the_order_of_the_labels():
    assert [record.code for record in read([[0.5, 0.5]])] == ["A", "B"]


def test_each_complaint_keeps_what_is_its_own():
    tensor = torch.tensor([[[0.2, 0.8], [0.7, 0.3]]])
    options = {"top_k": 1, "interval": 0.9, "abstain_below": 0.5}
    (one,), (other,) = diagnosis.diagnoses(tensor, LABELS, [PRESENT, ()], [False, True], **options)
    assert (one.code, one.evidence, one.abstained, one.truncated) == ("B", PRESENT, False, False)
    assert (other.code, other.evidence, other.abstained, other.truncated) == ("A", (), True, True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 1))
def test_the_interval_always_holds_the_probability(shares, interval):
    for record in read([[share, 1 - share] for share in shares], interval=interval):
        low, high = record.interval
        assert 0.0 <= low <= record.probability <= high <= 1.0
        assert 0.0 <= record.uncertainty <= 1.0
