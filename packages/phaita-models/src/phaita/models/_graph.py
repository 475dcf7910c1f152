"""The symptom graph: symptoms, the conditions that they point to, and graph attention along these edges."""

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

_PRESENT, _NEGATED = 1, 2  # 0: not mentioned
_STATES = 3


@dataclass(frozen=True, slots=True)
class SymptomGraph:
    """The nodes and edges by name.

    labels: the conditions' names by code; their order is that of the logits.
    symptoms: ids, in node order. edges: by code, the symptoms that point to the condition.
    Raises ValueError for an edge to an unknown node.
    """

    labels: Mapping[str, str]
    symptoms: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        known = set(self.symptoms)
        unknown = [
            one for code, ends in self.edges.items() for one in ends if code not in self.labels or one not in known
        ]
        if unknown:
            raise ValueError(f"edges to unknown nodes: {', '.join(unknown)}")

    @classmethod
    def of_conditions(cls) -> SymptomGraph:
        """Return the graph of this version's conditions and lexicon."""
        conditions = RespiratoryConditions.get_all_conditions()
        labels = {code: condition.name for code, condition in conditions.items()}
        return cls(labels, tuple(lexicon()), {code: condition.symptoms for code, condition in conditions.items()})

    def states(self, found: Sequence[Iterable[Match]]) -> Tensor:
        """Return the state of each symptom in each text: 0 not mentioned, 1 present (or both), 2 negated."""
        column = {symptom: number for number, symptom in enumerate(self.symptoms)}
        states = torch.zeros(len(found), len(column), dtype=torch.long)  # [B, S]
        for row, matches in zip(states, found, strict=True):
            # Negated ones first, so that a present one overwrites them.
            for match in sorted(matches, key=lambda match: not match.negated):
                if match.symptom in column:
                    row[column[match.symptom]] = _NEGATED if match.negated else _PRESENT
        return states

    def edge_index(self) -> Tensor:
        """Return every edge in both directions and a loop at every node; symptoms come first, then conditions."""
        symptoms = {symptom: number for number, symptom in enumerate(self.symptoms)}
        nodes = len(symptoms) + len(self.labels)
        codes = {code: len(symptoms) + number for number, code in enumerate(self.labels)}
        pairs = [(symptoms[symptom], codes[code]) for code, ends in self.edges.items() for symptom in ends]
        back = [(code, symptom) for symptom, code in pairs]
        return torch.tensor([*pairs, *back, *((node, node) for node in range(nodes))]).t().contiguous()  # [2, E]


class GraphEncoder(nn.Module):
    """Graph attention (Velickovic et al., 2018; torch_geometric's GATConv) over the symptoms of a complaint.

    A node's features are its own embedding plus that of its state in this complaint. The output is the mean of the
    present symptoms' nodes, and one score from each condition's node.
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
        _remove_generated_code_at_exit(attention)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(layers))
        self.score = nn.Linear(size, 1)
        # Not saved: it follows from the graph's names, which the checkpoint holds.
        self.register_buffer("edge_index", graph.edge_index(), persistent=False)
        self.out_features = size + self.conditions

    def forward(self, states: Tensor) -> Tensor:  # [B, S] -> [B, F + K]
        """Return the features of each complaint, from the states of its symptoms."""
        nodes = self._features(states)  # [B, N, F]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            update = layer(nodes.flatten(0, 1), self._block_diagonal(len(states)))  # [B * N, F]
            nodes = norm(nodes + nn.functional.gelu(update).view_as(nodes))
        present = (states == _PRESENT).unsqueeze(-1)  # [B, S, 1]
        found = (nodes[:, : self.symptoms] * present).sum(1) / present.sum(1).clamp(min=1)  # [B, F]
        scores = self.score(nodes[:, self.symptoms :]).squeeze(-1)  # [B, K]
        return torch.cat([found, scores], dim=-1)

    def _features(self, states: Tensor) -> Tensor:
        no_state = states.new_zeros(len(states), self.conditions)
        return self.node.weight + self.state(torch.cat([states, no_state], dim=-1))  # [B, N, F]

    def _block_diagonal(self, copies: int) -> Tensor:
        """Return the edges of that many copies of the graph, with no edges between copies."""
        nodes = self.symptoms + self.conditions
        shift = torch.arange(copies, device=self.edge_index.device) * nodes  # [B]
        return (self.edge_index.unsqueeze(1) + shift.view(-1, 1)).flatten(1)  # [2, B * E]


def _gat_conv() -> Any:
    with warnings.catch_warnings():
        # torch_geometric scripts functions while it is imported; users of a model can't change that.
        warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
        from torch_geometric.nn import GATConv
    return GATConv


@cache
def _remove_generated_code_at_exit(kind: Any) -> None:
    """Remove at exit the temporary modules that torch_geometric generates for a class of layers and leaves behind.

    Not earlier, as a traceback or TorchScript may read them until then.
    """
    for method in (kind.propagate, kind.edge_updater):
        path = Path(inspect.getfile(method))
        if path.parent == Path(tempfile.gettempdir()):
            atexit.register(path.unlink, missing_ok=True)
