"""What compressors draw at random: unbiased levels, sets of places, and draws that are independent."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import pytest
import torch
from compressors import EXACT, RANDOM, SHAPE, normal, round_trip

from topokit_trainer.compression import make_compressor
from topokit_trainer.compression.sparse import drawn_places
from topokit_trainer.seeding import keyed_seed


@pytest.mark.parametrize("text", ["qsgd:1,16", "qsgd:4,32", "qsgd:15"])
def test_quantisation_without_its_factor_is_unbiased(text):
    compressor, draws = make_compressor(text)((50,), torch.float64), 4000
    x = normal(50, seed=5).expand(draws, -1)
    found = round_trip(compressor, x, range(draws)) * compressor.tau
    for bucket in range(0, 50, compressor.bucket):
        part, mean = (y[..., bucket : bucket + compressor.bucket] for y in (x[0], found.mean(dim=0)))
        unit = part.norm() / compressor.levels
        above = (part.abs() / unit).frac()  # the probability to be rounded up
        assert ((mean - part).abs() <= unit * (5 * (above * (1 - above) / draws).sqrt() + 5 / draws)).all()
    assert found.std(dim=0).max() > 0
    # Its second moment is the one that tau stands for.
    assert found.square().sum(dim=1).mean() <= compressor.tau * x[0].square().sum()


def test_levels_are_whole_and_at_most_as_many_as_asked_for():
    compressor = make_compressor("qsgd:4,32")((100,), torch.float64)
    x = normal(20, 100)
    norms = x[:, :32].norm(dim=1, keepdim=True)
    levels = round_trip(compressor, x, range(20))[:, :32] * compressor.tau * 4 / norms
    assert (levels - levels.round()).abs().max() < 1e-12
    assert levels.abs().max() <= 4
    alone = torch.zeros(1, 100, dtype=torch.float32)
    for value in (3.0, 1e-30, 1e-22, 1e30, 0.1):  # squares of some are no float32
        alone[0, 77] = value
        single = make_compressor("qsgd:4,32")((100,), torch.float32)
        found = round_trip(single, alone, [1]) * single.tau
        assert torch.allclose(found, alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_all_sets_of_places_are_equally_likely(k):
    sets = list(combinations(range(6), k))
    draws = 300 * len(sets)
    counts = dict.fromkeys(sets, 0)
    for draw in range(draws):
        counts[tuple(drawn_places(draw, k, 6).tolist())] += 1
    statistic = sum((count - 300) ** 2 / 300 for count in counts.values())
    freedom = len(sets) - 1
    assert statistic < freedom + 5 * sqrt(2 * freedom)


@pytest.mark.parametrize("text", EXACT + RANDOM)
def test_draws_matter_where_it_says_so(text):
    compressor = make_compressor(text)(SHAPE, torch.float64)
    assert compressor.random == (text in RANDOM)
    x = normal(1, 408)
    one, same, other = (round_trip(compressor, x, [draw]) for draw in (1, 1, 2))
    assert torch.equal(one, same)
    assert torch.equal(one, other) == (not compressor.random)


@pytest.mark.parametrize("text", ["qsgd:4", "rand-k:0.1", "rand-k:0.1+qsgd:4"])
def test_rows_with_different_draws_err_independently(text):
    compressor = make_compressor(text)((400,), torch.float64)
    x = normal(400).expand(200, -1)
    errors = x - round_trip(compressor, x, [keyed_seed(0, "test", row) for row in range(200)])
    errors = errors - errors.mean(dim=0)
    products = (errors[:-1] * errors[1:]).sum(dim=1) / (errors[:-1].norm(dim=1) * errors[1:].norm(dim=1))
    assert products.mean().abs() < 5 / sqrt(200 * 400 * 0.1)
