"""The CUDA context that is made during the imports: the calls to the driver, and their failures."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from phaita_loader._build.cuda_context import create_cuda_context


class Driver:
    """A libcuda with two devices; each call's result can be made an error."""

    def __init__(self, **results: Any) -> None:
        self.results = results
        self.asked: list[Any] = []

    def __call__(self, name: str) -> Any:
        self.asked.append(name)
        return self

    def cuInit(self, flags: int) -> Any:  # noqa: N802  # the driver's name
        return self._answer("cuInit", flags)

    def cuDeviceGet(self, device: Any, number: int) -> Any:  # noqa: N802  # the driver's name
        device._obj.value = 70 + number
        return self._answer("cuDeviceGet", number) or (101 if number > 1 else 0)

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> Any:  # noqa: N802  # the driver's name
        return self._answer("cuDevicePrimaryCtxRetain", device.value)

    def _answer(self, name: str, argument: Any) -> Any:
        self.asked.append((name, argument))
        return self.results.get(name, 0)


@pytest.fixture(autouse=True)
def _torch_has_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier tests may have imported torch on a machine that has a device."""
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False)))


def asked(device: str, driver: Driver) -> Any:
    thread = create_cuda_context(device, driver)
    if thread is not None:
        thread.join()
    return driver.asked[1:]


def finished(thread: threading.Thread | None) -> None:
    assert thread is not None
    thread.join()


@pytest.mark.parametrize(("device", "number"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_the_context_of_the_device_is_made(device: str, number: int) -> None:
    calls = [("cuInit", 0), ("cuDeviceGet", number), ("cuDevicePrimaryCtxRetain", 70 + number)]
    assert asked(device, Driver()) == calls


@pytest.mark.parametrize("device", [None, "", "cpu", "mps", "cuda:", "cuda:x", "cuda:-1", "cudax", "meta"])
def test_other_devices_need_none(device: str) -> None:
    driver = Driver()
    assert create_cuda_context(device, driver) is None
    assert driver.asked == []


@pytest.mark.parametrize("call", ["cuInit", "cuDeviceGet"])
def test_a_driver_that_refuses_is_asked_no_more(call: str) -> None:
    assert asked("cuda", Driver(**{call: 100}))[-1][0] == call


def test_a_device_that_is_not_there_gets_none() -> None:
    assert asked("cuda:7", Driver()) == [("cuInit", 0), ("cuDeviceGet", 7)]


@pytest.mark.parametrize("error", [OSError("libcuda.so.1: cannot open"), AttributeError("cuInit")])
def test_a_machine_without_a_driver_goes_on(error: Exception) -> None:
    def missing(name: str) -> None:
        raise error

    finished(create_cuda_context("cuda", missing))


def test_a_device_that_torch_uses_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    used = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", used)
    driver = Driver()
    finished(create_cuda_context("cuda", driver))
    assert driver.asked == []


def test_a_torch_that_is_half_imported_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert asked("cuda", Driver())[-1] == ("cuDevicePrimaryCtxRetain", 70)


def test_the_real_driver_or_none() -> None:
    """Nothing is raised on any machine, and a device that no machine has takes no memory."""
    finished(create_cuda_context("cuda:4096", ctypes.CDLL))


CONTEXT = """
import ctypes, sys
from phaita_loader._build.cuda_context import create_cuda_context
create_cuda_context("cuda").join()
assert "torch" not in sys.modules
driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
device, flags, active = ctypes.c_int(), ctypes.c_uint(), ctypes.c_int()
assert driver.cuDeviceGet(ctypes.byref(device), 0) == 0
assert driver.cuDevicePrimaryCtxGetState(device, ctypes.byref(flags), ctypes.byref(active)) == 0
assert active.value == 1
import torch
assert torch.ones(2, device="cuda").sum().item() == 2
"""


@pytest.mark.cuda
@pytest.mark.torch
def test_torch_finds_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if not import_module("torch").cuda.is_available():
        pytest.skip("no CUDA device")
    subprocess.run([sys.executable, "-c", CONTEXT], check=True, timeout=120)
