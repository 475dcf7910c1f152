"""Which engine takes weights onto a device, and what each makes of them where it is installed."""

from __future__ import annotations

import gc
import logging
import pickle
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import pytest

from phaita_loader._build.engines import chosen, placed

MODULES = {"fastsafetensors": "fastsafetensors", "instanttensor": "instanttensor", "runai": "runai_model_streamer"}
MIB = 1 << 20


@pytest.fixture
def installed(monkeypatch):
    """Has Python find these libraries only, each with the names that are given for it."""

    def only(**libraries):
        for name, module in MODULES.items():
            made = None
            if name in libraries:
                made = ModuleType(module)
                made.__spec__ = ModuleSpec(module, None)
                made.__dict__.update(libraries[name])
            monkeypatch.setitem(sys.modules, module, made)

    return only


def test_auto_is_the_ring_where_nothing_is_installed(installed):
    installed()
    assert chosen("auto", "cuda") == "ring"


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_auto_is_the_ring_on_other_devices(installed, device):
    installed(fastsafetensors={}, instanttensor={}, runai={})
    assert chosen("auto", device) == "ring"


def test_auto_takes_instanttensor_and_no_other(installed):
    installed(fastsafetensors={}, instanttensor={}, runai={})
    assert chosen("auto", "cuda") == "instanttensor"
    installed(fastsafetensors={}, runai={})
    assert chosen("auto", "cuda") == "ring"


@pytest.mark.parametrize("name", ["ring", *MODULES])
def test_a_name_means_itself(installed, name):
    installed(fastsafetensors={}, instanttensor={}, runai={})
    assert chosen(name, "cuda") == name


@pytest.mark.parametrize("name", ["", "Auto", "tensorizer", "_best"])
def test_a_name_that_is_none_lists_those_that_are(name):
    with pytest.raises(ValueError, match="auto, fastsafetensors, instanttensor, ring, runai"):
        chosen(name, "cuda")


@pytest.mark.parametrize("name", MODULES)
def test_a_library_that_is_not_installed_says_how_to_install_it(installed, name):
    installed()
    with pytest.raises(ValueError, match=rf"pip install '{MODULES[name].replace('_', '-')}>="):
        chosen(name, "cuda")


def test_a_library_that_can_not_reach_a_device_says_so(installed):
    installed(fastsafetensors={}, instanttensor={}, runai={})
    with pytest.raises(ValueError, match="'instanttensor' can't load onto 'cpu'"):
        chosen("instanttensor", "cpu")
    for name in MODULES:
        with pytest.raises(ValueError, match="'mps': use 'ring' or 'auto'"):
            chosen(name, "mps")
    assert chosen("ring", "mps") == "ring"


@pytest.fixture
def save(tmp_path, torch):
    """Writes shards, and gives their paths."""
    save_file = import_module("safetensors.torch").save_file

    def write(*shards):
        paths = [tmp_path / f"model-{number}.safetensors" for number in range(len(shards))]
        for path, tensors in zip(paths, shards, strict=True):
            save_file(tensors, path)
        return paths

    return write


@pytest.fixture
def shards(save, torch):
    """Two files of several dtypes, with a tensor larger than a buffer of the ring, and many small ones."""
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, generator=draw)

    return save(
        {"large": drawn(3, 1 << 20), "flag": torch.tensor([True, False]), "half": drawn(33, 7).bfloat16()},
        {f"small.{number}": drawn(number, 5) for number in range(50)}
        | {"scalar": torch.tensor(3), "odd": drawn(3).half()},
    )


def assert_bit_equal(torch, tensors, paths):
    load_file = import_module("safetensors.torch").load_file
    expected = {name: tensor for path in paths for name, tensor in load_file(path).items()}
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        ours = tensors[name].cpu()
        assert (ours.dtype, ours.shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(ours.view(-1).view(torch.uint8), tensor.view(-1).view(torch.uint8)), name


def assert_own_storage(tensors):
    for name, tensor in tensors.items():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes, name
        assert len(pickle.dumps(tensor)) < tensor.nbytes + 1000, name


def skip_unless_installed(engine):
    if engine in MODULES and find_spec(MODULES[engine]) is None:
        pytest.skip(f"{engine} is not installed")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["auto", "ring", "fastsafetensors", "runai"])
