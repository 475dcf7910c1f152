"""The graph of symptoms and conditions, and attention over it."""

from __future__ import annotations

from importlib import import_module

import pytest

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import find_symptoms, lexicon

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
graphs = import_module("phaita.models._graph")

TODAY = graphs.SymptomGraph.of_conditions()
SMALL = graphs.SymptomGraph(
    {"A": "a", "B": "b"}, ("fever", "cough", "rash"), {"A": ("fever", "cough"), "B": ("cough",)}
)


def states(*texts):
    return TODAY.states([find_symptoms(text) for text in texts])


@pytest.fixture
def attention():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return graphs.GraphEncoder(TODAY, size=8, heads=2, layers=2).eval()


def test_it_is_that_of_the_conditions():
    assert list(TODAY.labels) == list(RespiratoryConditions.get_all_conditions())
    assert TODAY.symptoms == tuple(lexicon())
    assert list(TODAY.edges["J45.9"]) == RespiratoryConditions.get_symptoms_for_condition("J45.9")


def test_edges_run_both_ways_and_every_node_has_a_loop():
    edges = set(zip(*SMALL.edge_index().tolist(), strict=True))
    assert edges == {(0, 3), (1, 3), (1, 4), (3, 0), (3, 1), (4, 1), *((node, node) for node in range(5))}


def test_edges_without_nodes_are_refused():
    with pytest.raises(ValueError, match="rash"):
        graphs.SymptomGraph({"A": "a"}, ("fever",), {"A": ("fever", "rash")})
    with pytest.raises(ValueError, match="fever"):
        graphs.SymptomGraph({"A": "a"}, ("fever",), {"B": ("fever",)})


def test_states_tell_what_is_there_what_is_denied_and_what_is_not_said():
    (row,) = states("wheezing but no fever")
    told = dict(zip(TODAY.symptoms, row.tolist(), strict=True))
    assert told.pop("wheezing") == 1
    assert told.pop("fever") == 2
    assert set(told.values()) == {0}


@pytest.mark.parametrize("text", ["no cough yesterday. a cough today", "a cough today. no cough yesterday"])
def test_what_is_denied_and_told_is_there(text):
    assert states(text)[0][TODAY.symptoms.index("cough")] == 1


def test_a_symptom_that_the_graph_does_not_know_is_passed_over():
    assert SMALL.states([find_symptoms("wheezing and a fever")]).tolist() == [[1, 0, 0]]


def test_features_depend_on_what_this_complaint_says(attention):
    silent, present, denied = attention(states("", "wheezing", "no wheezing"))
    assert silent.shape == (attention.out_features,)
    assert not torch.allclose(silent, present)
    assert not torch.allclose(silent, denied)
    assert not torch.allclose(present, denied)


def test_no_edge_runs_between_two_complaints(attention):
    first, *_ = attention(states("wheezing", "fever", "cough"))
    again, *_ = attention(states("wheezing", "no fever", ""))
    torch.testing.assert_close(first, again, rtol=0, atol=0)


def test_news_of_a_symptom_reach_its_conditions_only_in_one_layer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one = graphs.GraphEncoder(SMALL, size=8, heads=2, layers=1).eval()
    silent, fever = one(torch.tensor([[0, 0, 0], [1, 0, 0]]))[:, -2:]  # the scores of A and B
    assert silent[0] != fever[0]
    assert silent[1] == fever[1]


def test_the_readout_is_of_symptoms_that_are_present(attention):
    nothing = attention(states("", "no fever"))[:, :8]
    assert not nothing.any()
    assert attention(states("fever"))[:, :8].any()
