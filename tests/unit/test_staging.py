"""The ring of buffers between files and a device, with a late device and files that read short or fail."""

from __future__ import annotations

import io
import json
import pickle
import threading
from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phaita_loader.errors import Corrupt

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
staging = import_module("phaita_loader._build.staging")
dtypes = import_module("phaita_loader._build.dtypes")

CPU = torch.device("cpu")
Ring = staging.Ring


@pytest.fixture(autouse=True)
def _nothing_left_running():
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "phaita-staging"] == []


@pytest.fixture
def saved(tmp_path):
    """Return a function that writes shards and returns their paths."""

    def write(*shards):
        paths = [tmp_path / f"model-{number}.safetensors" for number in range(len(shards))]
        for path, tensors in zip(paths, shards, strict=True):
            safetensors.save_file(tensors, path)
        return paths

    return write


def numbers(count, dtype=torch.int32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-100, 100, (count,), generator=generator).to(dtype)


def assert_same(ours, paths):
    theirs = {name: tensor for path in paths for name, tensor in safetensors.load_file(path).items()}
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape), name
        assert torch.equal(ours[name].view(-1).view(torch.uint8), tensor.view(-1).view(torch.uint8)), name


class Late:
    """A device that copies only when it is waited for, as a real one may; it records its calls."""

    def __init__(self):
        self.asked = []
        self.sizes = []
        self.memories = []
        self.under_way = []
        self.copies = 0

    def __enter__(self):
        self.asked.append("begin")

    def __exit__(self, *error):
        self.asked.append("end")
        self._arrive(self.copies)

    def memory(self, size):
        self.memories.append(size)
        return torch.empty(size, dtype=torch.uint8)

    def reserve(self, sizes):
        self.sizes.append(list(sizes))

    def copy(self, to, source):
        self.copies += 1
        self.under_way.append((self.copies, to, source))

    def mark(self):
        self.asked.append("mark")
        upto = self.copies
        return lambda: self._arrive(upto)

    def _arrive(self, upto):
        self.asked.append("wait")
        while self.under_way and self.under_way[0][0] <= upto:
            _, to, source = self.under_way.pop(0)
            to.copy_(source)


RINGS = [Ring(), Ring(1, 16, 1), Ring(1, 7, 4), Ring(2, 64, 2), Ring(3, 5, 8), Ring(4, 1, 2)]
SOME = {"large": numbers(50), "small": numbers(1), "half": numbers(3, torch.bfloat16), "byte": numbers(5, torch.int8)}


@pytest.mark.parametrize("ring", RINGS, ids=str)
@pytest.mark.parametrize("stream", [lambda: None, Late], ids=["CPU", "late"])
def test_tensors_are_those_of_safetensors(saved, ring, stream):
    paths = saved(SOME, {"other": numbers(33, seed=1), "empty": torch.empty(0, 3)}, {"scalar": torch.tensor(2.5)})
    assert_same(staging.stage(paths, CPU, ring=ring, stream=stream()), paths)


def test_files_without_tensors(saved):
    assert staging.stage([], CPU) == {}
    assert staging.stage(saved({}), CPU) == {}
    assert staging.stage(saved({"empty": torch.empty(4, 0)}), CPU)["empty"].shape == (4, 0)


@pytest.mark.parametrize("name", sorted(dtypes.DTYPES))
def test_every_dtype_comes_as_it_is(tmp_path, name):
    dtype = dtypes.DTYPES[name]
    header = {"t": {"dtype": name, "shape": [2, 3], "data_offsets": [0, 6 * dtype.itemsize]}}
    body = bytes(range(6 * dtype.itemsize)) if name != "BOOL" else b"\0\1\1\0\1\0"
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_header(header, body))
    tensor = staging.stage([path], CPU)["t"]
    assert (tensor.dtype, tuple(tensor.shape)) == (dtype, (2, 3))
    assert bytes(tensor.view(-1).view(torch.uint8).tolist()) == body