def test_an_engine_on_a_cpu(torch, shards, engine):
    skip_unless_installed(engine)
    done = placed(shards, torch.device("cpu"), engine)
    assert done.engine == ("ring" if engine == "auto" else engine)
    assert_bit_equal(torch, done.tensors, shards)
    assert_own_storage(done.tensors)


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["ring", "fastsafetensors", "runai"])
def test_only_what_is_wanted_comes(torch, shards, engine):
    skip_unless_installed(engine)
    done = placed(shards, torch.device("cpu"), engine, lambda name: name in {"half", "small.3"})
    assert done.tensors.keys() == {"half", "small.3"}


class Streamer:
    """As runai's, with the tensors that it is given."""

    def __init__(self, **tensors):
        self.tensors = tensors

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def stream_files(self, paths, device):
        assert device == "cpu"

    def get_tensors(self):
        yield from self.tensors.items()


@pytest.mark.torch
@pytest.mark.parametrize("change", [lambda one: one.half(), lambda one: one[:1], lambda one: one.to("meta")])
def test_a_library_that_makes_something_else_is_an_error(torch, save, installed, change):
    weight = torch.ones(2, 3)
    paths = save({"weight": weight})
    installed(runai={"SafetensorsStreamer": Streamer(weight=weight)})
    assert placed(paths, torch.device("cpu"), "runai").tensors == {"weight": weight}
    installed(runai={"SafetensorsStreamer": Streamer(weight=change(weight))})
    with pytest.raises(RuntimeError, match=r"runai made .* of .*weight"):
        placed(paths, torch.device("cpu"), "runai")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["ring", "runai"])
def test_a_caller_may_end_it(torch, save, installed, engine):
    installed(runai={"SafetensorsStreamer": None})

    def late():
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError, match="too late"):
        placed(save({"weight": torch.ones(2)}), torch.device("cpu"), engine, check=late)


@pytest.mark.torch
def test_a_library_that_was_named_fails_with_its_own_error(torch, save, installed):
    def broken(*args, **kwargs):
        raise OSError("libcufile.so is too old")

    installed(fastsafetensors={"fastsafe_open": broken})
    with pytest.raises(OSError, match="libcufile"):
        placed(save({"weight": torch.ones(1)}), torch.device("cpu"), "fastsafetensors")


# What follows needs a device.


