"""The choice of an engine, and the tensors of each on a CPU where it is installed."""

from __future__ import annotations

from functools import partial

import pytest

from phaita_loader._build.engines import load_onto, resolve_engine
from tests.unit.engines import (
    MODULES,
    assert_bit_equal,
    assert_own_storage,
    installer,
    skip_unless_installed,
    write_mixed_shards,
    write_shards,
)


@pytest.fixture
def installed(monkeypatch):
    return installer(monkeypatch)


def test_auto_is_the_ring_where_nothing_is_installed(installed):
    installed()
    assert resolve_engine("auto", "cuda") == "ring"


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_auto_is_the_ring_on_other_devices(installed, device):
    installed(fastsafetensors={}, instanttensor={}, runai={})
    assert resolve_engine("auto", device) == "ring"


def test_auto_takes_instanttensor_and_no_other(installed):
    installed(fastsafetensors={}, instanttensor={}, runai={})
    assert resolve_engine("auto", "cuda") == "instanttensor"
    installed(fastsafetensors={}, runai={})
    assert resolve_engine("auto", "cuda") == "ring"


@pytest.mark.parametrize("name", ["ring", *MODULES])
def test_a_name_means_itself(installed, name):
    installed(fastsafetensors={}, instanttensor={}, runai={})
    assert resolve_engine(name, "cuda") == name


@pytest.mark.parametrize("name", ["", "Auto", "tensorizer", "_best"])
def test_a_name_that_is_none_lists_those_that_are(name):
    with pytest.raises(ValueError, match="auto, fastsafetensors, instanttensor, ring, runai"):
        resolve_engine(name, "cuda")


@pytest.mark.parametrize("name", MODULES)
def test_a_library_that_is_not_installed_says_how_to_install_it(installed, name):
    installed()
    with pytest.raises(ValueError, match=rf"pip install '{MODULES[name].replace('_', '-')}>="):
        resolve_engine(name, "cuda")


def test_a_library_that_can_not_reach_a_device_says_so(installed):
    installed(fastsafetensors={}, instanttensor={}, runai={})
    with pytest.raises(ValueError, match="'instanttensor' can't load onto 'cpu'"):
        resolve_engine("instanttensor", "cpu")
    for name in MODULES:
        with pytest.raises(ValueError, match="'mps': use 'ring' or 'auto'"):
            resolve_engine(name, "mps")
    assert resolve_engine("ring", "mps") == "ring"


@pytest.fixture
def save(tmp_path):
    return partial(write_shards, tmp_path)


@pytest.fixture
def shards(torch, tmp_path):
    return write_mixed_shards(torch, tmp_path)


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["auto", "ring", "fastsafetensors", "runai"])
def test_an_engine_on_a_cpu(torch, shards, engine):
    skip_unless_installed(engine)
    done = load_onto(torch.device("cpu"), shards, engine)
    assert done.engine == ("ring" if engine == "auto" else engine)
    assert_bit_equal(torch, done.tensors, shards)
    assert_own_storage(done.tensors)


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["ring", "fastsafetensors", "runai"])
def test_only_what_is_wanted_comes(torch, shards, engine):
    skip_unless_installed(engine)
    done = load_onto(torch.device("cpu"), shards, engine, lambda name: name in {"half", "small.3"})
    assert done.tensors.keys() == {"half", "small.3"}


class Streamer:
    """A streamer like runai's, with given tensors."""

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
    assert load_onto(torch.device("cpu"), paths, "runai").tensors == {"weight": weight}
    installed(runai={"SafetensorsStreamer": Streamer(weight=change(weight))})
    with pytest.raises(RuntimeError, match=r"runai made .* of .*weight"):
        load_onto(torch.device("cpu"), paths, "runai")


@pytest.mark.torch
@pytest.mark.parametrize("engine", ["ring", "runai"])
def test_a_caller_may_end_it(torch, save, installed, engine):
    installed(runai={"SafetensorsStreamer": None})

    def late():
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError, match="too late"):
        load_onto(torch.device("cpu"), save({"weight": torch.ones(2)}), engine, check=late)


@pytest.mark.torch
def test_a_library_that_was_named_fails_with_its_own_error(torch, save, installed):
    def broken(*args, **kwargs):
        raise OSError("libcufile.so is too old")

    installed(fastsafetensors={"fastsafe_open": broken})
    with pytest.raises(OSError, match="libcufile"):
        load_onto(torch.device("cpu"), save({"weight": torch.ones(1)}), "fastsafetensors")
