"""Bits, integers and places as bytes: against strings of bits and Python's long integers, on both ways to pack."""

from math import ceil, comb, log2

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from topokit_trainer.compression import bits as module
from topokit_trainer.compression.bits import (
    bytes_of,
    numbers_of,
    pack_bits,
    pack_places,
    places_bits,
    unpack_bits,
    unpack_places,
)


@pytest.fixture(params=["numpy", "torch"])
def way(request, monkeypatch):
    """NumPy's packing, as on the CPU, and that of PyTorch's operations, as on other devices."""
    if request.param == "torch":
        monkeypatch.setattr(module, "on_cpu", lambda x: False)
    return request.param


def bytes_by_hand(bits):
    """The bytes of a row of bits, the first lowest, through one long integer."""
    number = sum(int(bit) << place for place, bit in enumerate(bits))
    return list(number.to_bytes(ceil(len(bits) / 8), "little"))


@pytest.mark.parametrize("pack", [pack_bits, module._pack_bits_anywhere])
@pytest.mark.parametrize("unpack", [unpack_bits, module._unpack_bits_anywhere])
@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 4), count=st.integers(1, 40), seed=st.integers(0, 99))
def test_bits_are_put_into_bytes_from_the_lowest(pack, unpack, rows, count, seed):
    bits = np.random.default_rng(seed).random((rows, count)) < 0.5
    packed = pack(torch.from_numpy(bits))
    assert packed.dtype == torch.uint8
    assert packed.shape == (rows, ceil(count / 8))
    assert packed.tolist() == [bytes_by_hand(row) for row in bits]
    assert unpack(packed, count).dtype == torch.bool
    assert (unpack(packed, count).numpy() == bits).all()


WIDTHS = [(torch.uint8, width) for width in range(1, 9)] + [
    (torch.int64, width) for width in (*range(1, 13), 24, 31, 32)
]


@pytest.mark.parametrize(("kind", "width"), WIDTHS)
def test_integers_of_any_width_are_packed_in_planes(way, kind, width):
    rng = np.random.default_rng(width)
    for rows, count in ((3, 5), (1, 16), (2, 1), (0, 4)):
        values = rng.integers(2**width, size=(rows, count))
        values.flat[:2] = 2**width - 1
        packed = module.pack_integers(torch.from_numpy(values).to(kind), width)
        assert packed.shape == (rows, width, ceil(count / 8))
        for row, planes in zip(values.tolist(), packed.tolist(), strict=True):
            assert planes == [bytes_by_hand([value >> place & 1 for value in row]) for place in range(width)]
        assert (module.unpack_integers(packed, count).numpy() == values).all()


def elias_fano_by_hand(places, d, low):
    """Low bits plane by plane, and then for each place as many zeros as its high part is above the last, and a one."""
    bits = [place >> plane & 1 for plane in range(low) for place in places]
    at = 0
    for place in places:
        bits += [0] * ((place >> low) - at) + [1]
        at = place >> low
    return bits + [0] * (((d - 1) >> low) - at)


def bits_by_hand(k, d):
    """The least of a bit for each, and what Elias-Fano coding takes for the places or for those left out."""

    def few(count):
        return min(count * low + count + ((d - 1) >> low) for low in range(60)) if count else 0

    return min(d, few(k), few(d - k))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), d=st.integers(1, 300))
def test_places_are_packed_by_elias_fano_coding_where_that_is_shortest(data, d):
    k = data.draw(st.integers(1, d))
    places = sorted(data.draw(st.permutations(range(d)))[:k])
    packed = pack_places(torch.tensor([places]), d)
    assert unpack_places(packed, k, d).tolist() == [places]
    assert places_bits(k, d) == bits_by_hand(k, d)
    assert packed.shape == (1, ceil(bits_by_hand(k, d) / 8))
    left_out = sorted(set(range(d)) - set(places))
    choices = [elias_fano_by_hand(these, d, low) for these in (places, left_out) if these for low in range(10)]
    choices += [[place in places for place in range(d)], *([] if left_out else [[]])]
    assert packed[0].tolist() in [bytes_by_hand(bits) for bits in choices if len(bits) == bits_by_hand(k, d)]


@pytest.mark.parametrize(("k", "d"), [(1, 1), (5, 5), (1, 1000), (30, 1000), (400, 1000), (970, 1000), (999, 1000)])
def test_places_of_several_rows(way, k, d):
    rng = np.random.default_rng(k)
    places = np.sort(np.stack([rng.permutation(d)[:k] for _ in range(4)]), axis=1)
    places[0], places[1] = np.arange(k), np.arange(d - k, d)  # as far to one side as they can be
    packed = module.pack_places(torch.from_numpy(places), d)
    assert packed.shape == (4, ceil(bits_by_hand(k, d) / 8))
    assert (module.unpack_places(packed, k, d).numpy() == places).all()
    for row in range(4):
        assert torch.equal(pack_places(torch.from_numpy(places[row : row + 1]), d), packed[row : row + 1])
    assert unpack_places(packed[:0], k, d).shape == (0, k)


@pytest.mark.parametrize("d", [50, 1000, 12345])
def test_places_take_little_more_than_the_number_of_sets_says(d):
    for k in range(1, d, max(1, d // 40)):
        least = log2(comb(d, k))
        assert least <= places_bits(k, d)
        assert places_bits(k, d) <= 1.25 * least + 3, k  # most where every fourth or so is kept
        if k <= d / 10:
            assert places_bits(k, d) <= least + 0.6 * k + 0.5 * log2(d) + 2, k
        assert places_bits(k, d) <= min(k * (2 + log2(d / k)) + 1, d)


def test_numbers_are_read_wherever_their_bytes_lie():
    x = torch.randn(3, 5, dtype=torch.float64)
    for rows in (slice(0, 3), slice(1, 2), slice(0, 0)):
        for offset in (0, 1, 3):
            packed = torch.zeros(3, 50, dtype=torch.uint8)
            packed[:, offset : offset + 40] = bytes_of(x)
            assert torch.equal(numbers_of(packed[rows, offset : offset + 40], torch.float64), x[rows])
    assert bytes_of(x[:, 1:2]).tolist() == [list(np.float64(row[1]).tobytes()) for row in x]


def test_bytes_are_a_copy():
    x = torch.ones(1, 2)
    packed = bytes_of(x)
    x.zero_()
    y = numbers_of(packed, torch.float32)
    packed.zero_()
    assert y.tolist() == [[1.0, 1.0]]
