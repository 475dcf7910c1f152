"""Weight files as tensors."""

from __future__ import annotations

import json
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def map_weights() -> Any:
    return import_module("phaita_loader._build.mapping").map_weights


def write(path: Path, entries: dict[str, tuple[str, list[int], bytes]], padding: int = 0) -> Path:
    """Write a file of these tensors; `padding` spaces lengthen the header."""
    header, body = {}, b""
    for name, (dtype, shape, data) in entries.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode() + b" " * padding
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_layout_is_read_as_safetensors_reads_it(torch: Any, map_weights: Any, tmp_path: Path, data: Any) -> None:
    safetensors = import_module("safetensors.torch")
    sizes = {"F32": 4, "BF16": 2, "I64": 8, "U8": 1, "BOOL": 1, "F64": 8, "F8_E4M3": 1}
    entries = {}
    for number in range(data.draw(st.integers(0, 5))):
        dtype = data.draw(st.sampled_from(sorted(sizes)))
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        count = 1
        for length in shape:
            count *= length
        size = count * sizes[dtype]
        content = data.draw(st.binary(min_size=size, max_size=size))
        entries[f"t{number}"] = (dtype, shape, bytes(byte & 1 for byte in content) if dtype == "BOOL" else content)
    path = write(tmp_path / "model.safetensors", entries, data.draw(st.integers(0, 9)))
    expected = safetensors.load_file(path)
    ours = map_weights([path])
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert ours[name].dtype == tensor.dtype
        assert ours[name].shape == tensor.shape
        assert ours[name].flatten().view(torch.uint8).tolist() == tensor.flatten().view(torch.uint8).tolist()


def test_writing_to_a_tensor_leaves_the_file(map_weights: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "model.safetensors", {"w": ("F32", [2], bytes(8))})
    before = path.read_bytes()
    map_weights([path])["w"].fill_(7)
    assert path.read_bytes() == before


def test_several_files_are_one_model(map_weights: Any, tmp_path: Path) -> None:
    one = write(tmp_path / "1.safetensors", {"a": ("F32", [1], bytes(4))})
    two = write(tmp_path / "2.safetensors", {"b": ("F32", [1], bytes(4))})
    assert map_weights([one, two]).keys() == {"a", "b"}


def test_a_dtype_that_torch_lacks(map_weights: Any, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="F4"):
        map_weights([write(tmp_path / "model.safetensors", {"w": ("F4", [2], bytes(1))})])


def test_a_shape_of_another_size(map_weights: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="8 bytes for 3 values of F32"):
        map_weights([write(tmp_path / "model.safetensors", {"w": ("F32", [3], bytes(8))})])


def test_pickled_weights_are_mapped_each_with_its_own_storage(torch: Any, map_weights: Any, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(5, dtype=torch.bfloat16)}
    torch.save(weights, path)
    ours = map_weights([path])
    for name, tensor in weights.items():
        assert torch.equal(ours[name], tensor)
        assert ours[name].untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def test_what_is_no_tensor_among_pickled_weights(torch: Any, map_weights: Any, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(2), "epoch": 3}, path)
    with pytest.raises(ValueError, match="more than tensors"):
        map_weights([path])
