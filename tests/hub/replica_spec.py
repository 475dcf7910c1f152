"""One replica to build: a recipe at a size."""

from __future__ import annotations

from dataclasses import dataclass

from .recipes import RECIPES, Recipe


@dataclass(frozen=True)
class ReplicaSpec:
    """A recipe, a size and, where the recipe allows it, a number of layers."""

    recipe: Recipe
    size: str
    layers: int | None = None

    @property
    def name(self) -> str:
        """The folder it is built into."""
        suffix = "" if self.layers is None else f"-{self.layers}-layers"
        return f"{self.recipe.repo_id.replace('/', '--')}-{self.size}{suffix}"

    def __str__(self) -> str:
        return ":".join([self.recipe.repo_id, self.size, *([] if self.layers is None else [str(self.layers)])])

    @classmethod
    def parse(cls, text: str) -> ReplicaSpec:
        """The inverse of str()."""
        repo_id, size, *layers = text.split(":")
        return cls(RECIPES[repo_id], size, int(layers[0]) if layers else None)