def with_header(header, body):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_a_dtype_that_torch_lacks_is_said(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_header({"t": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, b"\0"))
    with pytest.raises(dtypes.Unsupported, match="F4"):
        staging.stage([path], CPU)


def test_a_shape_that_is_not_that_of_the_bytes_is_corrupt(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_header({"t": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 1]}}, b"\0"))
    with pytest.raises(Corrupt, match="t than its shape"):
        staging.stage([path], CPU)


def test_only_what_is_wanted_is_read(saved):
    paths = saved({"a": numbers(8), "b": numbers(8), "c": numbers(8)})
    read = Opened()
    tensors = staging.stage(paths, CPU, lambda name: name != "b", open_file=read)
    assert tensors.keys() == {"a", "c"}
    assert torch.equal(tensors["c"], numbers(8))
    assert sum(read.counts) == 64


def test_the_later_file_has_the_last_word(saved):
    paths = saved({"a": numbers(8)}, {"a": numbers(4, seed=1)})
    assert torch.equal(staging.stage(paths, CPU)["a"], numbers(4, seed=1))


def test_each_tensor_has_a_storage_of_its_own(saved):
    tensors = staging.stage(saved({f"w{number}": numbers(1000, seed=number) for number in range(9)}), CPU)
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors.values()}) == 9
    for tensor in tensors.values():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        assert tensor.is_leaf
        assert not tensor._is_view()
        assert len(pickle.dumps(tensor)) < tensor.nbytes + 1000


class Opened:
    """An opener of files that give at most `step` bytes a read and call `event(path, read so far)` before each."""

    def __init__(self, step=1 << 20, event=lambda path, total: None):
        self.step, self.event = step, event
        self.starts, self.counts = [], []
        self.lock = threading.Lock()

    def __call__(self, path):
        return _File(self, path)


class _File(io.FileIO):
    def __init__(self, opened, path):
        super().__init__(path)
        self._opened, self._path = opened, path

    def seek(self, offset, whence=0):
        with self._opened.lock:
            self._opened.starts.append((self._path.name, offset))
        return super().seek(offset, whence)

    def readinto(self, buffer):
        with self._opened.lock:
            self._opened.event(self._path, sum(self._opened.counts))
            count = super().readinto(memoryview(buffer)[: self._opened.step])
            self._opened.counts.append(count)
        return count


@pytest.mark.parametrize("step", [1, 3, 64])
def test_short_reads_go_on(saved, step):
    paths = saved(SOME, {"other": numbers(20)})
    assert_same(staging.stage(paths, CPU, ring=Ring(2, 50, 2), open_file=Opened(step)), paths)


def test_small_neighbours_share_a_read(saved):
    paths = saved({f"w{number}": numbers(2) for number in range(100)})
    read = Opened()
    staging.stage(paths, CPU, open_file=read)
    assert len(read.starts) == 1


def test_files_are_read_in_their_order(saved):
    paths = saved({"a": numbers(50), "b": numbers(50)}, {"c": numbers(50)})
    read = Opened()
    staging.stage(paths, CPU, ring=Ring(2, 40, 1), open_file=read)
    assert len(read.starts) == 15
    assert read.starts == sorted(read.starts)


def test_a_buffer_is_filled_again_only_after_its_copies(saved):
    """The late device reads the buffer when it is waited for: one that was filled too early would give other bytes."""
    paths = saved({"a": numbers(500)})
    stream = Late()
    assert_same(staging.stage(paths, CPU, ring=Ring(4, 16, 4), stream=stream), paths)
    assert stream.asked[0] == "begin"
    assert stream.asked[-2:] == ["end", "wait"]
    assert stream.asked.count("mark") == 125


def test_copies_overlap_the_reads(saved):
    """Half of the ring may be under way before one of its copies is waited for."""
    stream = Late()
    staging.stage(saved({"a": numbers(100)}), CPU, ring=Ring(6, 16, 2), stream=stream)
    assert stream.asked[: stream.asked.index("wait")] == ["begin", *4 * ["mark"]]


