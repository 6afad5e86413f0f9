"""Virtual nodes keep what docs/benchmarks.md says of them."""

import pytest
from bench_virtual import LIMITS, MODELS, measure


@pytest.mark.slow
@pytest.mark.parametrize("batch", [8, 32, 128])
@pytest.mark.parametrize("model", list(MODELS))
def test_virtual_nodes_are_cheap(model, batch):
    best: dict[str, float] = {}
    for _ in range(4):  # noise only ever adds time to one side or the other
        row = measure(model, batch, nodes=64, device="cpu", repetitions=9)
        for key in ("nodes_over_one", "nodes_over_loop"):
            best[key] = min(row[key], best.get(key, row[key]))
        if best["nodes_over_one"] <= LIMITS.get((model, batch), float("inf")) and best["nodes_over_loop"] <= 1:
            return
    raise AssertionError(best)
