"""The torch dtypes, by the names that safetensors gives them."""

from __future__ import annotations

import torch

__all__ = ["DTYPES", "Unsupported", "dtype_of"]

_NAMES = {
    "BF16": "bfloat16",
    "BOOL": "bool",
    "C64": "complex64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "I8": "int8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "U8": "uint8",
}

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, ours) for name, ours in _NAMES.items() if hasattr(torch, ours)}
"""The dtypes that this torch has. The format's 4 and 6 bit floats are absent: torch has no element of that size."""


class Unsupported(LookupError):
    """Weights that only transformers can load."""


def dtype_of(name: str) -> torch.dtype:
    """Return the torch dtype that safetensors calls `name`. Raises Unsupported."""
    try:
        return DTYPES[name]
    except KeyError:
        raise Unsupported(f"torch {torch.__version__} has no dtype for {name!r}") from None
