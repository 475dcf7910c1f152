"""A model before it has its weights: built as ever, except that no value is drawn for a parameter."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["Skeleton"]

_OF_DEFAULT_DTYPE = frozenset({torch.empty, torch.eye, torch.linspace, torch.logspace, torch.ones, torch.zeros})
_BLANK = frozenset({torch.empty, torch.zeros})
_LARGE = 128 << 10  # bytes; from here on glibc maps a block by itself, until it has learned otherwise
_RANDOM = frozenset({torch.rand, torch.randn})
_BY_VALUE = frozenset({torch.arange, torch.as_tensor, torch.full, torch.scalar_tensor, torch.tensor})
_CASTS = frozenset({"float", "to", "type"})


class Skeleton(TorchFunctionMode):
    """While it is entered, models built in this thread leave their parameters uninitialised and have this dtype.

    In-place operations on parameters (all of `torch.nn.init` is such) do nothing; factories that would take torch's
    default dtype take this one. Nothing of torch or transformers is switched for other threads: their own switches
    (`no_init_weights`, `set_default_dtype`) are the process's, and were measured to spoil the models of threads beside.

    `unclear` names operations whose result has another dtype for a reason that can't be seen from here (an integer
    tensor divided, say, takes torch's default). A model built so must not be used.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.unclear: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for each of its functions."""
        given = kwargs or {}
        if func is torch.tensor and len(args) == 1 and isinstance(args[0], list) and not args[0]:
            # So transformers finds out whether it builds on the meta device, where it leaves out the walk that draws
            # values: a walk that has no work here, and patches torch.nn.init for all threads meanwhile.
            return torch.empty(0, device="meta")
        if _is_in_place(func):
            target = args[0] if args else given.get("tensor")  # torch.nn.init hands its tensor on by name
            if isinstance(target, torch.nn.Parameter):
                return target
        if func in _RANDOM:  # the generator stays as it was; whatever is drawn here is replaced
            func, given = torch.zeros, {name: value for name, value in given.items() if name != "generator"}
        if given.get("dtype") is not None:
            return func(*args, **given)
        # Even where torch's default is this dtype: another thread's `from_pretrained` may switch it at any time.
        if func in _OF_DEFAULT_DTYPE:
            blank = func in _BLANK and not any(value is not None for value in given.values())
            made = _reserved(args, self._dtype) if blank else None
            return func(*args, **{**given, "dtype": self._dtype}) if made is None else made
        result = func(*args, **given)
        if not isinstance(result, torch.Tensor) or result.dtype == self._dtype or not _has_fraction(result):
            return result
        if func in _BY_VALUE and _is_plain(args):
            return func(*args, **{**given, "dtype": self._dtype})
        name = getattr(func, "__name__", str(func))
        if name not in _CASTS and not any(_tells_dtype(value) for value in (*args, *given.values())):
            self.unclear.add(name)
        return result


@lru_cache(maxsize=1024)
def _is_in_place(func: Callable[..., Any]) -> bool:
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__")


def _reserved(shape: tuple[Any, ...], dtype: torch.dtype) -> torch.Tensor | None:
    """Zeros in pages of their own, which take no memory until they are used; None where they would be few.

    The C library learns from large blocks that are given back to keep such blocks, which would cost megabytes later.
    """
    size = shape[0] if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else shape
    count = prod(size) * dtype.itemsize
    if count < _LARGE or sys.platform == "win32":
        return None
    pages = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(size)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(one) for one in value)
    return isinstance(value, (bool, int, float))


def _tells_dtype(value: Any) -> bool:
    """Whether a result's dtype may come from this argument: a tensor with fractions, or an array of numpy."""
    if isinstance(value, (list, tuple)):
        return any(_tells_dtype(one) for one in value)
    return _has_fraction(value) if isinstance(value, torch.Tensor) else hasattr(value, "dtype")


def _has_fraction(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
