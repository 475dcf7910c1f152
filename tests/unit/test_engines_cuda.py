"""The engines on a CUDA device: bit-equal tensors, memory given back, the caller's stream and current device kept."""

from __future__ import annotations

import gc
import logging
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from phaita_loader._build.engines import load_onto
from tests.unit.engines import (
    MODULES,
    assert_bit_equal,
    assert_own_storage,
    installer,
    skip_unless_installed,
    write_mixed_shards,
    write_shards,
)

pytestmark = [pytest.mark.cuda, pytest.mark.torch]

MIB = 1 << 20


@pytest.fixture
def installed(monkeypatch):
    return installer(monkeypatch)


@pytest.fixture
def save(tmp_path):
    return partial(write_shards, tmp_path)


@pytest.fixture
def shards(torch, tmp_path):
    return write_mixed_shards(torch, tmp_path)


@pytest.fixture
def cuda(torch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    gc.collect()
    torch.cuda.empty_cache()
    return torch.device("cuda", torch.cuda.current_device())


@pytest.mark.parametrize("engine", ["auto", "ring", *MODULES])
def test_an_engine_on_a_cuda_device(torch, cuda, shards, engine):
    skip_unless_installed(engine)
    done = load_onto(torch.device("cuda"), shards, engine)
    assert {tensor.device for tensor in done.tensors.values()} == {cuda}
    assert_bit_equal(torch, done.tensors, shards)
    assert_own_storage(done.tensors)


@pytest.mark.parametrize("engine", ["ring", *MODULES])
def test_a_tensor_is_freed_without_the_others(torch, cuda, save, engine):
    skip_unless_installed(engine)
    paths = save({"first": torch.ones(4 * MIB), "second": torch.ones(4 * MIB)})
    before = torch.cuda.memory_allocated(cuda)
    tensors = load_onto(cuda, paths, engine).tensors
    both = torch.cuda.memory_allocated(cuda)
    del tensors["first"]
    assert both - torch.cuda.memory_allocated(cuda) == 16 * MIB
    tensors.clear()
    assert torch.cuda.memory_allocated(cuda) <= before


def test_the_ring_takes_no_more_of_the_device_than_the_tensors(torch, cuda, save):
    """Reserved: large tensors lie in one block a shard, small ones in segments of 2 MiB."""
    paths = save(*[{f"{shard}.{number}": torch.ones(number + 1, MIB // 2) for number in range(8)} for shard in (0, 1)])
    held, reserved = torch.cuda.memory_allocated(cuda), torch.cuda.memory_reserved(cuda)
    torch.cuda.reset_peak_memory_stats(cuda)
    tensors = load_onto(cuda, paths, "ring").tensors
    size = sum(tensor.nbytes for tensor in tensors.values())
    assert size == 2 * 36 * 2 * MIB
    for now, before in [
        (torch.cuda.memory_allocated(cuda), held),
        (torch.cuda.max_memory_allocated(cuda), held),
        (torch.cuda.max_memory_reserved(cuda), reserved),
    ]:
        assert size <= now - before + 4 * MIB
        assert now - before <= size + 8 * MIB


def page_locked(torch):
    """Return the bytes in use and the bytes that torch keeps, after it has checked which copies are done."""
    torch.cuda.synchronize()
    torch.empty(1, pin_memory=True)
    stats = torch.cuda.host_memory_stats()
    return stats["active_bytes.current"], stats["allocated_bytes.current"]


def test_the_ring_gives_its_page_locked_memory_back(torch, cuda, save):
    """To torch's host cache, where the next load finds it."""
    if not hasattr(torch.cuda, "host_memory_stats"):
        pytest.skip("this torch does not count its page-locked memory")
    paths = save({"weight": torch.ones(40 * MIB)})
    used, kept = page_locked(torch)
    load_onto(cuda, paths, "ring")
    used_once, kept_once = page_locked(torch)
    assert used_once == used
    assert kept_once - kept <= 64 * MIB
    load_onto(cuda, paths, "ring")
    assert page_locked(torch) == (used_once, kept_once)


def test_the_ring_copies_from_page_locked_memory_only(torch, cuda, save):
    paths = save({"weight": torch.ones(20 * MIB)})
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        load_onto(cuda, paths, "ring")
    copies = [event.name for event in seen.events() if event.name.startswith("Memcpy")]
    assert copies == 10 * ["Memcpy HtoD (Pinned -> Device)"]


def test_the_ring_waits_for_work_on_memory_that_it_is_given(torch, cuda, save):
    """A kernel still writes to a tensor that was freed: what is loaded into the same memory must come after it."""
    paths = save({"weight": torch.full((MIB,), 3, dtype=torch.int32)})
    for _ in range(5):
        used = torch.zeros(MIB, dtype=torch.int32, device=cuda)
        torch.cuda._sleep(50_000_000)
        used.fill_(7)
        del used
        tensors = load_onto(cuda, paths, "ring").tensors
        assert bool((tensors["weight"] == 3).all())


def test_the_ring_is_used_from_a_stream_of_the_callers(torch, cuda, shards):
    with torch.cuda.stream(torch.cuda.Stream(cuda)):
        tensors = load_onto(cuda, shards, "ring").tensors
        assert_bit_equal(torch, tensors, shards)


def test_another_device_than_the_current_one(torch, cuda, shards):
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    other = torch.device("cuda", (cuda.index + 1) % torch.cuda.device_count())
    for engine in ["ring", *(name for name, module in MODULES.items() if find_spec(module))]:
        tensors = load_onto(other, shards, engine).tensors
        assert {tensor.device for tensor in tensors.values()} == {other}
        assert torch.cuda.current_device() == cuda.index
        assert_bit_equal(torch, tensors, shards)


def test_a_caller_who_gives_up_leaves_nothing_on_the_device(torch, cuda, save):
    calls = iter(range(3))

    def check() -> None:
        next(calls)

    before = torch.cuda.memory_allocated(cuda)
    with pytest.raises(StopIteration):
        load_onto(cuda, save({"weight": torch.ones(40 * MIB)}), "ring", check=check)
    gc.collect()
    assert torch.cuda.memory_allocated(cuda) == before


def test_auto_goes_on_with_the_ring_where_a_library_fails(torch, cuda, shards, installed, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError("no backend is available")

    installed(instanttensor={"safe_open": broken, "BackendPolicy": SimpleNamespace(BUFFERED=None)})
    with caplog.at_level(logging.WARNING, "phaita_loader"):
        done = load_onto(cuda, shards)
    assert done.engine == "ring"
    assert "no backend is available" in caplog.text
    assert_bit_equal(torch, done.tensors, shards)
