"""The device that is timed."""

from __future__ import annotations

import torch

from tests.bench.initialise.results import NO_CUDA

DEVICE = "cuda:0" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """Return the device's name, which heads every report."""
    return torch.cuda.get_device_name() if DEVICE != "cpu" else NO_CUDA


def synchronise() -> None:
    """Both ends of a timing wait for the device."""
    if DEVICE != "cpu":
        torch.cuda.synchronize()
