from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from phaita_loader._weight_files import TensorEntry, safetensors_entries, shards
from phaita_loader.errors import Corrupt
from tests.unit.fakes import safetensors


def with_header(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def tensor(start: object, end: object) -> bytes:
    return json.dumps({"t": {"dtype": "U8", "shape": [1], "data_offsets": [start, end]}}).encode()


RIGHT = [
    safetensors(b"12345"),
    safetensors(b""),
    with_header(b"{}"),
    # Spaces may fill the header up, so that the tensors begin at a round address.
    with_header(b'{"__metadata__": {"format": "pt"}}   '),
]


@pytest.mark.parametrize("data", RIGHT)
def test_right_headers(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    safetensors_entries(path)


WRONG = [
    b"",
    b"1234567",
    with_header(b""),
    with_header(b"{}", length=3),
    with_header(b"{}", length=2**63),
    with_header(b"<html>"),
    with_header(b"[]"),
    with_header(b'{"t": 1}'),
    with_header(b'{"t": {}}'),
    with_header(b"\xff\xff"),
    # A body that was cut off, or that something was added to.
    safetensors(b"12345")[:-1],
    safetensors(b"12345") + b"6",
    with_header(tensor(5, 0), b""),
    with_header(tensor(-1, 0), b""),
    with_header(tensor("a", "b"), b""),
    with_header(tensor(0, None), b""),
    with_header(b"[" * 100_000),
]


@pytest.mark.parametrize("data", WRONG, ids=lambda data: repr(data[:24]))
def test_wrong_headers(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=r"model\.safetensors"):
        safetensors_entries(path)


def test_the_shards_of_an_index(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one", "b": "two", "c": "one"}}))
    assert shards(index) == {"one", "two"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": []}}',
        '{"weight_map": {"a": "../x"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": ".."}}',
        '{"weight_map": {"a": ""}}',
        '{"weight_map": {"a": "x\\u0000"}}',
        "[" * 100_000,
    ],
)
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(Corrupt, match="index"):
        shards(index)


def test_where_a_tensor_lies(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_header(header, bytes(12)))
    begin = 8 + len(header)
    assert safetensors_entries(path) == (TensorEntry("w", "BF16", (2, 3), begin, begin + 12),)


@pytest.mark.parametrize("spans", [((0, 4), (0, 4)), ((0, 4), (2, 6)), ((0, 4), (5, 9)), ((1, 5),)], ids=str)
def test_tensors_lie_side_by_side(tmp_path: Path, spans: tuple[tuple[int, int], ...]) -> None:
    """As safetensors itself demands: two names for the same bytes would be one tensor for two parameters."""
    entries = {str(n): {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]} for n, (a, b) in enumerate(spans)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_header(json.dumps(entries).encode(), bytes(spans[-1][1])))
    with pytest.raises(Corrupt, match="overlap"):
        safetensors_entries(path)