def test_memory_is_that_of_the_ring_and_less_for_less(saved):
    stream = Late()
    staging.stage(saved({"a": numbers(1000)}, {"b": numbers(1000)}), CPU, ring=Ring(3, 64, 2), stream=stream)
    staging.stage(saved({"a": numbers(10)}), CPU, stream=stream)
    assert stream.memories == [3 * 64, 40]


def test_the_device_is_told_what_each_shard_takes(saved):
    stream = Late()
    staging.stage(saved({"a": numbers(4), "b": numbers(2)}, {"c": numbers(1)}), CPU, stream=stream)
    assert [sorted(sizes) for sizes in stream.sizes] == [[8, 16], [4]]


class Stopped(BaseException):
    """A stand-in for KeyboardInterrupt, which would end the tests."""


def stop():
    raise Stopped


@pytest.mark.parametrize("ring", [Ring(1, 16, 1), Ring(4, 16, 4)], ids=str)
def test_a_caller_who_gives_up_leaves_nothing_running(saved, ring):
    stream, read = Late(), Opened()
    with pytest.raises(Stopped):
        staging.stage(saved({"a": numbers(1000)}), CPU, check=stop, ring=ring, stream=stream, open_file=read)
    assert stream.asked == ["begin", "end", "wait"]
    assert len(read.starts) <= 2 * ring.buffers


def test_what_is_under_way_ends_before_an_error_reaches_the_caller(saved):
    calls = iter([lambda: None, lambda: None, stop])
    stream = Late()
    with pytest.raises(Stopped):
        staging.stage(saved({"a": numbers(1000)}), CPU, check=lambda: next(calls)(), ring=Ring(8, 16, 2), stream=stream)
    assert stream.asked == ["begin", "mark", "mark", "end", "wait"]
    assert stream.under_way == []


def test_a_read_error_in_the_middle_reaches_the_caller(saved):
    def event(path, total):
        if total > 100:
            raise OSError(5, "Input/output error", path.name)

    with pytest.raises(OSError, match=r"model-0\.safetensors"):
        staging.stage(saved({"a": numbers(1000)}), CPU, ring=Ring(4, 16, 2), open_file=Opened(event=event))


def test_a_file_that_is_cut_meanwhile_is_corrupt(saved):
    paths = saved({"a": numbers(1000)})

    def event(path, total):
        if total > 100:
            with path.open("r+b") as file:
                file.truncate(200)

    with pytest.raises(Corrupt, match=r"model-0\.safetensors was cut"):
        staging.stage(paths, CPU, ring=Ring(2, 16, 2), open_file=Opened(event=event))


def test_a_file_that_goes_meanwhile_is_an_error(saved):
    def event(path, total):
        path.unlink(missing_ok=True)

    with pytest.raises(FileNotFoundError):
        staging.stage(saved({"a": numbers(1000)}), CPU, ring=Ring(2, 16, 2), open_file=Opened(event=event))


SHAPES = st.lists(st.integers(0, 7), max_size=3).map(tuple)
TENSORS = st.tuples(SHAPES, st.sampled_from([torch.int64, torch.bfloat16, torch.uint8, torch.bool, torch.float32]))
SHARDS = st.lists(st.lists(TENSORS, max_size=6), min_size=1, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SHARDS, st.integers(1, 6), st.integers(1, 100), st.integers(1, 5), st.booleans())
def test_any_layout_comes_bit_by_bit(saved, layout, buffers, size, readers, late):
    shards = [
        {f"{number}.{place}": filled(shape, dtype, seed=place) for place, (shape, dtype) in enumerate(shard)}
        for number, shard in enumerate(layout)
    ]
    paths = saved(*shards)
    stream = Late() if late else None
    assert_same(staging.stage(paths, CPU, ring=Ring(buffers, size, readers), stream=stream), paths)


def filled(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 100, shape, generator=generator).to(dtype)
