"""A slow rank costs the others less than a tenth of their pace without rounds, and most of it in rounds."""

import pytest
from bench_stragglers import LIMIT, measure


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("by", ["sleep", "burn"])
@pytest.mark.parametrize("algorithm", ["asynchronous gossip", "A2CiD2", "AD-PSGD"])
def test_a_straggler_keeps_its_slowness_to_itself(algorithm, by):
    found = []
    for _ in range(3):  # other programs may get in the way
        found.append(measure(algorithm, by, steps=100, turns=1)["ratio"])
        if found[-1] >= LIMIT:
            return
    pytest.fail(f"the others kept {found} of their pace")


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.timeout(600)
@pytest.mark.parametrize("by", ["sleep", "burn"])
def test_rounds_fall_to_its_pace(by):
    assert measure("D-SGD, in rounds", by, steps=40, turns=1)["ratio"] < 0.5
