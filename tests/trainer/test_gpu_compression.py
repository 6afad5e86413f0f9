"""Compressors on a CUDA device: the same bytes as on the CPU, or as good ones, and copies that agree bit for bit."""

from math import sqrt

import pytest
import torch

from topokit_trainer.compression import make_compressor
from topokit_trainer.compression.bits import (
    pack_bits,
    pack_integers,
    pack_places,
    places_bits,
    unpack_bits,
    unpack_integers,
    unpack_places,
)
from topokit_trainer.compression.sparse import largest_places

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
SAME = ["identity", "bf16", "fp16", "top-k:0.1", "top-k:0.4+bf16", "top-k:0.8+fp16", "rand-k:0.1", "rand-k:0.7+bf16"]
CLOSE = ["sign", "top-k:0.07+sign", "rand-k:0.5+sign", "low-rank:1", "low-rank:3"]  # sums are rounded otherwise
DRAWN = ["qsgd:1", "qsgd:4,32", "qsgd:300,7", "top-k:0.3+qsgd:4"]  # with other random numbers
SHAPE = (24, 17)


def normal(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def test_bits_integers_and_places_are_the_same_bytes():
    bits = normal(5, 77) > 0
    packed = pack_bits(bits.cuda())
    assert torch.equal(packed.cpu(), pack_bits(bits))
    assert torch.equal(unpack_bits(packed, 77).cpu(), bits)
    for width in (1, 3, 8, 11, 32):
        values = torch.randint(2**width, (3, 50))
        packed = pack_integers(values.cuda(), width)
        assert torch.equal(packed.cpu(), pack_integers(values, width))
        assert torch.equal(unpack_integers(packed, 50).cpu(), unpack_integers(packed.cpu(), 50))
    for k in (1, 30, 400, 970, 1000):
        places = torch.stack([torch.randperm(1000)[:k].sort().values for _ in range(3)])
        packed = pack_places(places.cuda(), 1000)
        assert packed.shape[1] == -(-places_bits(k, 1000) // 8)
        assert torch.equal(packed.cpu(), pack_places(places, 1000))
        assert torch.equal(unpack_places(packed, k, 1000).cpu(), places)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_are_the_same(dtype):
    x = normal(6, 5000, dtype=DTYPES[dtype])
    x[0], x[1] = 0, x[1].round()
    x[2, 7], x[3, 9] = float("nan"), float("inf")
    for k in (1, 50, 2500, 5000):
        assert torch.equal(largest_places(x.cuda(), k).cpu(), largest_places(x, k))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", SAME + CLOSE + DRAWN)
def test_it_is_as_on_the_cpu(text, dtype):
    dtype, draws = DTYPES[dtype], [3, 4, 5]
    compressor = make_compressor(text)(SHAPE, dtype)
    x = normal(3, 408, dtype=dtype)
    here, there = compressor.encode(x, draws), compressor.encode(x.cuda(), draws)
    assert there.is_cuda
    assert there.shape == (3, compressor.size)
    if text in SAME:
        assert torch.equal(there.cpu(), here)
    # The same bytes mean the same numbers, wherever they are.
    decoded = compressor.decode(there, draws)
    assert decoded.is_cuda
    assert torch.equal(decoded.cpu(), compressor.decode(there.cpu(), draws))
    if text in CLOSE:
        close = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 0.05}[str(dtype).removeprefix("torch.")]
        assert (decoded.cpu() - compressor.decode(here, draws)).abs().max() <= close * x.abs().max()


@pytest.mark.parametrize("text", SAME + CLOSE + DRAWN)
def test_holders_on_the_gpu_get_the_same_bits(text):
    draws = list(range(7))
    compressor = make_compressor(text)((300, 257), torch.float32)
    d, size = compressor.columns, compressor.size
    packed = compressor.encode(normal(7, d, dtype=torch.float32).cuda(), draws)
    decoded = compressor.decode(packed, draws)
    message = torch.zeros(7, size + 11, dtype=torch.uint8, device="cuda")
    message[:, 3 : 3 + size] = packed
    for row in (0, 6):
        assert torch.equal(compressor.decode(message[row : row + 1, 3 : 3 + size], [row])[0], decoded[row])
    target = normal(9, d + 5, dtype=torch.float32).cuda()
    expected = target.clone()
    rows = torch.tensor([8, 1, 4, 0, 2, 3, 5], device="cuda")
    compressor.add_(target[:, 2 : 2 + d], rows, message[:, 3 : 3 + size], draws)
    expected[rows, 2 : 2 + d] += decoded
    assert torch.equal(target, expected)


@pytest.mark.parametrize("text", DRAWN)
def test_random_rounding_on_the_gpu_contracts_and_is_repeated(text):
    compressor, draws = make_compressor(text)(SHAPE, torch.float64), range(200)
    x = normal(1, 408).cuda().expand(200, -1)
    packed = compressor.encode(x, draws)
    assert torch.equal(packed, compressor.encode(x, draws))
    errors = (x - compressor.decode(packed, draws)).square().sum(dim=1)
    assert errors.std() > 0
    chance = 5 * errors.std().item() / sqrt(200)
    assert errors.mean().item() <= (1 - compressor.contraction) * x[0].square().sum().item() + chance
