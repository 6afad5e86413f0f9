"""All holders of a compressed row get the same bits: alone or among others, with any threads, on any device."""

from __future__ import annotations

import pytest
import torch
from compressors import DTYPES, EXACT, RANDOM, SHAPE, UNIT, normal, round_trip

from topokit_trainer.compression import base as base_module
from topokit_trainer.compression import bits as bits_module
from topokit_trainer.compression import make_compressor
from topokit_trainer.compression import plain as plain_module
from topokit_trainer.compression import quantize as quantize_module
from topokit_trainer.compression import sign as sign_module
from topokit_trainer.compression import sparse as sparse_module

LONG = ["identity", "fp16", "sign", "qsgd:4,32", "top-k:0.07+sign", "rand-k:0.1", "low-rank:3"]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_a_row_is_compressed_as_if_it_were_alone(text, dtype):
    dtype, draws = DTYPES[dtype], list(range(7))
    compressor = make_compressor(text)(SHAPE, dtype)
    wide = normal(7, 450, dtype=dtype)
    x = wide[:, 21:429]  # columns of a stack
    packed = compressor.encode(x, draws)
    for row in range(7):
        alone = compressor.encode(x[row].clone().unsqueeze(0), [row])
        assert torch.equal(alone, packed[row : row + 1])


def test_a_long_row_is_added_up_as_if_it_were_alone(threads):
    compressor = make_compressor("sign")((70_001,), torch.float32)
    x = normal(7, 70_001, dtype=torch.float32).exp()
    packed = compressor.encode(x, [0] * 7)
    for count in (1, 2):
        threads(count)
        assert torch.equal(compressor.encode(x, [0] * 7), packed)
        for row in range(7):
            assert torch.equal(compressor.encode(x[row : row + 1], [0]), packed[row : row + 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_operations_of_other_devices_give_the_same(text, dtype, monkeypatch):
    dtype, draws = DTYPES[dtype], [1, 2, 3]
    compressor = make_compressor(text)(SHAPE, dtype)
    x = normal(3, 408, dtype=dtype)
    packed = compressor.encode(x, draws)
    decoded = compressor.decode(packed, draws)
    for module in (base_module, bits_module, plain_module, quantize_module, sign_module, sparse_module):
        if hasattr(module, "on_cpu"):
            monkeypatch.setattr(module, "on_cpu", lambda x: False)
    assert torch.equal(compressor.decode(packed, draws), decoded)
    there = compressor.encode(x, draws)
    assert there.shape == packed.shape
    if "qsgd" not in text:  # whose random numbers are others
        found = compressor.decode(there, draws)
        assert torch.allclose(found.double(), decoded.double(), rtol=4 * UNIT[dtype], atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_all_holders_get_the_same_bits(text, dtype, threads):
    dtype, draws = DTYPES[dtype], list(range(7))
    # Some are long enough for PyTorch to use several threads, and for blocks.
    shape = {"sign": (260, 257)}.get(text, (96, 57)) if dtype == torch.float32 and text in LONG else (30, 35)
    compressor = make_compressor(text)(shape, dtype)
    if isinstance(compressor, base_module.Dense) and text != "sign":
        compressor.block = 1 << 12
    d, size = compressor.columns, compressor.size
    packed = compressor.encode(normal(7, d, dtype=dtype), draws)
    start = normal(7, d, seed=1, dtype=dtype)
    decoded = compressor.decode(packed, draws)
    added = start + decoded
    if "top-k" in text or "rand-k" in text:
        added = torch.where(decoded == 0, start, added)  # which keeps -0
    message = torch.zeros(7, size + 11, dtype=torch.uint8)
    message[:, 3 : 3 + size] = packed  # no number starts where numbers do
    for count in (1, 2):
        threads(count)
        for row in (0, 6):
            for bytes_there in (packed[row : row + 1], message[row : row + 1, 3 : 3 + size]):
                assert torch.equal(compressor.decode(bytes_there, [row])[0], decoded[row])
                narrow = torch.zeros(1, d + 5, dtype=dtype)
                narrow[:, 2 : 2 + d] = start[row]
                compressor.add_(narrow[:, 2 : 2 + d], None, bytes_there, [row])
                assert torch.equal(narrow[0, 2 : 2 + d], added[row])
                assert (narrow[0, :2] == 0).all()
                assert (narrow[0, 2 + d :] == 0).all()
        together = start.clone()
        compressor.add_(together, None, message[:, 3 : 3 + size], draws)
        assert torch.equal(together, added)
        order = [5, 0, 3]
        spread = torch.zeros(9, d + 5, dtype=dtype)
        spread[[8, 1, 4], 2 : 2 + d] = start[order]
        compressor.add_(spread[:, 2 : 2 + d], torch.tensor([8, 1, 4]), message[order, 3 : 3 + size], order)
        assert torch.equal(spread[[8, 1, 4], 2 : 2 + d], added[order])
        assert (spread[[0, 2, 3, 5, 6, 7]] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_what_is_no_number_neither_stops_nor_spreads(text, dtype):
    dtype = DTYPES[dtype]
    compressor = make_compressor(text)(SHAPE, dtype)
    x = normal(5, 408, dtype=dtype)
    alone = round_trip(compressor, x[:1], [0])
    x[1, 3], x[2, 5], x[3], x[4, ::2] = float("nan"), float("inf"), float("nan"), -float("inf")
    found = round_trip(compressor, x, range(5))
    assert torch.equal(found[:1], alone)
    if "rand" not in text:
        assert not found[3].isfinite().all(), "the run has to see that it has diverged"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_the_rows_are_left_as_they_are(text, dtype):
    compressor = make_compressor(text)(SHAPE, DTYPES[dtype])
    x = normal(2, 408, dtype=DTYPES[dtype])
    before = x.clone()
    packed = compressor.encode(x, [0, 1])
    sent = packed.clone()
    y = compressor.decode(packed, [0, 1])
    y.add_(1)
    assert torch.equal(packed, sent)
    packed.zero_()
    assert torch.equal(x, before)