@pytest.fixture
def cuda(torch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    gc.collect()
    torch.cuda.empty_cache()
    return torch.device("cuda", torch.cuda.current_device())


@pytest.mark.cuda
@pytest.mark.torch
@pytest.mark.parametrize("engine", ["auto", "ring", *MODULES])
def test_an_engine_on_a_cuda_device(torch, cuda, shards, engine):
    skip_unless_installed(engine)
    done = placed(shards, torch.device("cuda"), engine)
    assert {tensor.device for tensor in done.tensors.values()} == {cuda}
    assert_bit_equal(torch, done.tensors, shards)
    assert_own_storage(done.tensors)


@pytest.mark.cuda
@pytest.mark.torch
@pytest.mark.parametrize("engine", ["ring", *MODULES])
def test_a_tensor_is_freed_without_the_others(torch, cuda, save, engine):
    skip_unless_installed(engine)
    paths = save({"first": torch.ones(4 * MIB), "second": torch.ones(4 * MIB)})
    before = torch.cuda.memory_allocated(cuda)
    tensors = placed(paths, cuda, engine).tensors
    both = torch.cuda.memory_allocated(cuda)
    del tensors["first"]
    assert both - torch.cuda.memory_allocated(cuda) == 16 * MIB
    tensors.clear()
    assert torch.cuda.memory_allocated(cuda) <= before


@pytest.mark.cuda
@pytest.mark.torch
def test_the_ring_takes_no_more_of_the_device_than_the_tensors(torch, cuda, save):
    """Reserved: large tensors lie in one block a shard, small ones in segments of 2 MiB."""
    paths = save(*[{f"{shard}.{number}": torch.ones(number + 1, MIB // 2) for number in range(8)} for shard in (0, 1)])
    held, reserved = torch.cuda.memory_allocated(cuda), torch.cuda.memory_reserved(cuda)
    torch.cuda.reset_peak_memory_stats(cuda)
    tensors = placed(paths, cuda, "ring").tensors
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
    """Bytes in use, and those that torch keeps; both once it has looked which copies are over."""
    torch.cuda.synchronize()
    torch.empty(1, pin_memory=True)
    stats = torch.cuda.host_memory_stats()
    return stats["active_bytes.current"], stats["allocated_bytes.current"]


@pytest.mark.cuda
@pytest.mark.torch
def test_the_ring_gives_its_page_locked_memory_back(torch, cuda, save):
    """To torch's host cache, where the next load finds it."""
    if not hasattr(torch.cuda, "host_memory_stats"):
        pytest.skip("this torch does not count its page-locked memory")
    paths = save({"weight": torch.ones(40 * MIB)})
    used, kept = page_locked(torch)
    placed(paths, cuda, "ring")
    used_once, kept_once = page_locked(torch)
    assert used_once == used
    assert kept_once - kept <= 64 * MIB
    placed(paths, cuda, "ring")
    assert page_locked(torch) == (used_once, kept_once)


@pytest.mark.cuda
@pytest.mark.torch
def test_the_ring_copies_from_page_locked_memory_only(torch, cuda, save):
    paths = save({"weight": torch.ones(20 * MIB)})
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        placed(paths, cuda, "ring")
    copies = [event.name for event in seen.events() if event.name.startswith("Memcpy")]
    assert copies == 10 * ["Memcpy HtoD (Pinned -> Device)"]


@pytest.mark.cuda
@pytest.mark.torch
def test_the_ring_waits_for_work_on_memory_that_it_is_given(torch, cuda, save):
    """A kernel still writes to a tensor that was freed: what is loaded into the same memory must come after it."""
    paths = save({"weight": torch.full((MIB,), 3, dtype=torch.int32)})
    for _ in range(5):
        used = torch.zeros(MIB, dtype=torch.int32, device=cuda)
        torch.cuda._sleep(50_000_000)
        used.fill_(7)
        del used
        tensors = placed(paths, cuda, "ring").tensors
        assert bool((tensors["weight"] == 3).all())


@pytest.mark.cuda
@pytest.mark.torch
def test_the_ring_is_used_from_a_stream_of_the_callers(torch, cuda, shards):
    with torch.cuda.stream(torch.cuda.Stream(cuda)):
        tensors = placed(shards, cuda, "ring").tensors
        assert_bit_equal(torch, tensors, shards)


@pytest.mark.cuda
@pytest.mark.torch
def test_another_device_than_the_current_one(torch, cuda, shards):
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    other = torch.device("cuda", (cuda.index + 1) % torch.cuda.device_count())
    for engine in ["ring", *(name for name, module in MODULES.items() if find_spec(module))]:
        tensors = placed(shards, other, engine).tensors
        assert {tensor.device for tensor in tensors.values()} == {other}
        assert torch.cuda.current_device() == cuda.index
        assert_bit_equal(torch, tensors, shards)


@pytest.mark.cuda
@pytest.mark.torch
def test_a_caller_who_gives_up_leaves_nothing_on_the_device(torch, cuda, save):
    calls = iter(range(3))
    before = torch.cuda.memory_allocated(cuda)
    with pytest.raises(StopIteration):
        placed(save({"weight": torch.ones(40 * MIB)}), cuda, "ring", check=lambda: next(calls))
    gc.collect()
    assert torch.cuda.memory_allocated(cuda) == before


@pytest.mark.cuda
@pytest.mark.torch
def test_auto_goes_on_with_the_ring_where_a_library_fails(torch, cuda, shards, installed, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError("no backend is available")

    installed(instanttensor={"safe_open": broken, "BackendPolicy": SimpleNamespace(BUFFERED=None)})
    with caplog.at_level(logging.WARNING, "phaita_loader"):
        done = placed(shards, cuda)
    assert done.engine == "ring"
    assert "no backend is available" in caplog.text
    assert_bit_equal(torch, done.tensors, shards)
