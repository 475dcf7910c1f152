"""Build a model without its weights: as always, except that no value is drawn for a parameter."""

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
    """A mode of this thread in which models are built with uninitialised parameters and this dtype.

    In-place operations on parameters, such as all of `torch.nn.init`, do nothing; factories that would take torch's
    default dtype take this one. Nothing changes for other threads: the switches of torch and transformers
    (`no_init_weights`, `set_default_dtype`) act on the whole process, and were measured to corrupt the models that
    other threads build meanwhile.

    `unclear` names operations whose result has another dtype for an unknown reason (dividing an integer tensor, for
    example, takes torch's default). A model built with such operations must not be used.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.unclear: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, changed as the class says; torch calls this for each of its functions."""
        given = kwargs or {}
        if func is torch.tensor and len(args) == 1 and isinstance(args[0], list) and not args[0]:
            # transformers makes an empty tensor to see whether it builds on the meta device. There it leaves out the
            # walk that draws values, which has nothing to do here, and patches torch.nn.init for all threads.
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
            made = _lazy_zeros(args, self._dtype) if blank else None
            return func(*args, **{**given, "dtype": self._dtype}) if made is None else made
        result = func(*args, **given)
        if not isinstance(result, torch.Tensor) or result.dtype == self._dtype or not _is_floating(result):
            return result
        if func in _BY_VALUE and _is_plain(args):
            return func(*args, **{**given, "dtype": self._dtype})
        name = getattr(func, "__name__", str(func))
        if name not in _CASTS and not any(_may_set_dtype(value) for value in (*args, *given.values())):
            self.unclear.add(name)
        return result


@lru_cache(maxsize=1024)
def _is_in_place(func: Callable[..., Any]) -> bool:
    name = getattr(func, "__name__", "")
    return name.endswith("_") and not name.endswith("__")


def _lazy_zeros(shape: tuple[Any, ...], dtype: torch.dtype) -> torch.Tensor | None:
    """Return zeros in pages of their own, which take no memory until they are used; None for a small tensor."""
    # glibc raises its threshold for such pages when a large block is freed, and then keeps megabytes of freed memory.
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


def _may_set_dtype(value: Any) -> bool:
    """True if a result may have its dtype from this argument: a floating-point tensor, or an array of numpy."""
    if isinstance(value, (list, tuple)):
        return any(_may_set_dtype(one) for one in value)
    return _is_floating(value) if isinstance(value, torch.Tensor) else hasattr(value, "dtype")


def _is_floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
