"""The choices for building a model, and the result of the build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from phaita_loader._build.engines import Engine

__all__ = ["BuildOptions", "Built", "Way"]

Way: TypeAlias = Literal["fast", "from_pretrained"]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """The choices for building a model.

    fast: build the fast way where that gives what `from_pretrained` gives; False always calls the latter.
    private_copy: read the weights into memory of this process. Otherwise, on a CPU, their pages are those of the files
        until they are written to, and follow whoever changes the files in place.
    engine: the code that reads safetensors onto a device on the fast way: "ring", or an installed library. "auto" maps
        the files for the CPU, and takes the best engine there is for CUDA.
    """

    fast: bool = True
    private_copy: bool = False
    engine: Engine = "auto"


@dataclass(frozen=True, slots=True)
class Built:
    """A model and the way it was built; `engine` read the weights, and is None where transformers did."""

    model: Any
    path: Way
    engine: str | None = None
