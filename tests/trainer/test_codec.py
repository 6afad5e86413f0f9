"""Whole models, packed tensor by tensor or as one."""

from __future__ import annotations

import pytest
import torch
from compressors import normal, round_trip
from torch import nn

from topokit_trainer.compression import Codec, make_compressor
from topokit_trainer.compression.codec import drawn_seeds
from topokit_trainer.stacks import NodeStacks


def stacks():
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 10))
    model[1].double()
    names = [["0.weight", "0.bias", "1.weight"], ["1.bias"]]
    return NodeStacks(model, 3, names)


@pytest.mark.parametrize("text", ["identity", "sign", "qsgd:4", "top-k:0.1+sign", "rand-k:0.2", "low-rank:2"])
@pytest.mark.parametrize("by", ["tensor", "model"])
def test_models_are_packed_tensor_by_tensor_or_whole(text, by):
    nodes, make = stacks(), make_compressor(text)
    codec = Codec.of(nodes, make, by, seed=5)
    kinds = [stack.dtype for stack in nodes.stacks]
    assert kinds == [torch.float32, torch.float64, torch.float64]
    columns = {  # what is compressed together: stack, columns, shape
        "tensor": [(0, slice(0, 1200), (30, 40)), (0, slice(1200, 1230), (30,)), (1, slice(0, 300), (10, 30))],
        "model": [(0, slice(0, 1230), (1230,)), (1, slice(0, 300), (300,))],
    }[by] + [(2, slice(0, 10), (10,))]
    parts = [make(shape, kinds[stack]) for stack, _, shape in columns]
    assert codec.size == sum(part.size for part in parts)
    assert codec.contraction == min(part.contraction for part in parts)
    values = [normal(4, stack.shape[1], seed=k, dtype=stack.dtype) for k, stack in enumerate(nodes.stacks)]
    keys = [(0, 0, 3), (1, 0, 3), (2, 0, 3), (0, 1, 3)]
    packed = codec.encode(values, keys)
    assert packed.shape == (4, codec.size)
    targets = [torch.zeros(6, value.shape[1], dtype=value.dtype) for value in values]
    codec.add_(targets, torch.tensor([5, 0, 2, 3]), packed, keys)
    for number, ((stack, where, _), part) in enumerate(zip(columns, parts, strict=True)):
        for row, key in enumerate(keys):
            draw = drawn_seeds(5, len(parts), *key)[number]
            expected = round_trip(part, values[stack][row : row + 1, where], [draw])[0]
            assert torch.equal(targets[stack][(5, 0, 2, 3)[row], where], expected)
    assert all((target[[1, 4]] == 0).all() for target in targets)


def test_matrices_keep_their_shape_tensor_by_tensor():
    by_tensor, whole = (Codec.of(stacks(), make_compressor("low-rank:2"), by, 0) for by in ("tensor", "model"))
    assert by_tensor.size == 4 * 2 * (30 + 40) + 4 * 30 + 8 * 2 * (10 + 30) + 8 * 10
    assert whole.size == 4 * 1230 + 8 * 300 + 8 * 10, "a vector has no rank"
