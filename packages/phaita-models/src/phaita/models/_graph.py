"""The symptom graph: symptoms and the conditions that they point to, and attention along those edges."""

from __future__ import annotations

import atexit
import inspect
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phaita.data.icd_conditions import RespiratoryConditions
from phaita.data.symptoms import Match, lexicon

__all__ = ["GraphEncoder", "SymptomGraph"]

_PRESENT, _NEGATED = 1, 2  # 0: the text says nothing of it
_STATES = 3


@dataclass(frozen=True, slots=True)
class SymptomGraph:
    """Nodes and edges by name.

    labels: the conditions' names by code; their order is that of the logits.
    symptoms: ids, in node order. edges: by code, the symptoms that point to the condition.
    Raises ValueError for an edge between nodes that are not there.
    """

    labels: Mapping[str, str]
    symptoms: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        known = set(self.symptoms)
        lost = [one for code, ends in self.edges.items() for one in ends if code not in self.labels or one not in known]
        if lost:
            raise ValueError(f"edges without nodes: {', '.join(lost)}")

    @classmethod
    def of_conditions(cls) -> SymptomGraph:
        """The graph of the conditions and the lexicon as they are today."""
        conditions = RespiratoryConditions.get_all_conditions()
        labels = {code: condition.name for code, condition in conditions.items()}
        return cls(labels, tuple(lexicon()), {code: condition.symptoms for code, condition in conditions.items()})

    def states(self, found: Sequence[Iterable[Match]]) -> Tensor:
        """What each text says of each symptom: 0 nothing, 1 present, 2 negated. One that is both is present."""
        place = {symptom: number for number, symptom in enumerate(self.symptoms)}
        states = torch.zeros(len(found), len(place), dtype=torch.long)  # [B, S]
        for row, matches in zip(states, found, strict=True):
            for match in sorted(matches, key=lambda match: not match.negated):
                if match.symptom in place:
                    row[place[match.symptom]] = _NEGATED if match.negated else _PRESENT
        return states

    def edge_index(self) -> Tensor:
        """Every edge in both directions and a loop at every node; symptoms come first, then conditions."""
        place = {symptom: number for number, symptom in enumerate(self.symptoms)}
        nodes = len(place) + len(self.labels)
        codes = {code: len(place) + number for number, code in enumerate(self.labels)}
        pairs = [(place[symptom], codes[code]) for code, ends in self.edges.items() for symptom in ends]
        back = [(code, symptom) for symptom, code in pairs]
        return torch.tensor([*pairs, *back, *((node, node) for node in range(nodes))]).t().contiguous()  # [2, E]


class GraphEncoder(nn.Module):
    """Graph attention (Velickovic et al., 2018; torch_geometric's GATConv) over what one complaint says.

    A node's features are its own embedding plus that of its state in this complaint. The readout is the mean of the
    nodes that are present, and one score from each condition's node.
    """

    def __init__(self, graph: SymptomGraph, size: int, heads: int, layers: int) -> None:
        super().__init__()
        attention = _gat_conv()
        self.symptoms, self.conditions = len(graph.symptoms), len(graph.labels)
        self.node = nn.Embedding(self.symptoms + self.conditions, size)
        self.state = nn.Embedding(_STATES, size)
        self.layers = nn.ModuleList(
            attention(size, size // heads, heads=heads, add_self_loops=False) for _ in range(layers)
        )
        _clean_up_after(attention)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(layers))
        self.score = nn.Linear(size, 1)
        # It follows from the graph's names, which the checkpoint holds.
        self.register_buffer("edge_index", graph.edge_index(), persistent=False)
        self.out_features = size + self.conditions

    def forward(self, states: Tensor) -> Tensor:  # [B, S] -> [B, F + K]
        """The features of each complaint, from the states of its symptoms."""
        nodes = self._features(states)  # [B, N, F]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            news = layer(nodes.flatten(0, 1), self._block_diagonal(len(states)))  # [B * N, F]
            nodes = norm(nodes + nn.functional.gelu(news).view_as(nodes))
        present = (states == _PRESENT).unsqueeze(-1)  # [B, S, 1]
        found = (nodes[:, : self.symptoms] * present).sum(1) / present.sum(1).clamp(min=1)  # [B, F]
        scores = self.score(nodes[:, self.symptoms :]).squeeze(-1)  # [B, K]
        return torch.cat([found, scores], dim=-1)

    def _features(self, states: Tensor) -> Tensor:
        silent = states.new_zeros(len(states), self.conditions)
        return self.node.weight + self.state(torch.cat([states, silent], dim=-1))  # [B, N, F]

    def _block_diagonal(self, copies: int) -> Tensor:
        """The edges of that many graphs side by side, none between two of them."""
        nodes = self.symptoms + self.conditions
        shift = torch.arange(copies, device=self.edge_index.device) * nodes  # [B]
        return (self.edge_index.unsqueeze(1) + shift.view(-1, 1)).flatten(1)  # [2, B * E]


def _gat_conv() -> Any:
    with warnings.catch_warnings():
        # torch_geometric scripts functions while it is imported, which the user of a model can do nothing about.
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
        from torch_geometric.nn import GATConv
    return GATConv


@cache
def _clean_up_after(kind: Any) -> None:
    """torch_geometric writes the code of a kind of layer to temporary files, imports these, and leaves them there.

    They go when the process ends: until then a traceback or TorchScript may read them.
    """
    for method in (kind.propagate, kind.edge_updater):
        path = Path(inspect.getfile(method))
        if path.parent == Path(tempfile.gettempdir()):
            atexit.register(path.unlink, missing_ok=True)
